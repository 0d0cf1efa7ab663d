"""Exact dense top-k: a kernel of float32 or bfloat16 proposes, float64 decides; any cut of the corpus gives the same answer.

The stored score is the float64 dot product of the two stored vectors, rounded to float32, and order is
(−score, id): a kernel's last bits and its tie-breaking never reach the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import topk
from operators.columns import content_ids, id_pairs, one_array, vectors
from operators.contract import ROW, Columns, Example, InputError, Params, ids, operator, row_id, scores, text, vector
from operators.engines.search import Pool
from operators.filters import barred, split, whole
from operators.index_documents import Documents

BLOCK = 1024  # queries a call
BARRED = 64  # own passages up to which more are proposed; a query with more of them is searched alone

Array = np.ndarray[Any, Any]


class RetrieveDense(Params):
    """How many to keep, of which passages, and the names of the columns."""

    top_k: int = Field(default=50, ge=1)
    alike: tuple[str, ...] = Field(default=(), description="text columns, such as lang, that must be equal on both sides")
    other_documents: bool = Field(
        default=False, description="leave out the other passages of the positives' documents; needs using: {documents: STEP}"
    )
    vector: str = Field(default="vector", min_length=1, description="the column of vectors, on both sides")
    ids: str = Field(default="candidate_ids", min_length=1, description="the column to write")
    scores: str = Field(default="dense_scores", min_length=1, description="the column to write")


def merge_dense(partials: list[pa.Table], p: RetrieveDense) -> pa.Table:
    """Merge what different ranges of the corpus gave."""
    return topk.merge((p.ids, p.scores), partials, p.top_k)


def _reads(p: RetrieveDense) -> Columns:
    own = {"positive_ids": ids} if p.other_documents else {}
    return {"query_id": row_id, p.vector: vector, **own, **dict.fromkeys(p.alike, text)}


@dataclass(frozen=True)
class _Side:
    """Passages that are alike, each row once."""

    pool: Pool
    names: pa.Array
    rows: Array  # of the table
    spread: int  # how many of these rows hold the top k ids at least


Sides = Mapping[tuple[str, ...], _Side]


def prepare_dense(right: pa.Table, p: RetrieveDense, **used: Any) -> Sides:
    """The passages by the columns in which they are alike."""
    return {value: _distinct(told, p) for value, (_, told) in split(right, p.alike).items()}


@operator(
    "cross", version="4", reads=_reads, prepare=prepare_dense, merge=merge_dense, rows="same", check=whole, depth="top_k",
    against=lambda p: {"passage_id": row_id, p.vector: vector, **dict.fromkeys(p.alike, text)},
    writes=lambda p: {p.ids: ids, p.scores: scores},
)  # fmt: skip
def retrieve_dense(left: pa.Table, right: Sides, p: RetrieveDense, *, documents: Documents | None = None) -> pa.Table:
    """N queries against M passages: the ``top_k`` of each query among those that it may find."""
    rows, names, found = [np.empty(0, np.int64)], [pa.array([], row_id)], [np.empty(0, np.float32)]
    for value, (where, asked) in split(left, p.alike).items():
        if value in right:
            row, at, exact = _nearest(asked, right[value], p, documents)
            rows.append(where[row])
            names.append(right[value].names.take(pa.array(at)))
            found.append(exact)
    every = np.concatenate(rows), np.concatenate(found), pa.concat_arrays(names)
    return topk.partial((p.ids, p.scores), left[ROW], *every, p.top_k)


def _nearest(left: pa.Table, side: _Side, p: RetrieveDense, documents: Documents | None) -> tuple[Any, Any, Any]:
    """(rows, places, scores) of every query's best, each with at least ``top_k`` where there are as many."""
    queries = vectors(left[p.vector])
    out = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    own, places = barred(left, side.names, documents, p.other_documents)
    if len(queries) and len(side.names):
        check_vectors(queries, side.pool)
        floor = left[topk.FLOOR].to_numpy() if topk.FLOOR in left.column_names else None
        for start in range(0, len(queries), BLOCK):
            block = slice(start, start + BLOCK)
            mine = slice(*np.searchsorted(own, [start, start + BLOCK]))
            bars = own[mine] - start, places[mine]
            where, at, exact = _search(queries[block], side, bars, None if floor is None else floor[block])
            out.append((where + start, at, exact))
    row, at, exact = (np.concatenate(x) for x in zip(*out, strict=True))
    return row, at, exact


def _distinct(right: pa.Table, p: RetrieveDense) -> _Side:
    """Of equal rows the first stays."""
    top_k, passages, names = p.top_k, vectors(right[p.vector]), one_array(right["passage_id"])
    repeats = np.flatnonzero(topk.again(names))
    if not len(repeats):
        return _Side(Pool(passages), names, np.arange(len(names)), top_k)
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
    return _Side(Pool(passages[kept]), names.take(pa.array(kept)), kept, spread)


def check_vectors(queries: Array, pool: Pool) -> None:
    """Raise `InputError` where queries (Q, d) and passages cannot be multiplied."""
    if queries.shape[1] != pool.vectors.shape[1]:
        raise InputError(
            f"retrieve_dense: queries have {queries.shape[1]} dimensions, passages {pool.vectors.shape[1]}; "
            "embed both with one encoder"
        )
    if not np.isfinite(pool.error(queries)).all():
        raise InputError(
            "retrieve_dense: a vector holds a number that is not finite; embed in float32, "
            "or drop such rows with embed before the search"
        )


def _search(queries: Array, side: _Side, bars: tuple[Array, Array], floor: Array | None) -> tuple[Any, Any, Any]:
    """(rows, places, float32 of float64 scores) of at least the top k of each query that are not barred, down to its floor."""
    out, asked = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))], np.arange(len(queries))
    for rough in (True, False) if side.pool.rough(queries) else (False,):
        mine = np.searchsorted(asked, bars[0]), bars[1]
        sure, row, place, score = _proposed(queries[asked], side, mine, rough, None if floor is None else floor[asked])
        out.append((asked[row], place, score))
        asked = asked[~sure]
        of = np.isin(bars[0], asked)
        bars = bars[0][of], bars[1][of]
        if not len(asked):
            break
    errors = side.pool.error(queries[asked])
    for q, error in zip(asked.tolist(), errors.tolist(), strict=True):
        free = np.ones(len(side.names), bool)
        free[bars[1][bars[0] == q]] = False
        left = np.flatnonzero(free)
        if len(left):
            told = side.pool.vectors[left], side.names.take(pa.array(left))
            at, scored = _exhaustive(queries[q], *told, min(side.spread, len(left)), error)
            out.append((np.full(len(at), q), left[at], scored))
    found, at, scored = (np.concatenate(x) for x in zip(*out, strict=True))
    return found, at, scored


def _proposed(
    queries: Array, side: _Side, bars: tuple[Array, Array], rough: bool, floor: Array | None
) -> tuple[Any, Any, Any, Any]:
    """Which queries (Q,) are sure of their top k, and (rows, places, scores) of what was proposed to these."""
    many = np.bincount(bars[0], minlength=len(queries))
    places, ceiling = side.pool.propose(queries, side.spread + int(many[many <= BARRED].max(initial=0)), rough, floor)
    every = np.broadcast_to(np.arange(len(queries))[:, None], places.shape)
    taken = places < 0
    if len(bars[0]):
        width = len(side.names)
        taken |= np.isin(every * width + places, bars[0] * width + bars[1])
    exact: Array = np.full(places.shape, -np.inf, np.float32)
    exact[~taken] = topk.exact(queries, side.pool.vectors, every[~taken], places[~taken])
    least = np.full(len(queries), -np.inf) if floor is None else floor
    if places.shape[1] > side.spread:
        least = np.maximum(least, np.partition(exact, exact.shape[1] - side.spread, axis=1)[:, exact.shape[1] - side.spread])
    sure = (many <= BARRED) & ((ceiling.astype(np.float32) < least) | np.isneginf(ceiling))
    kept = sure[:, None] & ~taken
    return sure, every[kept], places[kept], exact[kept]


def _exhaustive(query: Array, passages: Array, names: pa.Array, top_k: int, error: float) -> tuple[Array, Array]:
    """(places, scores) of the top k of one query: every passage that rounding leaves a chance is scored."""
    rough = (passages @ query).astype(np.float64)
    floor = np.partition(rough, len(rough) - top_k)[len(rough) - top_k]
    at = np.flatnonzero(rough >= floor - 4 * error)  # two errors, and two more for rounding to float32
    rows = np.zeros(len(at), np.int64)
    exact = topk.exact(query[None], passages, rows, at)
    order = topk.ranked(rows, exact, names.take(pa.array(at)), 1, top_k)[1]
    return at[order], exact[order]


def example() -> Example:
    """Three queries, five passages, two of them alike."""
    rng = np.random.default_rng(0)
    q, d = rng.normal(size=(3, 8)).astype(np.float32), rng.normal(size=(5, 8)).astype(np.float32)
    d[4] = d[1]
    left = pa.table({"query_id": content_ids(["a", "b", "c"]), "vector": pa.array(list(q), vector)})
    right = pa.table({"passage_id": content_ids(list("vwxyz")), "vector": pa.array(list(d), vector)})
    return Example(left, RetrieveDense(top_k=3), against=right)
