import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.columns import content_ids
from operators.contract import InputError, apply, ids, scores
from operators.fuse_rankings import BM25, DENSE, FuseRankings, Ranking, fuse_rankings

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


def weighed(*weights):
    return tuple(r.model_copy(update={"weight": w}) for r, w in zip((DENSE, BM25), weights, strict=True))


def naive(row, p):
    total = {}
    for found, weight in zip(row, (r.weight for r in p.rankings), strict=True):
        for rank, number in enumerate(found, 1):
            total[IDS[number]] = total.get(IDS[number], 0) + weight / ((p.k or 60) + rank)
    rounded = {i: float(np.float32(s)) for i, s in total.items()}
    return sorted(rounded.items(), key=lambda pair: (-pair[1], pair[0]))[: p.top_k]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(LIST, LIST), max_size=5), st.integers(1, 9), st.sampled_from([1, 60]), WEIGHT, WEIGHT)
def test_fused_order_is_the_sum_of_reciprocal_ranks_then_id(rows, top_k, k, dense, bm25):
    p = FuseRankings(top_k=top_k, k=k, rankings=weighed(dense, bm25))
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


def test_a_list_of_weight_0_tells_its_scores_and_its_own_candidates_come_last():
    found = apply(fuse_rankings, table([([1, 2], [3, 2])]), FuseRankings(rankings=weighed(1, 0))).table
    assert found["candidate_ids"].to_pylist() == [[IDS[1], IDS[2], IDS[3]]]
    assert found["bm25_scores"].to_pylist() == [[None, 0.875, 1.0]]


def test_three_encoders_are_fused_and_only_candidate_ids_goes_on():
    more = table([([1, 2], [2])]).append_column("e5_ids", pa.array([[IDS[4], IDS[2]]], ids))
    more = more.append_column("e5_scores", pa.array([[0.5, 0.25]], scores))
    p = FuseRankings(rankings=(DENSE, BM25, Ranking(ids="e5_ids", scores="e5_scores", weight=0.5)))
    found = apply(fuse_rankings, more, p).table
    assert found["candidate_ids"].to_pylist() == [[IDS[2], IDS[1], IDS[4]]]
    assert found["e5_scores"].to_pylist() == [[0.25, None, 0.5]]
    assert not {"bm25_ids", "e5_ids"} & set(found.column_names)


@pytest.mark.filterwarnings("error")
def test_a_list_without_a_score_counts_as_the_lowest_and_says_nothing_to_the_user():
    a, b = content_ids("ab").to_pylist()
    table = pa.table({
        "candidate_ids": pa.array([[a]], ids), "dense_scores": pa.array([[None]], scores),
        "bm25_ids": pa.array([[a, b]], ids), "bm25_scores": pa.array([[2.0, 1.0]], scores),
    })  # fmt: skip
    assert apply(fuse_rankings, table, FuseRankings(method="weighted")).table["fused_scores"].to_pylist() == [[1.0, 0.0]]


def test_weighted_scores_stand_between_the_lowest_and_the_highest_of_their_list():
    given_table = pa.table({
        "candidate_ids": pa.array([IDS[:3], IDS[:2]], ids), "dense_scores": pa.array([[0.9, 0.8, 0.7], [0.5, 0.5]], scores),
        "bm25_ids": pa.array([IDS[1:3], []], ids), "bm25_scores": pa.array([[30.0, 10.0], []], scores),
    })  # fmt: skip
    found = apply(fuse_rankings, given_table, FuseRankings(method="weighted", rankings=weighed(1, 2))).table
    assert found["candidate_ids"].to_pylist() == [[IDS[1], IDS[0], IDS[2]], sorted(IDS[:2])]
    assert np.allclose(found["fused_scores"].to_pylist()[0], [2.5, 1, 0], atol=1e-6)
    assert found["fused_scores"].to_pylist()[1] == [1, 1]


@pytest.mark.parametrize("params", [
    {"method": "weighted", "k": 60}, {"rankings": [DENSE]}, {"rankings": [DENSE, DENSE]},
    {"rankings": [{"ids": "a", "scores": "b", "weight": 0}, {"ids": "c", "scores": "d", "weight": 0}]},
])  # fmt: skip
def test_options_that_cannot_act_are_refused(params):
    with pytest.raises(ValidationError):
        FuseRankings.model_validate(params)


def test_candidates_that_are_no_ranking_are_not_written_over():
    more = table([([1, 2], [2])])
    for name in ("e5", "splade"):
        more = more.append_column(f"{name}_ids", pa.array([[IDS[4], IDS[3]]], ids))
        more = more.append_column(f"{name}_scores", pa.array([[0.5, 0.25]], scores))
    p = FuseRankings(rankings=tuple(Ranking(ids=f"{n}_ids", scores=f"{n}_scores") for n in ("e5", "splade")))
    with pytest.raises(InputError, match="none of the rankings"):  # dense_scores would stand beside them, as long as they are
        apply(fuse_rankings, more, p)
    assert apply(fuse_rankings, more.drop_columns(["candidate_ids"]), p).table["candidate_ids"].to_pylist() == [[IDS[4], IDS[3]]]
