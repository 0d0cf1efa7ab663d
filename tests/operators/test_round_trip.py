"""A query stays where its source passage comes back among the best distinct texts."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.contract import InputError, Outcome, apply, ids, score, scores
from operators.round_trip import RoundTrip, _check, example, round_trip

TEXTS = example().used["texts"]
WORDS = ["oak", "birch", "Birch", "elm", "ash"]
LIST = st.lists(st.sampled_from(WORDS), unique=True)


def of(word: str) -> bytes:
    from operators.columns import content_id

    return content_id("", word)


def run(
    rows: list[tuple[list[str], list[str]]], values: list[list[float | None]] | None = None, **p: Any
) -> Outcome:
    table = pa.table(
        {
            "positive_ids": pa.array([[of(w) for w in one] for one, _ in rows], ids),
            "candidate_ids": pa.array([[of(w) for w in one] for _, one in rows], ids),
        }
    )
    if values is not None:
        table = table.append_column("dense_scores", pa.array(values, scores))
        p["scores"] = "dense_scores"
    return apply(round_trip, table, RoundTrip(**p), texts=TEXTS)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.sampled_from(WORDS), min_size=1, max_size=2), LIST), max_size=4),
    st.integers(1, 4),
)
def test_the_rank_counts_the_distinct_texts_ahead(
    rows: list[tuple[list[str], list[str]]], top_k: int
) -> None:
    outcome = run(rows, top_k=top_k)
    got = dict(
        zip(outcome.table["_row"].to_pylist(), outcome.table["round_trip_rank"].to_pylist(), strict=True)
    )
    for number, (positives, candidates) in enumerate(rows):
        distinct = list(dict.fromkeys(w.casefold() for w in candidates))
        ranks = [distinct.index(w.casefold()) + 1 for w in positives if w.casefold() in distinct]
        want = min(ranks) if ranks and min(ranks) <= top_k else None
        assert got.get(number) == want
    for reject in outcome.rejects.to_pylist():
        assert reject["value"] == "absent" or int(reject["value"]) > top_k


def test_by_score_a_tie_with_the_score_at_rank_k_passes() -> None:
    lists: list[list[float | None]] = [[0.9, 0.5, 0.5]]
    outcome = run([(["elm"], ["oak", "birch", "elm"])], lists, top_k=2)
    assert outcome.table["round_trip_rank"].to_pylist() == [2]
    assert run([(["elm"], ["oak", "birch", "elm"])], top_k=2).rejects["value"].to_pylist() == ["3"]


def test_a_candidate_without_score_was_not_found_by_that_scorer() -> None:
    outcome = run([(["elm"], ["oak", "elm"])], [[0.9, None]], top_k=2)
    assert outcome.rejects["value"].to_pylist() == ["absent"]


SCORE = st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.5])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(LIST, st.lists(SCORE, min_size=5, max_size=5), st.sampled_from(WORDS), SCORE), max_size=4),
    st.integers(1, 4), st.sampled_from([0.0, 0.05, 0.2]),
)  # fmt: skip
def test_with_its_own_score_a_passage_is_ranked_among_what_was_searched_ties_and_duplicates_being_itself(rows, top_k, tie) -> None:
    table = pa.table({
        "positive_ids": pa.array([[of(p)] for _, _, p, _ in rows], ids),
        "candidate_ids": pa.array([[of(w) for w in found] for found, *_ in rows], ids),
        "dense_scores": pa.array([sorted(s[: len(found)], reverse=True) for found, s, *_ in rows], scores),
        "similarity": pa.array([own for *_, own in rows], score),
    })  # fmt: skip
    listed = [dict(zip(found, sorted(s[: len(found)], reverse=True), strict=True)).get(p, own) for found, s, p, own in rows]
    table = table.set_column(3, "similarity", pa.array(listed, score))
    outcome = apply(round_trip, table, RoundTrip(top_k=top_k, scores="dense_scores", own="similarity", tie=tie), texts=TEXTS)
    got = dict(zip(outcome.table["_row"].to_pylist(), outcome.table["round_trip_rank"].to_pylist(), strict=True))
    for number, row in enumerate(table.to_pylist()):
        best: dict[str, float] = {}
        for word, value in zip(rows[number][0], row["dense_scores"], strict=True):
            best[word.casefold()] = max(best.get(word.casefold(), -1.0), value)
        own = max(row["similarity"], best.get(rows[number][2].casefold(), -1.0))
        rank = 1 + sum(value > own + tie for value in best.values())
        known = len(rows[number][0]) < top_k or own + tie >= min(best.values())
        assert got.get(number) == (rank if known and rank <= top_k else None)


def outside(found: list[str], top_k: int, own: float | None = 0.2) -> Outcome:
    table = pa.table({
        "positive_ids": pa.array([[of("ash")]], ids), "candidate_ids": pa.array([[of(w) for w in found]], ids),
        "dense_scores": pa.array([[0.9] * len(found)], scores), "similarity": pa.array([own], score),
    })  # fmt: skip
    return apply(round_trip, table, RoundTrip(top_k=top_k, scores="dense_scores", own="similarity"), texts=TEXTS)


def test_of_a_pool_smaller_than_k_no_passage_is_below_the_kth() -> None:
    assert outside(["oak"], 2).table["round_trip_rank"].to_pylist() == [2]
    assert outside([], 1).table["round_trip_rank"].to_pylist() == [1]
    assert outside(["oak", "elm"], 2).rejects["value"].to_pylist() == ["absent"]
    assert outside(["birch", "Birch"], 2).rejects["value"].to_pylist() == ["absent"], "one text twice: how many stand behind it is not known"
    assert outside(["oak"], 2, own=float("nan")).rejects["value"].to_pylist() == ["absent"]


def test_a_score_of_another_encoder_than_the_lists_is_refused() -> None:
    def run_own(own: float, positives: list[str]) -> Outcome:
        table = pa.table({
            "positive_ids": pa.array([[of(w) for w in positives]], ids), "candidate_ids": pa.array([[of("elm"), of("oak")]], ids),
            "dense_scores": pa.array([[0.9, 0.8]], scores), "similarity": pa.array([own], score),
        })  # fmt: skip
        return apply(round_trip, table, RoundTrip(scores="dense_scores", own="similarity"), texts=TEXTS)

    with pytest.raises(InputError, match=r"similarity of a passage is 0.7 and its dense_scores 0.8; name one encoder"):
        run_own(0.7, ["oak"])
    assert len(run_own(0.8004, ["oak"]).table) == 1, "as vectors of float16 move it"
    assert len(run_own(0.7, ["oak", "ash"]).table) == 1, "of two positives it may be the other's"


def test_a_search_that_keeps_fewer_than_k_is_refused() -> None:
    assert _check(RoundTrip(), {"depth": 10}) == ["round_trip: top_k is 20, the search above keeps 10; let it keep as many at least"]
    assert _check(RoundTrip(), {"depth": 20}) == _check(RoundTrip(), {}) == []


@pytest.mark.parametrize("idle", [{"own": "similarity"}, {"tie": 0.1}])
def test_what_compares_scores_needs_them(idle: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="own and tie compare scores"):
        RoundTrip(**idle)
