import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.columns import content_ids
from operators.contract import apply, ids, scores
from operators.fuse_rankings import FuseRankings, fuse_rankings

IDS = content_ids([str(i) for i in range(8)]).to_pylist()
LIST = st.lists(st.integers(0, 7), unique=True, max_size=6)
WEIGHT = st.sampled_from([0.5, 1.0, 2.0])


def table(rows):
    def column(which, values):
        return pa.array([[values(i, n) for i, n in enumerate(row[which])] for row in rows], ids if values is one_id else scores)

    def falling(rank, number):
        return 1.0 - rank / 8

    return pa.table({
        "candidate_ids": column(0, one_id), "dense_scores": column(0, falling),
        "bm25_ids": column(1, one_id), "bm25_scores": column(1, falling),
    })  # fmt: skip


def one_id(rank, number):
    return IDS[number]


def naive(row, p):
    total = {}
    for found, weight in zip(row, (p.dense_weight, p.bm25_weight), strict=True):
        for rank, number in enumerate(found, 1):
            total[IDS[number]] = total.get(IDS[number], 0) + weight / (p.k + rank)
    rounded = {i: float(np.float32(s)) for i, s in total.items()}
    return sorted(rounded.items(), key=lambda pair: (-pair[1], pair[0]))[: p.top_k]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(LIST, LIST), max_size=5), st.integers(1, 9), st.sampled_from([1, 60]), WEIGHT, WEIGHT)
def test_fused_order_is_the_sum_of_reciprocal_ranks_then_id(rows, top_k, k, dense, bm25):
    p = FuseRankings(top_k=top_k, k=k, dense_weight=dense, bm25_weight=bm25)
    found = apply(fuse_rankings, table(rows), p).table
    for row, names, fused in zip(rows, found["candidate_ids"].to_pylist(), found["fused_scores"].to_pylist(), strict=True):
        assert list(zip(names, fused, strict=True)) == naive(row, p)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(LIST, LIST), max_size=5))
def test_each_score_stays_with_its_candidate_and_is_null_where_unseen(rows):
    found = apply(fuse_rankings, table(rows), FuseRankings()).table
    for row, out in zip(rows, found.to_pylist(), strict=True):
        for which, name in enumerate(("dense_scores", "bm25_scores")):
            given_scores = {IDS[n]: 1.0 - i / 8 for i, n in enumerate(row[which])}
            assert out[name] == [given_scores.get(i) for i in out["candidate_ids"]]


def test_the_lists_of_bm25_end_here():
    found = apply(fuse_rankings, table([([1], [2])]), FuseRankings()).table
    assert "bm25_ids" not in found.column_names
    assert {"candidate_ids", "dense_scores", "bm25_scores", "fused_scores"} <= set(found.column_names)
