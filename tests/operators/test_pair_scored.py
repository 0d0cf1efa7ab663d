"""Similar pairs in both directions, or every pair with its score."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import columns
from operators.contract import apply, score, text
from operators.pair_scored import PairScored, pair_scored

WORD = st.sampled_from(["iron", "Iron ", "tin", "owl"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(WORD, WORD, st.sampled_from([0.0, 3.9, 4.0, 4.1, 5.0])), max_size=8), st.sampled_from([None, 3.9, 4.0]), st.booleans()
)
def test_pairs_are_those_of_an_oracle(rows, least, both):
    table = pa.table({
        "query": pa.array([a for a, *_ in rows], text), "instruction": pa.array(["find"] * len(rows), text),
        "passage": pa.array([b for _, b, _ in rows], text), "score": pa.array([s for *_, s in rows], score),
    })  # fmt: skip
    outcome = apply(pair_scored, table, PairScored(at_least=least, both=both))
    want = []
    for a, b, s in rows:
        if (least is None or s >= least) and a.strip().lower() != b.strip().lower():
            want += [(a, b, s), (b, a, s)] if both else [(a, b, s)]
    got = [(r["query"], r["passage"], round(r["positive_scores"][0], 3)) for r in outcome.table.to_pylist()]
    assert got == want
    for one in outcome.table.to_pylist():
        assert one["query_id"] == columns.content_id(one["query"], "find")
        assert one["positive_ids"] == [one["passage_id"]] == [columns.content_id("", one["passage"])]
    low = {"score below 4", "score below 3.9", "both sentences say the same"}
    assert set(outcome.rejects["reason"].to_pylist()) <= low


def test_scores_are_cut_into_grades():
    values = [0.0, 1.9, 2.0, 3.9, 4.0, 5.0]
    table = pa.table({
        "query": pa.array([f"a{i}" for i in range(6)], text), "instruction": pa.array([""] * 6, text),
        "passage": pa.array([f"b{i}" for i in range(6)], text), "score": pa.array(values, score),
    })  # fmt: skip
    outcome = apply(pair_scored, table, PairScored(at_least=None, cuts=(2, 4), both=False))
    assert outcome.table["positive_scores"].to_pylist() == [[0], [0], [1], [1], [2], [2]]
    for params, why in (({"cuts": (2, 4)}, "cuts do nothing"), ({"cuts": (4, 2), "at_least": None}, "cuts do not rise")):
        with pytest.raises(ValueError, match=why):
            PairScored(**params)


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_an_endless_score_is_none(value):
    table = pa.table({"query": ["a"], "instruction": [""], "passage": ["b"], "score": pa.array([value], score)})
    assert len(apply(pair_scored, table, PairScored()).rejects) == 1


def test_a_pair_without_a_number_is_a_reject():
    table = pa.table({"query": pa.array(["a"], text), "instruction": pa.array([""], text), "passage": pa.array(["b"], text),
                      "score": pa.array([float("nan")], score)})  # fmt: skip
    for least, why in ((None, "no score"), (4.0, "score below 4")):
        assert apply(pair_scored, table, PairScored(at_least=least)).rejects["reason"].to_pylist() == [why]
    with pytest.raises(ValueError, match="at_least"):
        PairScored(at_least="high")  # type: ignore[arg-type]
