"""Exact dense top-k: a float32 kernel proposes, float64 decides; any cut of the corpus gives the same answer.

The stored score is the float64 dot product of the two stored vectors, rounded to float32, and order is
(−score, id): a kernel's last bits and its tie-breaking never reach the data.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import topk
from operators.columns import content_ids, id_pairs, vectors
from operators.contract import ROW, Example, InputError, Params, ids, operator, row_id, scores, vector
from operators.engines.search import propose

NAMES = ("candidate_ids", "dense_scores")
BLOCK = 1024  # queries a call
SLICE = 32  # queries whose float64 products with their proposals are held at a time
SPARE = 16  # proposals beyond k
UNIT = 2.0**-24  # float32: |computed − exact dot| ≤ d · UNIT · |q| · |p|, in whatever order it was summed

Array = np.ndarray[Any, Any]


class RetrieveDense(Params):
    """How many to keep."""

    top_k: int = Field(default=50, ge=1)


def merge_dense(partials: list[pa.Table], p: RetrieveDense) -> pa.Table:
    """Merge what different ranges of the corpus gave."""
    return topk.merge(NAMES, partials, p.top_k)


READS = {"query_id": row_id, "vector": vector}
AGAINST = {"passage_id": row_id, "vector": vector}
WRITES = {"candidate_ids": ids, "dense_scores": scores}


@operator("cross", version="3", reads=READS, against=AGAINST, writes=WRITES, merge=merge_dense, rows="same")
def retrieve_dense(left: pa.Table, right: pa.Table, p: RetrieveDense) -> pa.Table:
    """N queries against M passages: the ``top_k`` of each query among these passages."""
    queries, (passages, names, spread) = vectors(left["vector"]), _distinct(right, p.top_k)
    rows, places, found = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    if len(queries) and len(passages):
        error = _error(queries, passages)
        for start in range(0, len(queries), BLOCK):
            block = slice(start, start + BLOCK)
            where, at, exact = _search(queries[block], passages, names, spread, error[block])
            rows.append(where + start)
            places.append(at)
            found.append(exact)
    chosen = names.take(pa.array(np.concatenate(places)))
    return topk.partial(NAMES, left[ROW], np.concatenate(rows), np.concatenate(found), chosen, p.top_k)


def _distinct(right: pa.Table, top_k: int) -> tuple[Array, pa.Array, int]:
    """(vectors, ids, how many of these rows hold the top k ids at least); of equal rows the first stays."""
    passages, names = vectors(right["vector"]), topk.single(right["passage_id"])
    repeats = np.flatnonzero(topk.again(names))
    if not len(repeats):
        return passages, names, top_k
    shared = np.flatnonzero(np.isin(id_pairs(names), id_pairs(names.take(pa.array(repeats)))))
    rows: dict[bytes, set[bytes]] = {}
    drop = []
    for row, name in zip(shared.tolist(), names.take(pa.array(shared)).to_pylist(), strict=True):
        of_name, vector = rows.setdefault(name, set()), passages[row].tobytes()
        if vector in of_name:
            drop.append(row)
        of_name.add(vector)
    kept = np.delete(np.arange(len(passages)), drop)
    # An id of several vectors counts once, at its best: it may take up as many proposals as it has vectors.
    sizes = [len(v) for v in rows.values()]
    spread = min(top_k + sum(sizes) - len(sizes), top_k * max(sizes))
    return passages[kept], names.take(pa.array(kept)), spread


def _error(queries: Array, passages: Array) -> Array:
    """(N,) how far a float32 dot product of each query can be from the exact one."""
    if queries.shape[1] != passages.shape[1]:
        raise InputError(
            f"retrieve_dense: queries have {queries.shape[1]} dimensions, passages {passages.shape[1]}; "
            "embed both with one encoder"
        )
    asked = np.sqrt(np.einsum("nd,nd->n", queries, queries, dtype=np.float64))
    longest = float(np.sqrt(np.einsum("nd,nd->n", passages, passages, dtype=np.float64).max()))
    if not (np.isfinite(asked).all() and np.isfinite(longest)):
        raise InputError(
            "retrieve_dense: a vector holds a number that is not finite; embed in float32, "
            "or drop such rows with embed before the search"
        )
    bound: Array = queries.shape[1] * UNIT * asked * longest * 1.01
    return bound


def _search(queries: Array, passages: Array, names: pa.Array, top_k: int, error: Array) -> tuple[Any, Any, Any]:
    """(rows, places, float32 of float64 scores) of at least the ``top_k`` rows of each query."""
    wide = min(top_k + SPARE, len(passages))
    proposed, places = propose(queries, passages, wide)
    cuts = [slice(i, i + SLICE) for i in range(0, len(queries), SLICE)]
    exact = np.concatenate([topk.dots(queries[c, None, :], passages[places[c]]).astype(np.float32) for c in cuts])
    sure = np.ones(len(queries), bool)
    if wide < len(passages):
        # what was not proposed scores at most the last proposal and the error: it must stay below the k-th
        kth = np.partition(exact, wide - top_k, axis=1)[:, wide - top_k]
        sure = (proposed[:, -1].astype(np.float64) + error).astype(np.float32) < kth
    rows = np.repeat(np.flatnonzero(sure), wide)
    out = [(rows, places[sure].reshape(-1), exact[sure].reshape(-1))]
    for q in np.flatnonzero(~sure):
        at, scored = _exhaustive(queries[q], passages, names, top_k, float(error[q]))
        out.append((np.full(len(at), q), at, scored))
    found, at, scored = (np.concatenate(x) for x in zip(*out, strict=True))
    return found, at, scored


def _exhaustive(query: Array, passages: Array, names: pa.Array, top_k: int, error: float) -> tuple[Array, Array]:
    """(places, scores) of the top k of one query: every passage that rounding leaves a chance is scored."""
    rough = (passages @ query).astype(np.float64)
    floor = np.partition(rough, len(rough) - top_k)[len(rough) - top_k]
    at = np.flatnonzero(rough >= floor - 4 * error)  # two errors, and two more for rounding to float32
    parts = [topk.dots(query, passages[at[i : i + topk.SLICE]]) for i in range(0, len(at), topk.SLICE)]
    exact = np.concatenate(parts).astype(np.float32)
    order = topk.ranked(np.zeros(len(at), np.int64), exact, names.take(pa.array(at)), 1, top_k)[1]
    return at[order], exact[order]


def example() -> Example:
    """Three queries, five passages, two of them alike."""
    rng = np.random.default_rng(0)
    q, d = rng.normal(size=(3, 8)).astype(np.float32), rng.normal(size=(5, 8)).astype(np.float32)
    d[4] = d[1]
    left = pa.table({"query_id": content_ids(["a", "b", "c"]), "vector": pa.array(list(q), vector)})
    right = pa.table({"passage_id": content_ids(list("vwxyz")), "vector": pa.array(list(d), vector)})
    return Example(left, RetrieveDense(top_k=3), against=right)
