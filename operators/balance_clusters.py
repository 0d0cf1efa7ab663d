"""Assign rows to clusters none of which is above a cap: deferred acceptance (Gale and Shapley 1962, college admissions).

A row asks for its nearest cluster; a full cluster keeps those that are nearest to it, and who is refused asks for the next
one. No row is then nearer to a cluster that would have it, and the result is the one that is best for every row among all
such assignments, whoever asks first. It is not the least sum of distances, which takes a flow over rows × clusters
(Bradley, Bennett and Demiriz 2000).
"""

import math
import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.batches import PAIR, refuse_repeats
from operators.centroids import BLOCK, Array, Centroids, joined, values_of
from operators.contract import Columns, Example, InputError, Params, operator, row_id, text, vector
from operators.engines.encoder import unit

GRID = 2.0**20  # cosines are cut to its steps: no last bit of a product tells two rows apart


class BalanceClusters(Params):
    """How large a cluster may be; the rest as of `fit_clusters`."""

    slack: float = Field(default=1.25, ge=1, description="rows of a cluster at most, by rows ÷ clusters")
    max_rows: int | None = Field(default=None, ge=1, description="rows of a cluster at most, in place of slack")
    by: str = Field(default="", description="the text column whose values have clusters of their own")
    vectors: tuple[str, ...] = Field(default=("vector",), min_length=1, description="columns of vectors; two: pairs")
    key: str = Field(default="query_id", min_length=1, description="the id of a row")

    @model_validator(mode="after")
    def _acts(self) -> Self:
        if self.max_rows is not None and self.moved("slack"):
            raise ValueError("slack and max_rows both say how large a cluster may be; leave one of them out")
        return self


class Balanced:
    """The cluster of each row: sorted keys (N,) and int32 (N,)."""

    def __init__(self, keys: Any, cluster: Any, told: Any) -> None:
        self.keys, self.cluster, self.told = keys, cluster, told  # told: moved, inertia × 1000, cap of the largest

    def of(self, ids: pa.Array | pa.ChunkedArray) -> Array:
        """(N,) int32, −1 of a row that is not among them."""
        at = columns.places(self.keys["hi"], self.keys["lo"], columns.id_pairs(ids))
        return np.where(at >= 0, self.cluster[at], -1) if len(self.keys) else np.full(len(at), -1, np.int32)

    def save(self, folder: Path) -> None:
        """Three .npy files."""
        for name in ("keys", "cluster", "told"):
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map what ``save`` wrote."""
        return cls(*(np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in ("keys", "cluster", "told")))


class _Balance:
    """Vectors wait on disk, ids and values in memory: 24 bytes a row."""

    def __init__(self, p: BalanceClusters, centroids: Centroids) -> None:
        self.p, self.centroids = p, centroids
        self._file = tempfile.TemporaryFile(prefix="pithead-vectors-")  # noqa: SIM115
        self.keys: list[Array] = []
        self.places: dict[str, list[Array]] = {}
        self.count = 0

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        rows = joined(table, self.p.vectors)
        self.centroids.check(rows, self.p.by, "balance_clusters")
        for value, at in values_of(table, self.p.by).items():
            if value not in self.centroids.ranges:
                told = f"no row of {self.p.by} {value!r} was in the fit"
                raise InputError(f"balance_clusters: {told}; fit the clusters on these rows")
            self.places.setdefault(value, []).append(self.count + at)
        self._take(columns.id_pairs(table[self.p.key]).astype(PAIR), unit(rows))

    def merge(self, later: "_Balance") -> None:
        """Take in later rows."""
        for value, parts in later.places.items():
            self.places.setdefault(value, []).extend(self.count + at for at in parts)
        rows = later._rows()
        for keys, start in zip(later.keys, np.cumsum([0, *map(len, later.keys)]).tolist(), strict=False):
            self._take(keys, rows[start : start + len(keys)])

    def _take(self, keys: Array, rows: Array) -> None:
        self._file.write(np.ascontiguousarray(rows, np.float32).tobytes())
        self.keys.append(keys)
        self.count += len(keys)

    def _rows(self) -> Array:
        self._file.flush()
        width = self.centroids.matrix.shape[1]
        if not self.count:
            return np.empty((0, width), np.float32)
        return np.memmap(self._file, np.float32, "r", shape=(self.count, width))

    def finish(self) -> Balanced:
        """Assign the rows of each value, by id."""
        keys = np.concatenate([np.empty(0, PAIR), *self.keys])
        refuse_repeats(keys, "balance_clusters", self.p.key, f"drop_duplicates with key {self.p.key}")
        order = np.lexsort((keys["lo"], keys["hi"]))
        rows, cluster = self._rows(), np.full(len(keys), -1, np.int32)
        rank = np.empty(len(keys), np.int64)
        rank[order] = np.arange(len(keys))
        moved, loss, most = 0, 0.0, 0
        for value, parts in sorted(self.places.items()):
            at = np.concatenate(parts)
            at = at[np.argsort(rank[at])]
            first, end = self.centroids.ranges[value]
            cap = self.p.max_rows or math.ceil(self.p.slack * len(at) / (end - first))
            if cap * (end - first) < len(at):
                told = f"max_rows is {cap}, so {end - first} clusters hold {cap * (end - first)} of {len(at)} rows"
                raise InputError(f"balance_clusters: {told}; raise it, or fit more clusters")
            mine, score, away = accepted(rows, at, self.centroids.matrix[first:end], cap)
            cluster[at] = first + mine
            moved, loss, most = moved + away, loss + float((2 - 2 * score).sum()), max(most, cap)
        return Balanced(keys[order], cluster[order], np.array([moved, round(1000 * loss / max(len(keys), 1)), most], np.int64))


def accepted(rows: Array, at: Array, matrix: Array, cap: int) -> tuple[Array, Array, int]:
    """Cluster (N,) and cosine (N,) of ``rows[at]``, none with more than ``cap``; and how many are not in their nearest.

    Of equal cosines a row asks for the lower cluster first, and a cluster keeps the earlier row.
    """
    count, many = len(at), len(matrix)
    cluster, score = np.full(count, -1, np.int32), np.zeros(count)
    least, last = np.full(many, -np.inf), np.full(many, count)  # of a full cluster, who would go next
    wide, waiting, first = matrix.astype(np.float64).T, np.arange(count), np.full(count, -1, np.int32)
    while len(waiting):
        for start in range(0, len(waiting), BLOCK):
            mine = waiting[start : start + BLOCK]
            near = np.round(rows[at[mine]].astype(np.float64) @ wide * GRID) / GRID
            if first[mine[0]] < 0:
                first[mine] = near.argmax(axis=1)
            # a cluster only ever trades up: who would be refused now is refused for good
            near[(near < least) | ((near == least) & (mine[:, None] > last))] = -np.inf
            cluster[mine] = near.argmax(axis=1)
            score[mine] = near.max(axis=1)
        order = np.lexsort((np.arange(count), -score, cluster))
        starts = np.searchsorted(cluster[order], np.arange(many))
        place = np.arange(count) - starts[cluster[order]]
        waiting = np.sort(order[place >= cap])
        full = np.flatnonzero(np.bincount(cluster, minlength=many) >= cap)
        worst = order[starts[full] + cap - 1]
        least[full], last[full] = score[worst], worst
    return cluster, score, int((cluster != first).sum())


def measure_balance(made: Balanced, p: BalanceClusters) -> dict[str, int]:
    """Rows, those not in their nearest cluster, sizes, and the mean squared distance to the centroid in thousandths."""
    sizes = np.bincount(made.cluster, minlength=1)
    moved, loss, cap = (int(n) for n in made.told)
    told = {"rows": len(made.keys), "not in the nearest": moved, "inertia per mille": loss, "most allowed": cap}
    return {**told, "rows in the smallest": int(sizes.min()), "rows in the largest": int(sizes.max())}


def _reads(p: BalanceClusters) -> Columns:
    return {p.key: row_id, **dict.fromkeys(p.vectors, vector), **({p.by: text} if p.by else {})}


@operator("build", version="1", reads=_reads, measure=measure_balance)
def balance_clusters(p: BalanceClusters, *, centroids: Centroids) -> _Balance:
    """N rows; `assign_balanced` gives each its cluster. Vectors are on disk; some 90 bytes a row are in memory at the end."""
    return _Balance(p, centroids)


def example() -> Example:
    """Five vectors, four of them nearest to one of two centroids."""
    rows = np.array([[1, 0.1], [1, 0], [1, -0.1], [0.8, 0.6], [0, 1]], np.float32)
    table = pa.table({"query_id": columns.content_ids(list("abcde")), "vector": pa.array(list(rows), vector)})
    return Example(table.sort_by("query_id"), BalanceClusters(max_rows=3), {"centroids": Centroids(np.eye(2, dtype=np.float32))})
