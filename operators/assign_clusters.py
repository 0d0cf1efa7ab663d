"""Each row to its nearest centroid; batches are then drawn within clusters (C34)."""

from typing import Any

import numpy as np
import pyarrow as pa

from operators import topk
from operators.columns import put, vectors
from operators.contract import Example, InputError, Params, operator, vector
from operators.fit_clusters import Centroids

Array = np.ndarray[Any, Any]
INT = pa.int32()
BLOCK = 512  # rows a matrix product; 512 × 10k centroids in float64 are 40 MB
NEAR = 1e-9  # float64 products of one row differ by far less, however BLAS blocks them


class AssignClusters(Params):
    """Nothing to choose: the centroids say it all."""


@operator("map", version="2", reads={"vector": vector}, writes={"cluster": INT}, rows="same")
def assign_clusters(table: pa.Table, p: AssignClusters, *, centroids: Centroids) -> pa.Table:
    """(N,) cluster of the largest float64 dot product; of equal ones, the lowest."""
    rows, matrix = vectors(table["vector"]), centroids.matrix
    if len(rows) and rows.shape[1] != matrix.shape[1]:
        raise InputError(
            f"assign_clusters: vectors have {rows.shape[1]} dimensions, centroids {matrix.shape[1]}; "
            "fit the centroids on vectors of the same encoder"
        )
    nearest = [_nearest(rows[i : i + BLOCK], matrix) for i in range(0, len(rows), BLOCK)]
    return put(table, "cluster", pa.array(np.concatenate([np.empty(0, np.int32), *nearest]), INT))


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
