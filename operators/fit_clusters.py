"""Spherical k-means over a fair sample (faiss; Merrick arXiv:2407.18887, cde arXiv:2410.02525)."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.columns import content_ids, id_matrix, vectors
from operators.contract import Example, InputError, Params, operator, row_id, vector

Array = np.ndarray[Any, Any]


class FitClusters(Params):
    """cde's settings are iterations 100, redo 3, seed 42; Merrick's clusters are 10 a source."""

    clusters: int = Field(default=10, ge=1)
    key: str = "query_id"  # whose hash draws the sample
    per_cluster: int = Field(default=256, ge=1)  # rows a cluster in the sample; faiss uses no more
    iterations: int = Field(default=25, ge=1)
    redo: int = Field(default=3, ge=1)
    seed: int = Field(default=42, ge=0, lt=2**31)


class Centroids:
    """(K, d) float32 unit vectors."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix

    def save(self, folder: Path) -> None:
        """One .npy file."""
        np.save(folder / "centroids.npy", self.matrix, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(np.load(folder / "centroids.npy", allow_pickle=False))


class _Sample:
    """The rows with the smallest reversed ids: a fair draw that no cut and no order changes."""

    def __init__(self, p: FitClusters) -> None:
        self.p, self.size = p, p.clusters * p.per_cluster
        self.keys: list[Array] = []  # (n, 2) uint64 each
        self.rows: list[Array] = []  # (n, d) float32 each
        self.held = 0
        self.last: tuple[Any, Any] | None = None  # the largest key that is still in, once the sample is full

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        # reversed: parts are ranges of ids, their smallest would all come from the first parts
        keys = np.ascontiguousarray(id_matrix(table[self.p.key])[:, ::-1]).view(">u8").astype(np.uint64)
        self._take(keys, vectors(table["vector"]))

    def merge(self, later: "_Sample") -> None:
        """Take in the sample of later parts."""
        for keys, rows in zip(later.keys, later.rows, strict=True):
            self._take(keys, rows)

    def _take(self, keys: Array, rows: Array) -> None:
        if self.last is not None:
            (hi, lo), (high, low) = keys.T, self.last
            keep = (hi < high) | ((hi == high) & (lo < low))
            keys, rows = keys[keep], rows[keep]
        if len(keys):
            self.keys.append(keys)
            self.rows.append(np.ascontiguousarray(rows, np.float32))
            self.held += len(keys)
        if self.held > 2 * self.size:  # not at every part: a prune copies the whole sample
            self._prune()

    def _prune(self) -> None:
        keys, rows = np.concatenate(self.keys), np.concatenate(self.rows)
        order = np.lexsort((keys[:, 1], keys[:, 0]))[: self.size]
        self.keys, self.rows, self.held = [keys[order]], [rows[order]], len(order)
        if self.held == self.size:
            self.last = (keys[order[-1], 0], keys[order[-1], 1])

    def finish(self) -> Centroids:
        """Run k-means on the sample, in the order of its keys."""
        import faiss

        if self.held < self.p.clusters:
            raise InputError(f"fit_clusters: clusters is {self.p.clusters}, but there are {self.held} rows; set clusters lower")
        self._prune()
        rows = self.rows[0]
        faiss.omp_set_num_threads(1)
        # from random rows the objective was 13 times scikit-learn's on six plain groups
        many = self.p.clusters > 4096  # k-means++ costs rows × clusters before the first iteration
        init = faiss.ClusteringInitMethod_AFK_MC2 if many else faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
        kmeans = faiss.Kmeans(
            rows.shape[1], self.p.clusters, niter=self.p.iterations, nredo=self.p.redo, spherical=True,
            init_method=init, seed=self.p.seed, min_points_per_centroid=1, max_points_per_centroid=self.p.per_cluster,
        )  # fmt: skip
        kmeans.train(rows)
        return Centroids(kmeans.centroids)


@operator("build", version="1", reads=lambda p: {p.key: row_id, "vector": vector})
def fit_clusters(p: FitClusters) -> _Sample:
    """One pass; memory is twice the sample: clusters × per_cluster vectors."""
    return _Sample(p)


def example() -> Example:
    """Six vectors around two directions."""
    rows = np.array([[1, 0.1], [1, 0], [1, -0.1], [0, 1], [0.1, 1], [-0.1, 1]], np.float32)
    table = pa.table({"query_id": content_ids(list("abcdef")), "vector": pa.array(list(rows), vector)})
    return Example(table, FitClusters(clusters=2))
