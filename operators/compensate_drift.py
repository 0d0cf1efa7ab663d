"""Take the drift of a newer encoder's query vectors away, so that they search an index of the older one's passages.

Query Drift Compensation (arXiv:2506.00037): search with new − mean(new − old). No passage is embedded again.
"""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, InputError, Params, operator, vector
from operators.engines.encoder import unit
from operators.fit_query_drift import QueryDrift


class CompensateDrift(Params):
    """Which vectors, and where the compensated ones go."""

    vector: str = Field(default="vector_now", min_length=1)
    into: str = Field(default="vector", min_length=1)
    normalise: bool = Field(default=True, description="to length 1 again, for an index of unit vectors")


def _reads(p: CompensateDrift) -> Columns:
    return {p.vector: vector}


@operator("map", version="1", reads=_reads, writes=lambda p: {p.into: vector}, rows="same")
def compensate_drift(table: pa.Table, p: CompensateDrift, *, drift: QueryDrift) -> pa.Table:
    """(N, d) less the drift (d,), in float64, rounded once."""
    rows, shift = columns.vectors(table[p.vector]), np.array(drift.shift)
    if len(rows) and rows.shape[1] != len(shift):
        sizes = f"{rows.shape[1]} dimensions, the drift {len(shift)}"
        raise InputError(f"compensate_drift: {p.vector} has {sizes}; fit it on queries of the same encoder")
    moved = (rows.astype(np.float64) - shift if len(rows) else rows).astype(np.float32)
    return columns.put(table, p.into, pa.array(list(unit(moved) if p.normalise and len(rows) else moved), vector))


def example() -> Example:
    """Three vectors, one drift."""
    rows = np.array([[1, 0, 0.5], [0, 1.1, 0.5], [0.7, 0.8, 0.5]], np.float32)
    table = pa.table({"vector_now": pa.array(list(rows), vector)})
    return Example(table, CompensateDrift(), {"drift": QueryDrift([0, 0, 0.5], 3, 1.0)})
