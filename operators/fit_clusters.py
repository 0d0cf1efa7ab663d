"""Spherical k-means over a fair sample (faiss; Merrick arXiv:2407.18887, cde arXiv:2410.02525)."""

import math
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.centroids import Array, Centroids, joined, values_of
from operators.columns import content_ids, id_matrix
from operators.contract import Columns, Example, InputError, Params, operator, row_id, text, vector
from operators.engines.encoder import unit

SILHOUETTE = 2000  # rows of a value, of which all distances are taken


class FitClusters(Params):
    """cde's settings are iterations 100, redo 3, seed 42 and 256 to 2048 rows a cluster; Merrick's are 10 clusters a source."""

    clusters: int = Field(default=10, ge=1, description="how many; with by, of each value")
    rows_per_cluster: int | None = Field(default=None, ge=1, description="in place of clusters: rows by this, rounded up")
    by: str = Field(default="", description="a text column, source say, each of whose values has clusters of its own")
    vectors: tuple[str, ...] = Field(default=("vector",), min_length=1, description="columns of vectors; two: pairs, [q; d]")
    key: str = "query_id"  # whose hash draws the sample
    # 100 clusters of 110k debian_docs_en, one seed each: inertia 0.1925 of 256 (faiss's own limit), 0.1913 of 512, 0.1900 of
    # 1024, and 0.1906 of one faiss run on all rows, so part of the difference is the start and not the sample
    per_cluster: int = Field(default=512, ge=1, description="rows a cluster in the sample")
    iterations: int = Field(default=25, ge=1)
    redo: int = Field(default=3, ge=1)
    seed: int = Field(default=42, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _acts(self) -> Self:
        if self.rows_per_cluster is not None and self.moved("clusters"):
            raise ValueError("clusters and rows_per_cluster both say how many; leave one of them out")
        if len(set(self.vectors)) < len(self.vectors):
            raise ValueError("vectors names a column twice")
        return self


class _Sample:
    """Of one value, the rows with the smallest reversed ids: a fair draw that no cut and no order changes."""

    def __init__(self, p: FitClusters) -> None:
        self.p = p
        # of so many a cluster the number is known at the end alone: a share of the rows, told by the id itself, is not;
        # of a small source it may be nothing, so it has one cluster's rows at least
        share = p.per_cluster / p.rows_per_cluster if p.rows_per_cluster else 0.0
        self.edge = min(int(share * 2**64), 2**64)  # keys below it stay, however many
        self.size = p.clusters * p.per_cluster if p.rows_per_cluster is None else p.per_cluster
        self.last: tuple[Any, Any] | None = None  # from this key on, none is in the sample
        self.limit = 2 * self.size
        self.keys: list[Array] = []  # (n, 2) uint64 each
        self.rows: list[Array] = []  # (n, d) float32 each
        self.held = self.seen = 0

    def take(self, keys: Array, rows: Array, seen: int) -> None:
        """Take in rows, which are of so many that were met."""
        self.seen += seen
        if self.last is not None:
            (hi, lo), (high, low) = keys.T, self.last
            keep = (hi < high) | ((hi == high) & (lo < low))
            keys, rows = keys[keep], rows[keep]
        if len(keys):
            self.keys.append(keys)
            self.rows.append(np.ascontiguousarray(rows, np.float32))
            self.held += len(keys)
        if self.held > self.limit:  # not at every part: a prune copies the whole sample
            self.prune()

    def prune(self) -> Array:
        """Sort, and let go of what is too much: (n, d), in the order of the keys."""
        keys, rows = np.concatenate(self.keys), np.concatenate(self.rows)
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        within = len(keys) if self.edge == 2**64 else int((keys[:, 0] < np.uint64(self.edge)).sum())
        order = order[: max(self.size, within)]
        self.keys, self.rows, self.held = [keys[order]], [rows[order]], len(order)
        self.limit = 2 * max(self.size, self.held)
        if self.held == self.size > within:
            self.last = (keys[order[-1], 0], keys[order[-1], 1])
        elif within >= self.size and self.edge < 2**64:
            self.last = (np.uint64(self.edge), np.uint64(0))
        return self.rows[0]


class _Samples:
    """A sample of each value."""

    def __init__(self, p: FitClusters) -> None:
        self.p = p
        self.of: dict[str, _Sample] = {}

    @property
    def held(self) -> int:
        """How many rows are in memory."""
        return sum(one.held for one in self.of.values())

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        # reversed: parts are ranges of ids, their smallest would all come from the first parts
        keys = np.ascontiguousarray(id_matrix(table[self.p.key])[:, ::-1]).view(">u8").astype(np.uint64)
        rows = joined(table, self.p.vectors)
        for value, at in values_of(table, self.p.by).items():
            self.of.setdefault(value, _Sample(self.p)).take(keys[at], unit(rows[at]), len(at))

    def merge(self, later: "_Samples") -> None:
        """Take in the samples of later parts."""
        for value, one in later.of.items():
            mine = self.of.setdefault(value, _Sample(self.p))
            for keys, rows in zip(one.keys, one.rows, strict=True):
                mine.take(keys, rows, 0)
            mine.seen += one.seen

    def finish(self) -> Centroids:
        """Run k-means on each sample, in the order of its keys."""
        found, ranges, quality, first = [], {}, {}, 0
        for value, one in sorted((self.of or {"": _Sample(self.p)}).items()):
            p, many = self.p, self.p.clusters
            if p.rows_per_cluster is not None:
                many = math.ceil(one.seen / p.rows_per_cluster)
            if one.held < many or not many:
                told = f"there are {one.held} rows" + (f" of {p.by} {value!r}" if p.by else "")
                what = "clusters is" if p.rows_per_cluster is None else "rows_per_cluster makes"
                mend = "set clusters lower" if p.rows_per_cluster is None else "raise per_cluster, by which they are sampled"
                raise InputError(f"fit_clusters: {what} {many}, but {told}; {mend}")
            rows = one.prune()
            matrix = _fitted(rows, many, p)
            found.append(matrix)
            ranges[value] = (first, first + many)
            quality[value] = {"rows": one.seen, **_quality(rows, matrix)}
            first += many
        return Centroids(np.concatenate(found), ranges if self.p.by else None, quality)


def _fitted(rows: Array, many: int, p: FitClusters) -> Array:
    """(``many``, d) float32 unit vectors, the best of ``redo`` runs."""
    import faiss

    faiss.omp_set_num_threads(1)
    # from random rows the objective was 13 times scikit-learn's on six plain groups
    wide = many > 4096  # k-means++ costs rows × clusters before the first iteration
    init = faiss.ClusteringInitMethod_AFK_MC2 if wide else faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
    kmeans = faiss.Kmeans(
        rows.shape[1], many, niter=p.iterations, nredo=p.redo, spherical=True, init_method=init, seed=p.seed,
        min_points_per_centroid=1, max_points_per_centroid=len(rows), gpu=getattr(faiss, "get_num_gpus", int)() > 0,
    )  # fmt: skip
    kmeans.train(rows)
    return np.asarray(kmeans.centroids)


def _quality(rows: Array, matrix: Array) -> dict[str, Any]:
    """Of the sample: rows of each cluster, mean squared distance to the nearest centroid, silhouette (Rousseeuw 1987)."""
    labels, loss = np.empty(len(rows), np.int64), 0.0
    for at in range(0, len(rows), columns.SLICE):
        near = rows[at : at + columns.SLICE] @ matrix.T
        labels[at : at + columns.SLICE] = near.argmax(axis=1)
        loss += float((2 - 2 * near.max(axis=1).astype(np.float64)).sum())
    sizes = np.bincount(labels, minlength=len(matrix)).tolist()
    told = {"sampled": len(rows), "inertia": round(loss / len(rows), 4), "sizes": sizes}
    few, of = rows[:SILHOUETTE], labels[:SILHOUETTE]
    if 1 < len(np.unique(of)) < len(few):
        from sklearn.metrics import silhouette_score

        told["silhouette"] = round(float(silhouette_score(few, of, metric="cosine")), 4)
    return told


def measure_clusters(made: Centroids, p: FitClusters) -> dict[str, int]:
    """Of all values' samples; counts are whole, so what is below 1 is told in thousandths."""
    of = list(made.quality.values())
    sizes = [n for one in of for n in one["sizes"]]
    sampled = sum(one["sampled"] for one in of)
    alike = [(one["silhouette"], one["sampled"]) for one in of if "silhouette" in one]
    told = {
        "clusters": len(sizes), "rows": sum(one["rows"] for one in of), "sampled": sampled,
        "inertia per mille": round(1000 * sum(one["inertia"] * one["sampled"] for one in of) / sampled),
        "sampled in the smallest": min(sizes), "sampled in the largest": max(sizes),
    }  # fmt: skip
    if alike:
        told["silhouette per mille"] = round(1000 * sum(s * n for s, n in alike) / sum(n for _, n in alike))
    return told


def _reads(p: FitClusters) -> Columns:
    return {p.key: row_id, **dict.fromkeys(p.vectors, vector), **({p.by: text} if p.by else {})}


@operator("build", version="3", holds=True, reads=_reads, measure=measure_clusters)
def fit_clusters(p: FitClusters) -> _Samples:
    """One pass; memory is twice the sample: clusters × per_cluster vectors of each value of ``by``.

    With rows_per_cluster it is the share per_cluster / rows_per_cluster of all vectors, for their number makes the clusters',
    and per_cluster of a value at least.
    """
    return _Samples(p)


def example() -> Example:
    """Six vectors around two directions."""
    rows = np.array([[1, 0.1], [1, 0], [1, -0.1], [0, 1], [0.1, 1], [-0.1, 1]], np.float32)
    table = pa.table({"query_id": content_ids(list("abcdef")), "vector": pa.array(list(rows), vector)})
    return Example(table, FitClusters(clusters=2))
