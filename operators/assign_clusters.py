"""Each row to its nearest centroid; batches are then drawn within clusters (C34)."""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import topk
from operators.centroids import BLOCK, Array, Centroids, joined, values_of
from operators.columns import put
from operators.contract import Columns, Example, Outcome, Params, operator, reject, text, vector

INT = pa.int32()
NEAR = 1e-9  # float64 products of one row differ by far less, however BLAS blocks them


class AssignClusters(Params):
    """The same as of `fit_clusters`."""

    by: str = Field(default="", description="the text column whose values have clusters of their own")
    vectors: tuple[str, ...] = Field(default=("vector",), min_length=1, description="columns of vectors; two: pairs")


def _reads(p: AssignClusters) -> Columns:
    return {**dict.fromkeys(p.vectors, vector), **({p.by: text} if p.by else {})}


@operator("map", version="3", reads=_reads, writes={"cluster": INT}, rows="fewer")
def assign_clusters(table: pa.Table, p: AssignClusters, *, centroids: Centroids) -> pa.Table | Outcome:
    """(N,) cluster of the largest float64 dot product, among those of the row's value; of equal ones, the lowest."""
    rows, found = joined(table, p.vectors), np.full(len(table), -1, np.int32)
    centroids.check(rows, p.by, "assign_clusters")
    for value, at in values_of(table, p.by).items():
        if value in centroids.ranges:
            first, end = centroids.ranges[value]
            matrix, mine = centroids.matrix[first:end], rows[at]
            nearest = [_nearest(mine[i : i + BLOCK], matrix) for i in range(0, len(mine), BLOCK)]
            found[at] = first + np.concatenate(nearest)
    out, bad = put(table, "cluster", pa.array(found, INT)), found < 0
    return reject(out, bad, f"no row of its {p.by} was in the fit", table[p.by].to_pylist()) if bad.any() else out


def _nearest(rows: Array, matrix: Array) -> Array:
    scores = rows.astype(np.float64) @ matrix.astype(np.float64).T
    best = scores.max(axis=1)
    close = scores >= (best - NEAR * np.maximum(np.abs(best), 1))[:, None]
    found: Array = scores.argmax(axis=1).astype(np.int32)
    for row in np.flatnonzero(close.sum(axis=1) > 1):  # BLAS's last bits must not settle a tie
        among = np.flatnonzero(close[row])
        found[row] = among[topk.dots(rows[row], matrix[among]).argmax()]
    return found


def example() -> Example:
    """Three vectors, two centroids."""
    rows = np.array([[1, 0.1], [0.2, 1], [0.5, 0.5]], np.float32)
    table = pa.table({"vector": pa.array(list(rows), vector)})
    return Example(table, AssignClusters(), {"centroids": Centroids(np.eye(2, dtype=np.float32))})
