"""A query stays where its source passage comes back among the best distinct texts."""

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.contract import Outcome, apply, ids, scores
from operators.round_trip import RoundTrip, example, round_trip

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
