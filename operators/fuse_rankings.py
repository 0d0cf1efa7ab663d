"""Reciprocal rank fusion of dense and BM25 candidates (Cormack et al., SIGIR 2009; k = 60)."""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import topk
from operators.columns import content_ids, flat, id_pairs, lists, put
from operators.contract import Example, Params, ids, operator, score, scores


class FuseRankings(Params):
    """The constant and the weights of the sum Σ w / (k + rank)."""

    k: int = Field(default=60, ge=1)
    top_k: int = Field(default=50, ge=1)
    dense_weight: float = Field(default=1.0, ge=0)
    bm25_weight: float = Field(default=1.0, ge=0)


READS = {"candidate_ids": ids, "dense_scores": scores, "bm25_ids": ids, "bm25_scores": scores}
WRITES = {"candidate_ids": ids, "dense_scores": scores, "bm25_scores": scores, "fused_scores": scores}


@operator("map", version="1", reads=READS, writes=WRITES, rows="same")
def fuse_rankings(table: pa.Table, p: FuseRankings) -> pa.Table:
    """Candidates of both lists by fused score, then id; a scorer that did not see one leaves null."""
    found, rows, fused, seen = [], [], [], []
    for column, weight in (("candidate_ids", p.dense_weight), ("bm25_ids", p.bm25_weight)):
        offsets, values = flat(table[column])
        rank = np.arange(len(values)) - np.repeat(offsets[:-1], np.diff(offsets)) + 1
        found.append(values)
        rows.append(np.repeat(np.arange(len(table)), np.diff(offsets)))
        fused.append(weight / (p.k + rank))
    for column in ("dense_scores", "bm25_scores"):
        seen.append(flat(table[column])[1].to_numpy(zero_copy_only=False).astype(np.float32))
    both, row = pa.concat_arrays(found), np.concatenate(rows)
    group, inverse = _groups(row, both)
    total = np.bincount(inverse, np.concatenate(fused), minlength=len(group)).astype(np.float32)
    split = len(found[0])
    marks = [np.full(len(group), np.nan, np.float32) for _ in seen]
    marks[0][inverse[:split]] = seen[0]
    marks[1][inverse[split:]] = seen[1]
    ids_of = both.take(pa.array(group))
    offsets, order = topk.ranked(row[group], total, ids_of, len(table), p.top_k)
    table = put(table, "candidate_ids", lists(offsets, ids_of.take(pa.array(order))))
    for name, mark in (("dense_scores", marks[0]), ("bm25_scores", marks[1]), ("fused_scores", total)):
        table = put(table, name, lists(offsets, pa.array(mark[order], score, from_pandas=True)))
    return table.drop_columns(["bm25_ids"])


def _groups(row: np.ndarray, ids_of: pa.Array) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """(first place of each distinct (row, id), which of them each place is)."""
    pairs = id_pairs(ids_of) if len(ids_of) else np.empty(0, [("hi", "u8"), ("lo", "u8")])
    order = np.lexsort((pairs["lo"], pairs["hi"], row))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (row[order][1:] != row[order][:-1]) | (pairs[order][1:] != pairs[order][:-1])
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.cumsum(fresh) - 1
    return order[fresh], inverse


def example() -> Example:
    """Three queries: both lists, one alone, none."""
    a, b, c = content_ids(["a", "b", "c"]).to_pylist()
    columns = {
        "candidate_ids": pa.array([[a, b], [c], []], ids), "dense_scores": pa.array([[0.9, 0.5], [0.4], []], scores),
        "bm25_ids": pa.array([[b, c], [], []], ids), "bm25_scores": pa.array([[7.0, 2.0], [], []], scores),
    }  # fmt: skip
    return Example(pa.table(columns), FuseRankings(top_k=3))
