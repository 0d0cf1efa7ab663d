"""Approximate dense top-k: only the lists of the centroids nearest to a query are searched (Jégou et al., PAMI 2011, IVF).

A passage's list is its `cluster`, which `assign_clusters` gave it by the same centroids: it hangs on the passage alone, so no
cut of the corpus changes an answer. A graph's (HNSW, CAGRA) would, as it hangs on the order of insertion. Within the lists the
search is exact, its scores are those of `retrieve_dense`. A sample of the queries is searched exactly, too; the recall on it
stands in the manifest and below a floor the step fails, also where the centroids are not those that the passages were
assigned by.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field

from operators import retrieve_dense, topk
from operators.assign_clusters import AssignClusters, assign_clusters
from operators.centroids import Centroids
from operators.columns import flat, id_pairs, row_seed, vectors
from operators.content import codes, in_row, parents
from operators.contract import ROW, Columns, Example, InputError, Params, ids, operator, row_id, scores, vector
from operators.engines.search import Pool, below
from operators.retrieve_dense import RetrieveDense, merge_dense

Array = np.ndarray[Any, Any]
BLOCK, SPARE = 8192, 16  # of 1,024 queries each list met too few for a product that is worth its call
CELLS = 1 << 22  # products held at a time, 16 MB: of a block and a list of 16,000 they were 500 MB, sorted copies beside them
KEPT = 16 << 20  # bytes of the last queries' lists: a block of them meets every range, and to find them anew took a quarter
_NEAR = OrderedDict[bytes, Array]()


class RetrieveIvf(Params):
    """How many to keep, how many lists to search, and how good that must be."""

    top_k: int = Field(default=50, ge=1)
    probes: int = Field(default=16, ge=1, description="lists a query, of as many as there are centroids")
    sample: float = Field(default=0.02, gt=0, le=1, description="share of the queries, by id, that are searched exactly, too")
    min_recall: float = Field(default=0.95, ge=0, le=1, description="share of the exact top k of these that must be found")
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class _Lists:
    """Passages by their list."""

    dense: retrieve_dense.Sides
    pool: Pool
    names: pa.Array  # by list, as the pool
    starts: Array  # (lists + 1,)
    centroids: retrieve_dense.Sides


def prepare_ivf(right: pa.Table, p: RetrieveIvf, *, centroids: Centroids, **used: Any) -> _Lists:
    """Passages in the order of their lists, whose products are then of neighbours; an id of several vectors keeps them all."""
    lists = right["cluster"].to_numpy()
    if len(lists) and not 0 <= lists.min() <= lists.max() < len(centroids.matrix):
        raise InputError(
            f"retrieve_ivf: passages are of clusters up to {lists.max()}, the centroids are {len(centroids.matrix)}; "
            "search the step that assign_clusters made with these centroids"
        )
    order = np.argsort(lists, kind="stable")
    dense = retrieve_dense.prepare_dense(right.take(pa.array(order)), RetrieveDense(top_k=p.top_k))
    side = dense[()]
    sizes = np.bincount(lists[order][side.rows], minlength=len(centroids.matrix))
    near = retrieve_dense.prepare_dense(_numbered(centroids.matrix), RetrieveDense(top_k=p.probes))
    return _Lists(dense, side.pool, side.names, np.concatenate([[0], np.cumsum(sizes)]), near)


def merge_ivf(partials: list[pa.Table], p: RetrieveIvf) -> pa.Table:
    """Merge what different ranges of the corpus gave."""
    found = merge_dense(partials, RetrieveDense(top_k=p.top_k))
    exact = topk.merge(("exact_ids", "exact_scores"), partials, p.top_k)
    for name in ("exact_ids", "exact_scores"):
        found = found.append_column(name, exact[name])
    return found


def measure_ivf(table: pa.Table, p: RetrieveIvf) -> Mapping[str, int]:
    """How many of the exact top k of the sampled queries were found."""
    offsets, wanted = flat(table["exact_ids"])
    found_at, found = flat(table["candidate_ids"])
    number, of_number = codes([wanted, found])
    hit = in_row(parents(offsets), number, parents(found_at), of_number)
    sampled = int((np.diff(offsets) > 0).sum())
    return {"queries": len(table), "sampled_queries": sampled, "exact": len(wanted), "exact_found": int(hit.sum())}


def floor_ivf(measured: Mapping[str, int], p: RetrieveIvf) -> str | None:
    """Why the recall is not good enough, or not known; None where it is."""
    if measured["queries"] and not measured["exact"]:
        return f"its recall is not known: none of {measured['queries']} queries is in the sample; raise sample (now {p.sample})"
    if not measured["exact"] or measured["exact_found"] / measured["exact"] >= p.min_recall:
        return None
    recall = measured["exact_found"] / measured["exact"]
    return (
        f"recall@{p.top_k} on {measured['sampled_queries']} sampled queries is {recall:.4f}, below min_recall {p.min_recall}; "
        f"raise probes (now {p.probes}), or use retrieve_dense, which is exact"
    )


WRITES: Columns = {"candidate_ids": ids, "dense_scores": scores, "exact_ids": ids, "exact_scores": scores}


@operator(
    "cross", version="2", reads={"query_id": row_id, "vector": vector}, writes=WRITES,
    against={"passage_id": row_id, "vector": vector, "cluster": pa.int32()},
    prepare=prepare_ivf, merge=merge_ivf, measure=measure_ivf, floor=floor_ivf, rows="same", floored="top_k",
)  # fmt: skip
def retrieve_ivf(left: pa.Table, right: _Lists, p: RetrieveIvf, *, centroids: Centroids) -> pa.Table:
    """N queries against M passages, ``probes`` lists each; ``exact_ids`` of the sampled ones."""
    queries = vectors(left["vector"])
    out = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    if len(queries) and len(right.names):
        retrieve_dense.check_vectors(queries, right.pool)
        for start in range(0, len(queries), BLOCK):
            row, at, exact = _probe(left.slice(start, BLOCK), right, min(p.probes, len(centroids.matrix)))
            out.append((row + start, at, exact))
    row, at, exact = (np.concatenate(x) for x in zip(*out, strict=True))
    found = topk.partial(("candidate_ids", "dense_scores"), left[ROW], row, exact, right.names.take(pa.array(at)), p.top_k)
    drawn = [row_seed(p.seed, "recall", one) / 2**63 < p.sample for one in left["query_id"].to_pylist()]
    sampled = retrieve_dense.retrieve_dense(left.filter(pa.array(drawn, pa.bool_())), right.dense, RetrieveDense(top_k=p.top_k))
    at_left = np.flatnonzero(drawn)
    sizes = np.zeros(len(left), np.int64)
    offsets, _ = flat(sampled["candidate_ids"])
    sizes[at_left] = np.diff(offsets)
    ends = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    for name, column in (("exact_ids", "candidate_ids"), ("exact_scores", "dense_scores")):
        found = found.append_column(name, pa.ListArray.from_arrays(ends, flat(sampled[column])[1]))
    return found


def _probe(left: pa.Table, lists: _Lists, probes: int) -> tuple[Array, Array, Array]:
    """(rows, places, float32 of float64 scores) of at least the top k of each query among its lists, down to its floor."""
    queries = vectors(left["vector"])
    spread, error, passages = lists.dense[()].spread, lists.pool.error(queries), lists.pool.vectors
    floor = left[topk.FLOOR].to_numpy() if topk.FLOOR in left.column_names else np.full(len(queries), -np.inf, np.float32)
    probed = _nearest(left, lists, probes)
    least = np.nextafter((below(floor) - error).astype(np.float32), np.float32(-np.inf))
    row, place, near, count = _passing(queries, lists, probed, least, spread + SPARE)
    order = topk.by_score(row, near)
    row, place, near = row[order], place[order], near[order]
    keep = topk.place_in(row) < spread + SPARE
    row, place, near = row[keep], place[keep], near[keep]
    exact = topk.exact(queries, passages, row, place)
    # As in retrieve_dense: what was left out scores at most the last kept one and the error.
    sure = count <= spread + SPARE
    for q in np.flatnonzero(~sure):
        mine = slice(*np.searchsorted(row, [q, q + 1]))
        kth = np.partition(exact[mine], len(exact[mine]) - spread)[len(exact[mine]) - spread]
        sure[q] = np.float32(float(near[mine][-1]) + error[q]) < max(kth, floor[q])
    out = [(row, place, exact)]
    for q in np.flatnonzero(~sure):
        told = np.concatenate([np.arange(*lists.starts[one : one + 2]) for one in probed[q]])
        scored = topk.exact(queries, passages, np.full(len(told), q), told)
        best = topk.ranked(np.zeros(len(told), np.int64), scored, lists.names.take(pa.array(told)), 1, spread)[1]
        out.append((np.full(len(best), q), told[best], scored[best]))
    found_rows, found_places, found_scores = (np.concatenate(x) for x in zip(*out, strict=True))
    return found_rows, found_places, found_scores


def _passing(queries: Array, lists: _Lists, probed: Array, least: Array, wide: int) -> tuple[Array, Array, Array, Array]:
    """(rows, places, float32 scores) of what the lists ``probed`` (Q, probes) have above ``least`` (Q,), of a list no more than
    its ``wide`` best; and of how many these are, for each query."""  # noqa: D205, D209
    count = np.zeros(len(queries), np.int64)
    out = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    asked = np.argsort(probed.reshape(-1), kind="stable")
    edges = np.searchsorted(probed.reshape(-1)[asked], np.arange(len(lists.starts)))
    for one in np.flatnonzero((np.diff(edges) > 0) & (np.diff(lists.starts) > 0)):
        first, passages = lists.starts[one], lists.pool.vectors[slice(*lists.starts[one : one + 2])]
        step = max(1, CELLS // len(passages))
        for start in range(edges[one], edges[one + 1], step):
            who = asked[start : min(start + step, edges[one + 1])] // probed.shape[1]
            found = queries[who] @ passages.T
            passing = found >= least[who][:, None]
            count[who] += (told := passing.sum(axis=1))
            at, column = np.nonzero(_best(found, passing, told > wide, wide))
            out.append((who[at], first + column, found[at, column]))
    rows, places, scores = (np.concatenate(x) for x in zip(*out, strict=True))
    return rows, places, scores, count


def _best(found: Array, passing: Array, many: Array, wide: int) -> Array:
    """Those ``passing`` (Q, P), but of the rows ``many`` (Q,) the ``wide`` best."""
    if many.any():  # all of every list's scores took longer than an exact search
        scores = found[many]
        among = scores >= np.partition(scores, found.shape[1] - wide, axis=1)[:, found.shape[1] - wide, None]
        for row in np.flatnonzero(among.sum(axis=1) > wide):  # of a thousand equals no more
            among[row] = False
            among[row, np.argpartition(-scores[row], wide - 1)[:wide]] = True
        passing[many] = among
    return passing


def _nearest(left: pa.Table, lists: _Lists, probes: int) -> Array:
    """The ``probes`` centroids nearest to each query, (Q, probes)."""
    queries, matrix = vectors(left["vector"]), lists.centroids[()].pool.vectors
    if queries.shape[1] != matrix.shape[1]:
        raise InputError(
            f"retrieve_ivf: queries have {queries.shape[1]} dimensions, centroids {matrix.shape[1]}; "
            "fit the centroids on vectors of the same encoder"
        )
    said = xxhash.xxh3_128(np.ascontiguousarray(queries).tobytes() + matrix.tobytes() + probes.to_bytes(8)).digest()
    if (known := _NEAR.get(said)) is not None:
        return known
    found = retrieve_dense.retrieve_dense(left.select([ROW, "query_id", "vector"]), lists.centroids, RetrieveDense(top_k=probes))
    near: Array = id_pairs(flat(found["candidate_ids"])[1])["lo"].astype(np.int64).reshape(len(queries), -1)
    _NEAR[said] = near
    while sum(one.nbytes for one in list(_NEAR.values())) > KEPT:
        _NEAR.popitem(last=False)
    return near


def _numbered(matrix: Array) -> pa.Table:
    """The centroids as passages whose ids are their numbers."""
    names = np.zeros((len(matrix), 2), ">u8")
    names[:, 1] = np.arange(len(matrix))
    ids = pa.FixedSizeBinaryArray.from_buffers(row_id, len(matrix), [None, pa.py_buffer(names.tobytes())])
    offsets = pa.array(np.arange(len(matrix) + 1) * matrix.shape[1], pa.int32())
    rows = pa.ListArray.from_arrays(offsets, pa.array(matrix.astype(np.float32).reshape(-1)))
    return pa.table({"passage_id": ids, "vector": rows})


def example() -> Example:
    """The sides of `retrieve_dense`, two lists."""
    shown = retrieve_dense.example()
    assert shown.against is not None
    centroids = Centroids(vectors(shown.against["vector"])[:2])
    against = assign_clusters(shown.against, AssignClusters(), centroids=centroids)
    return Example(shown.table, RetrieveIvf(top_k=3, probes=1, sample=1.0, min_recall=0), {"centroids": centroids}, against)
