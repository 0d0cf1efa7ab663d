"""Weigh each row by how hard it is: what a trainer may multiply its loss by.

Focal (KaLM-Embedding V2, arXiv:2506.20923): (1 − p)^γ, p the positive's share of the softmax over its row.
Exponential (EmbeddingGemma, arXiv:2509.20354): exp(α · s) of a negative's score, here the mean over the row's negatives.
"""

from typing import Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import Array, floats, parents
from operators.contract import Example, Outcome, Params, operator, outcome_of, score, scores

LARGEST = 80  # exp of it is still a float32


class WeighDifficulty(Params):
    """The formula; its weights are not normalised: a trainer divides by a batch's mean."""

    method: Literal["focal", "exponential"] = "focal"
    gamma: float | None = Field(default=None, ge=0, description="focal: 0.5 where not said")
    temperature: float | None = Field(default=None, gt=0, description="focal: of the softmax; 0.05 where not said, for cosines")
    alpha: float | None = Field(default=None, ge=0, description="exponential: 5 where not said")

    @model_validator(mode="after")
    def _every_option_acts(self) -> Self:
        idle = {"focal": ("alpha",), "exponential": ("gamma", "temperature")}[self.method]
        if said := [name for name in idle if getattr(self, name) is not None]:
            raise ValueError(f"{' and '.join(said)} do nothing under method {self.method}: leave them out")
        return self


READS = {"positive_scores": scores, "negative_scores": scores}


@operator("map", version="1", reads=READS, writes={"weight": score}, rows="fewer")
def weigh_difficulty(table: pa.Table, p: WeighDifficulty) -> Outcome:
    """Add ``weight``, finite and not negative; the lowest positive counts. A row without scores is a reject."""
    (owners, told), (offsets, found) = (columns.flat(table[name]) for name in ("positive_scores", "negative_scores"))
    count, rows, value, positive = len(table), parents(offsets), floats(found), floats(told)
    lowest = np.full(count, np.inf)
    np.minimum.at(lowest, parents(owners), np.where(np.isnan(positive), np.inf, positive))
    sizes = np.bincount(rows, minlength=count)
    bad = np.isinf(lowest) | (sizes == 0) | (np.bincount(rows, np.isnan(value), minlength=count) > 0)
    with np.errstate(invalid="ignore", over="ignore"):
        weight = _focal(lowest, value, rows, p) if p.method == "focal" else _exponential(value, rows, sizes, p)
    bad |= ~np.isfinite(weight)
    kept = columns.put(table.filter(pa.array(~bad)), "weight", pa.array(weight[~bad].astype(np.float32), score))
    return outcome_of(table, kept, {int(i): ("no score to weigh by", "") for i in np.flatnonzero(bad)})


def _focal(lowest: Array, value: Array, rows: Array, p: WeighDifficulty) -> Array:
    temperature, gamma = p.temperature or 0.05, 0.5 if p.gamma is None else p.gamma
    others = np.bincount(rows, np.exp(np.minimum((value - lowest[rows]) / temperature, LARGEST)), minlength=len(lowest))
    weight: Array = (others / (1 + others)) ** gamma
    return weight


def _exponential(value: Array, rows: Array, sizes: Array, p: WeighDifficulty) -> Array:
    alpha = 5.0 if p.alpha is None else p.alpha
    weight: Array = np.bincount(rows, np.exp(np.minimum(alpha * value, LARGEST)), minlength=len(sizes)) / np.maximum(sizes, 1)
    return weight


def example() -> Example:
    """Three rows: an easy one, a hard one, one without negatives."""
    given = ([[0.9], [0.5, 0.8], [0.7]], [[0.1], [0.5, 0.4], []])
    table = {name: pa.array(rows, scores) for name, rows in zip(READS, given, strict=True)}
    return Example(pa.table(table), WeighDifficulty())
