"""A row's best text counts, in its columns and among its positives; what is kept is bounded by share and number."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators.content import indexed as texts_of
from operators.contract import ARTIFACTS, InputError, apply, ids, text
from operators.drop_contaminated import DropContaminated, drop_contaminated
from operators.index_evaluation import IndexEvaluation, indexed
from operators.match_evaluation import MatchEvaluation, example, match_evaluation
from operators.measure_contamination import MeasureContamination, measure_contamination

P = IndexEvaluation(words=3, least_words=2)
EVALUATION = indexed([("nq", "1", "", "a b c d e"), ("nq", "2", "", "c d e f"), ("fever", "1", "", "x y")], P)
ROW = {one: i for i, one in zip(EVALUATION.ids(range(3)).to_pylist(), range(3), strict=True)}


def matched(queries, passages=None, **options):
    table = pa.table({"query": pa.array(queries, text)})
    if passages is not None:
        table = table.append_column("passage", pa.array(passages, text))
    return apply(match_evaluation, table, MatchEvaluation(**options), evaluation=EVALUATION).table


def test_the_best_share_of_a_rows_texts_is_kept():
    [row] = matched(["a b c d"], ["z a b c d e"], columns=("query", "passage")).to_pylist()
    assert row["ngram_scores"] == [1.0, 0.5]
    assert row["exact_ids"] == []
    assert [matched(["X, y!"]).to_pylist()[0][c] != [] for c in ("exact_ids", "ngram_ids")] == [True, True]


def test_smaller_shares_and_more_texts_are_not_kept():
    assert matched(["a b c d e"], least_share=0.4).to_pylist()[0]["ngram_scores"] == [1.0, 0.5]
    assert matched(["a b c d e"], least_share=0.6).to_pylist()[0]["ngram_scores"] == [1.0]
    assert matched(["a b c d e"], top_k=1).to_pylist()[0]["ngram_scores"] == [1.0]


def test_positives_are_looked_at_by_their_ids():
    keys, texts = texts_of(["a b c d e", "no word of it"])
    table = pa.table({"query": pa.array(["q", "q"], text), "positive_ids": pa.array([[keys[1], keys[0]], []], ids)})
    found = apply(match_evaluation, table, MatchEvaluation(ids=("positive_ids",)), evaluation=EVALUATION, texts=texts).table
    assert [len(one) for one in found["exact_ids"].to_pylist()] == [1, 0]


def test_options_that_do_nothing_are_refused():
    with pytest.raises(ValidationError, match="no text would be looked at"):
        MatchEvaluation(columns=())
    check = match_evaluation.check
    assert "add using" in check(MatchEvaluation(ids=("positive_ids",)), {ARTIFACTS: {"evaluation"}})[0]
    assert "do nothing" in check(MatchEvaluation(), {ARTIFACTS: {"evaluation", "texts"}})[0]
    assert check(MatchEvaluation(), {ARTIFACTS: {"evaluation"}}) == check(MatchEvaluation(), {}) == []
    e = example()
    with pytest.raises(InputError, match="add using"):
        match_evaluation(e.table, e.params, evaluation=e.used["evaluation"])


def test_an_evaluation_that_is_the_corpus_takes_every_row_and_counts_each_text_once():
    said = ["Iron rusts in rain, that is because water and oxygen react with it all day long.", "one", "山は高い。", "É" * 40, "?!", "dup", "Dup!"]
    evaluation = indexed([("nq", str(i), "", one) for i, one in enumerate(said)])
    table = apply(match_evaluation, pa.table({"query": pa.array(said, text)}), MatchEvaluation(), evaluation=evaluation).table
    outcome = apply(drop_contaminated, table, DropContaminated(), evaluation=evaluation)
    assert outcome.table["query"].to_pylist() == ["?!"]  # it has no word
    assert [r["reason"] for r in outcome.rejects.to_pylist()] == ["in nq: exact"] * 6
    fold = measure_contamination(MeasureContamination(), evaluation=evaluation)
    fold.add(table, 0)
    assert fold.finish().counts == {"nq": {"rows": 7, "found": 6, "exact": 6, "n-gram": 1}}
