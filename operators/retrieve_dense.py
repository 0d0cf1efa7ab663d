"""Exact dense top-k: faiss proposes, float64 decides; any cut of the corpus gives the same answer.

The stored score is the float64 dot product of the two stored vectors, rounded to float32, and order is
(−score, id): a kernel's last bits and its tie-breaking never reach the data.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import topk
from operators.columns import content_ids, vectors
from operators.contract import ROW, Example, InputError, Params, ids, operator, row_id, scores, vector

NAMES = ("candidate_ids", "dense_scores")
BLOCK = 1024  # queries a call; 1024 × 65k float64 scores would be 0.5 GB, the kernel holds far less
SPARE = 16  # proposals beyond k
ROUNDING = 2e-5  # float32 dot products of unit vectors differ by less from float64


class RetrieveDense(Params):
    """How many to keep."""

    top_k: int = Field(default=50, ge=1)


def merge_dense(partials: list[pa.Table], p: RetrieveDense) -> pa.Table:
    """Merge what different ranges of the corpus gave."""
    return topk.merge(NAMES, partials, p.top_k)


@operator("cross", version="1", reads={"query_id": row_id, "vector": vector}, against={"passage_id": row_id, "vector": vector},
          writes={"candidate_ids": ids, "dense_scores": scores}, merge=merge_dense, rows="same")  # fmt: skip
def retrieve_dense(left: pa.Table, right: pa.Table, p: RetrieveDense) -> pa.Table:
    """N queries against M passages: the ``top_k`` of each query among these passages."""
    queries, passages = vectors(left["vector"]), vectors(right["vector"])
    if len(queries) and len(passages) and queries.shape[1] != passages.shape[1]:
        raise InputError(
            f"retrieve_dense: queries have {queries.shape[1]} dimensions, passages {passages.shape[1]}; embed both with one encoder"
        )
    rows, places, found = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for start in range(0, len(queries) if len(passages) else 0, BLOCK):
        where, at, exact = _search(queries[start : start + BLOCK], passages, p.top_k)
        rows.append(where + start)
        places.append(at)
        found.append(exact)
    chosen = right["passage_id"].combine_chunks().take(pa.array(np.concatenate(places)))
    chosen = pa.concat_arrays(chosen.chunks) if isinstance(chosen, pa.ChunkedArray) else chosen
    return topk.partial(NAMES, left[ROW], np.concatenate(rows), np.concatenate(found), chosen, p.top_k)


def _search(queries: Any, passages: Any, top_k: int) -> tuple[Any, Any, Any]:
    """(rows, places, float32 of float64 scores) of at least the top k of each query."""
    import faiss

    faiss.omp_set_num_threads(1)
    wide = min(top_k + SPARE, len(passages))
    proposed, places = faiss.knn(queries, passages, wide, metric=faiss.METRIC_INNER_PRODUCT)
    exact = np.einsum("qd,qkd->qk", queries.astype(np.float64), passages[places].astype(np.float64))
    rounded = exact.astype(np.float32)
    rows = np.repeat(np.arange(len(queries)), wide)
    if wide == len(passages):
        return rows, places.reshape(-1), rounded.reshape(-1)
    # what was not proposed scores at most the last proposal; within rounding of the k-th it might belong
    kth = -np.sort(-exact, axis=1)[:, min(top_k, wide) - 1]
    scale = np.maximum(1.0, np.abs(exact).max(axis=1))
    doubtful = np.flatnonzero(proposed[:, -1] + ROUNDING * scale >= kth)
    keep = ~np.isin(rows, doubtful)
    out = [(rows[keep], places.reshape(-1)[keep], rounded.reshape(-1)[keep])]
    wide64 = passages.astype(np.float64) if len(doubtful) else None
    for q in doubtful:
        every = (wide64 @ queries[q].astype(np.float64)).astype(np.float32)
        floor = np.partition(every, -top_k)[-top_k]
        at = np.flatnonzero(every >= floor)
        exact_rows = np.einsum("d,kd->k", queries[q].astype(np.float64), wide64[at]).astype(np.float32)
        out.append((np.full(len(at), q), at, exact_rows))
    return tuple(np.concatenate(x) for x in zip(*out, strict=True))  # type: ignore[return-value]


def example() -> Example:
    """Three queries, five passages, two of them alike."""
    rng = np.random.default_rng(0)
    q, d = rng.normal(size=(3, 8)).astype(np.float32), rng.normal(size=(5, 8)).astype(np.float32)
    d[4] = d[1]
    left = pa.table({"query_id": content_ids(["a", "b", "c"]), "vector": pa.array(list(q), vector)})
    right = pa.table({"passage_id": content_ids(list("vwxyz")), "vector": pa.array(list(d), vector)})
    return Example(left, RetrieveDense(top_k=3), against=right)
