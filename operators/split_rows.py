"""Split rows for training and for looking at the training, by an id: no passage stands on both sides (CADET, arXiv:2505.19274).

A split by rows puts one passage's queries on both sides, and its dev score is too good (C45). With ``classes`` or
``components`` neither near-duplicates nor anything that hangs together stands on both.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from operators import columns
from operators.contract import ARTIFACTS, Example, Outcome, Params, operator, reject, row_id, text
from operators.fit_classes import DuplicateClasses
from operators.fit_components import Components


class SplitRows(Params):
    """The shares, and which side passes on."""

    shares: dict[str, float] = Field(default={"train": 0.9, "dev": 0.1}, min_length=1, description="side: its share of the ids")
    keep: tuple[str, ...] = Field(default=(), description="the sides that pass on, the others are rejects; all where not said")
    key: str = Field(default="passage_id", min_length=1, description="the id that stays on one side; of components their key")
    seed: int = Field(default=42, ge=0)

    @field_validator("shares")
    @classmethod
    def sum_to_one(cls, value: dict[str, float]) -> dict[str, float]:
        """Shares are above 0 and sum to 1."""
        if min(value.values()) <= 0 or abs(sum(value.values()) - 1) > 1e-6:
            raise ValueError(f"shares must be above 0 and sum to 1, they sum to {sum(value.values()):g}")
        return value

    @model_validator(mode="after")
    def _known(self) -> "SplitRows":
        if other := [side for side in self.keep if side not in self.shares]:
            raise ValueError(f"keep: {other[0]} is no side; shares names {', '.join(self.shares)}")
        return self


def _check(p: SplitRows, using: Mapping[str, Any]) -> list[str]:
    if {"classes", "components"} <= set(using.get(ARTIFACTS, ())):
        return ["split_rows: classes and components both say what stays together; give fit_components the classes"]
    return []


@operator("map", version="2", reads=lambda p: {p.key: row_id}, writes={"split": text}, rows="fewer", check=_check)
def split_rows(
    table: pa.Table, p: SplitRows, *, classes: DuplicateClasses | None = None, components: Components | None = None
) -> Outcome:
    """Add ``split`` by the hash of the seed and of the id, of its near-duplicates' representative, or of its component."""
    keys = columns.one_array(table[p.key])
    for known in (classes, components):
        keys = known.of(keys) if known is not None else keys
    names, ends = list(p.shares), np.cumsum(list(p.shares.values()))
    place = np.array([columns.row_seed(p.seed, key) / 2**63 for key in keys.to_pylist()])
    side = [names[min(int(i), len(names) - 1)] for i in np.searchsorted(ends, place, side="right")]
    out = columns.put(table, "split", pa.array(side, text))
    return reject(out, [bool(p.keep) and s not in p.keep for s in side], "in another split", side)


def example() -> Example:
    """Six rows of three passages, half of these kept."""
    keys = [bytes([i * 37 % 256] * 16) for i in (0, 1, 2, 0, 1, 2)]
    shares = {"train": 0.5, "dev": 0.5}
    return Example(pa.table({"passage_id": pa.array(keys, row_id)}), SplitRows(shares=shares, keep=("train",)))
