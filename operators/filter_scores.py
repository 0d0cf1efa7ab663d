"""Keep rows whose stored scores lie within limits: the cheap step behind a costly one, so that a limit changes for free."""

import operator as operators
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators.contract import Columns, Example, Outcome, Params, operator, reject, score


class FilterScores(Params):
    """The limits, both inclusive. A score that is not a number passes none."""

    at_least: dict[str, float] = Field(default={}, description="score column: the lowest that passes")
    at_most: dict[str, float] = Field(default={}, description="score column: the highest that passes")

    @model_validator(mode="after")
    def some_row_can_pass(self) -> Self:
        """Refuse limits that do nothing or leave nothing."""
        if not self.at_least and not self.at_most:
            raise ValueError("give at_least or at_most; without a limit every row passes")
        for name in sorted(set(self.at_least) & set(self.at_most)):
            if self.at_least[name] > self.at_most[name]:
                raise ValueError(f"at_least.{name} is above at_most.{name}: no row lies between them")
        return self


def _reads(p: FilterScores) -> Columns:
    return dict.fromkeys([*p.at_least, *p.at_most], score)


@dataclass(frozen=True)
class Limit:
    """What a column's score must be to pass, and what a row that does not is told."""

    reason: str
    column: str
    side: Literal["at_least", "at_most", "above", "below"]
    limit: float
    nan_passes: bool = False  # a statistic that has no meaning for a text rejects none

    def passes(self, found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Which scores pass, compared as they are stored: 0.7 as float32 is below the float64 0.7."""
        edge = np.float32(self.limit)
        inside: np.ndarray[Any, Any] = _SIDES[self.side](found, edge)
        return inside | np.isnan(found) if self.nan_passes else inside


_SIDES: dict[str, Callable[[Any, Any], Any]] = {
    "at_least": operators.ge, "at_most": operators.le, "above": operators.gt, "below": operators.lt,
}  # fmt: skip


def within(table: pa.Table, limits: Sequence[Limit]) -> Outcome:
    """Rows within every limit; the others are rejects by the first limit that they break, with their score."""
    bad = np.zeros(len(table), bool)
    reasons, values = [""] * len(table), [""] * len(table)
    for one in limits:
        found = table[one.column].to_numpy()
        out = ~one.passes(found) & ~bad
        for i in np.flatnonzero(out):
            reasons[i], values[i] = one.reason, f"{found[i]:.6g}"
        bad |= out
    return reject(table, bad, reasons, values)


@operator("map", version="1", reads=_reads, rows="fewer")
def filter_scores(table: pa.Table, p: FilterScores) -> Outcome:
    """Rows within every limit; the others are rejects by the first limit that they break."""
    low = [Limit(f"{name} too low", name, "at_least", limit) for name, limit in p.at_least.items()]
    return within(table, low + [Limit(f"{name} too high", name, "at_most", limit) for name, limit in p.at_most.items()])


def example() -> Example:
    """Four rewrites: one too far from the original, one too near, one without a score."""
    table = pa.table({"similarity": pa.array([0.9, 0.2, 0.8, float("nan")], score), "overlap": pa.array([0.3, 0.1, 1, 0], score)})
    return Example(table, FilterScores(at_least={"similarity": 0.6}, at_most={"overlap": 0.7}))
