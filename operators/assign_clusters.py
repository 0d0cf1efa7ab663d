"""Each row to its nearest centroid; batches are then drawn within clusters (C34)."""

import numpy as np
import pyarrow as pa

from operators.columns import put, vectors
from operators.contract import Example, Params, operator, vector
from operators.fit_clusters import Centroids

INT = pa.int32()


class AssignClusters(Params):
    """Nothing to choose: the centroids say it all."""


@operator("map", version="1", reads={"vector": vector}, writes={"cluster": INT}, rows="same")
def assign_clusters(table: pa.Table, p: AssignClusters, *, centroids: Centroids) -> pa.Table:
    """(N,) cluster of the largest float64 dot product; of equal ones, the lowest."""
    rows = vectors(table["vector"]).astype(np.float64)
    nearest = (rows @ centroids.matrix.astype(np.float64).T).argmax(axis=1) if len(rows) else []
    return put(table, "cluster", pa.array(np.asarray(nearest, np.int32), INT))


def example() -> Example:
    """Three vectors, two centroids."""
    rows = np.array([[1, 0.1], [0.2, 1], [0.5, 0.5]], np.float32)
    table = pa.table({"vector": pa.array(list(rows), vector)})
    return Example(table, AssignClusters(), {"centroids": Centroids(np.eye(2, dtype=np.float32))})
