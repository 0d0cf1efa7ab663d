"""Fit how a newer encoder's query vectors have moved from the older one's, whose index of passages stays as it is.

Query Drift Compensation (arXiv:2506.00037): the drift is mean(new − old) over queries that both encoded, and what it is
worth has to be looked at: it says nothing of a turn. So the share of the movement that the mean explains is told, and a
step may ask for a least one; below it the index is to be embedded anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.contract import Columns, Example, InputError, Params, operator, row_id, vector
from operators.json_artifact import JsonArtifact

Array = np.ndarray[Any, Any]
UNIT = 1 << 32  # sums are of whole numbers of so small a part of one: no order and no cut shows in them, up to 2**29 rows


class FitQueryDrift(Params):
    """Where both encoders' vectors of the same queries stand."""

    before: str = Field(default="vector", min_length=1, description="the older encoder's, as the index is")
    now: str = Field(default="vector_now", min_length=1)
    least_explained: float = Field(default=0, ge=0, le=1, description="of the movement; the step fails below it")

    @model_validator(mode="after")
    def _of_two(self) -> "FitQueryDrift":
        if self.before == self.now:
            raise ValueError("before and now name one column; the drift is between two")
        return self


@dataclass(frozen=True)
class QueryDrift(JsonArtifact):
    """The mean movement (d,), of how many queries, and its share of the mean squared movement: 1 where all moved alike."""

    file: ClassVar[str] = "drift.json"
    shift: list[float]
    rows: int
    explained: float


class _Sums:
    """The movement's sum and that of its squared length, in whole `UNIT` parts."""

    def __init__(self, p: FitQueryDrift) -> None:
        self.p, self.rows, self.squares = p, 0, 0
        self.shift: Array = np.zeros(0, np.int64)

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        for part in columns.slices(table) if len(table) else ():
            old, new = (columns.vectors(part[name]).astype(np.float64) for name in (self.p.before, self.p.now))
            if old.shape != new.shape:
                sizes = f"{old.shape[1]} and {new.shape[1]} dimensions"
                raise InputError(f"fit_query_drift: {self.p.before} and {self.p.now} have {sizes}; a drift is within one space")
            whole = np.rint((new - old) * UNIT).astype(np.int64)
            squares = np.rint(((new - old) ** 2).sum(axis=1) * UNIT).astype(np.int64)
            self._take(whole.sum(axis=0), int(squares.sum()), len(part))

    def _take(self, shift: Array, squares: int, rows: int) -> None:
        if rows:
            self.shift = self.shift + shift if len(self.shift) else shift
        self.squares, self.rows = self.squares + squares, self.rows + rows

    def merge(self, later: "_Sums") -> None:
        """Take in the sums of later parts."""
        self._take(later.shift, later.squares, later.rows)

    def finish(self) -> QueryDrift:
        """The mean, and what it explains."""
        rows = max(self.rows, 1)
        mean = self.shift / UNIT / rows
        spread = self.squares / UNIT / rows
        explained = min(float(mean @ mean) / spread, 1.0) if spread else 1.0
        return QueryDrift(mean.tolist(), self.rows, round(explained, 6))


def measure_drift(made: QueryDrift, p: FitQueryDrift) -> dict[str, int]:
    """Counts are whole, so the share is told in thousandths."""
    return {"queries": made.rows, "explained per mille": int(1000 * made.explained)}


def _floor(measured: Mapping[str, int], p: FitQueryDrift) -> str | None:
    found = measured["explained per mille"]
    if found >= 1000 * p.least_explained:
        return None
    return f"one shift explains {found / 10:g} % of how the queries moved, less than least_explained; embed the passages anew"


def _reads(p: FitQueryDrift) -> Columns:
    return {"query_id": row_id, p.before: vector, p.now: vector}


@operator("build", version="1", holds=True, reads=_reads, measure=measure_drift, floor=_floor)
def fit_query_drift(p: FitQueryDrift) -> _Sums:
    """One pass over queries that both encoders have embedded."""
    return _Sums(p)


def example() -> Example:
    """Three queries that moved by about the same."""
    old = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0]], np.float32)
    new = old + np.array([[0, 0, 0.5], [0, 0.1, 0.5], [0.1, 0, 0.5]], np.float32)
    named = {name: pa.array(list(rows), vector) for name, rows in (("vector", old), ("vector_now", new))}
    return Example(pa.table({"query_id": columns.content_ids(list("abc")), **named}), FitQueryDrift())
