"""How often each row stands in a stage of a training set: mixtures by value, quotas, caps and epochs (C36, C38, C40).

A value with n rows has a share ∝ n^alpha (GTE, arXiv:2308.03281: 0.5) or that of a target. An epoch takes the next rows of
each value in one drawn order, round and round: none stands twice before all of its value stood once.
"""

import difflib
import math
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from operators.apportion import apportion
from operators.contract import InputError, Params

Array = np.ndarray[Any, Any]
_MIXING = ("alpha", "target", "cap", "caps")  # what does nothing without `share`


class Stage(Params):
    """A stretch of the set: which rows, in what mixture, how often (NV-Embed, arXiv:2405.17428: retrieval first, then all)."""

    only: dict[str, tuple[str, ...]] = Field(default={}, description="text column: the values that take part; empty: all rows")
    share: str = Field(default="", description="text column, such as source, whose values are mixed; empty: rows as they are")
    alpha: float = Field(default=1, ge=0, le=1, description="a value's share is n^alpha by the sum of all")
    target: dict[str, float] = Field(default={}, description="value: its share, in place of alpha; others get none")
    cap: int | None = Field(default=None, ge=1, description="rows of one value in an epoch, at most")
    caps: dict[str, int] = Field(default={}, description="value: its rows at most, in place of cap")
    rows: int | None = Field(default=None, ge=1, description="rows of an epoch; null: those that there are")
    shortfall: Literal["spread", "shrink", "repeat"] = Field(
        default="spread", description="a value has too few rows: others get more, or all get less, or its rows repeat"
    )
    epochs: int = Field(default=1, ge=1, description="each is drawn and composed anew")
    mixed: float = Field(default=0, ge=0, le=1, description="share of rows whose batches are of anything; 0: none (KaLM)")

    @model_validator(mode="after")
    def _acts(self) -> Self:
        if not self.share and (moved := [name for name in _MIXING if self.moved(name)]):
            raise ValueError(f"{moved[0]} does nothing without share; name the column")
        if self.target and self.moved("alpha"):
            raise ValueError("target and alpha both say the shares; leave one of them out")
        if any(share <= 0 for share in self.target.values()):
            raise ValueError("target: a share is above 0; leave out what is to have no row")
        if any(most < 1 for most in self.caps.values()):
            raise ValueError("caps: a cap is 1 at least; a target or only leaves out what is to have no row")
        if self.shortfall != "spread" and not (self.moved(*_MIXING) or (self.rows and self.shortfall == "repeat")):
            raise ValueError(f"shortfall: {self.shortfall} does nothing where rows stand as they are; say alpha, target or rows")
        if empty := [name for name, values in self.only.items() if not values]:
            raise ValueError(f"only.{empty[0]} names no value, so no row takes part; name some, or leave it out")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The text columns that it reads."""
        return (*self.only, *([self.share] if self.share else []))


def quotas(stage: Stage, counts: Mapping[str, int]) -> dict[str, int]:
    """The rows of each value in an epoch, of these that there are."""
    values = sorted(counts)
    refuse_misspelt({*stage.target, *stage.caps}, values, f"target and caps of {stage.share}")
    if missing := sorted(set(stage.target) - set(values)) if stage.shortfall != "spread" else []:
        raise InputError(
            f"compose_batches: no row has the {stage.share} {missing[0]!r} of a stage's target; shares cannot hold without it"
        )
    weights = [stage.target.get(v, 0.0) if stage.target else float(counts[v]) ** stage.alpha for v in values]
    repeat = stage.shortfall == "repeat"
    total = stage.rows or (_each_once(weights, [counts[v] for v in values]) if repeat else sum(counts.values()))
    limits = [min(total if repeat else counts[v], stage.caps.get(v, stage.cap or total)) for v in values]
    found = apportion(total, weights, limits, stage.shortfall == "shrink")
    return dict(zip(values, found, strict=True))


def refuse_misspelt(said: Collection[str], known: Collection[str], what: str) -> None:
    """Raise an `InputError` where a value that no row has is nearly one that rows have and that is not said beside it.

    One that resembles none may be missing for other reasons: a sample has not every source.
    """
    for value in sorted(set(said) - set(known)):
        if close := difflib.get_close_matches(value, sorted(set(known) - set(said)), 1, 0.8):
            raise InputError(f"compose_batches: {what}: no row has {value!r}; did you mean {close[0]!r}?")


def _each_once(weights: list[float], counts: list[int]) -> int:
    """The fewest rows at which every value that has a share stands whole: SetFit's oversampling where all are alike."""
    exact = [Fraction(w) for w in weights]
    return max((math.ceil(n * sum(exact) / w) for n, w in zip(counts, exact, strict=True) if w), default=0)


def epoch_of(order: Array, quota: int, epoch: int) -> tuple[Array, Array]:
    """Of one value's rows in their drawn ``order`` (n,): those of an epoch (quota,), and how often each stood before."""
    at = epoch * quota + np.arange(quota)
    return order[at % max(len(order), 1)], at // max(len(order), 1)
