"""Keep rows whose stored scores lie within limits: the cheap step behind a costly one, so that a limit changes for free."""

from typing import Self

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


@operator("map", version="1", reads=_reads, rows="fewer")
def filter_scores(table: pa.Table, p: FilterScores) -> Outcome:
    """Rows within every limit; the others are rejects by the first limit that they break."""
    bad = np.zeros(len(table), bool)
    reasons, values = [""] * len(table), [""] * len(table)
    limits = [(n, m, "low") for n, m in p.at_least.items()] + [(n, m, "high") for n, m in p.at_most.items()]
    for name, limit, side in limits:
        found = table[name].to_numpy()
        edge = np.float32(limit)  # as the scores are: 0.7 stored as float32 is below the float64 0.7
        out = ~(found >= edge if side == "low" else found <= edge) & ~bad
        for i in np.flatnonzero(out):
            reasons[i], values[i] = f"{name} too {side}", f"{found[i]:.4g}"
        bad |= out
    return reject(table, bad, reasons, values)


def example() -> Example:
    """Four rewrites: one too far from the original, one too near, one without a score."""
    table = pa.table({"similarity": pa.array([0.9, 0.2, 0.8, float("nan")], score), "overlap": pa.array([0.3, 0.1, 1, 0], score)})
    return Example(table, FilterScores(at_least={"similarity": 0.6}, at_most={"overlap": 0.7}))
