import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.columns import content_ids
from operators.contract import InputError, apply, ids, scores, text
from operators.fit_score_quantiles import FitScoreQuantiles, ScoreQuantiles, fit_score_quantiles
from operators.gate_by_teacher import GateByTeacher, gate_by_teacher
from operators.index_texts import IndexTexts, index_texts

WORDS = [*(f"tree {i}" for i in range(25)), "Tree 0", "TREE 1"]
IDS = content_ids([""] * len(WORDS), WORDS).to_pylist()


@pytest.fixture(scope="module")
def texts():
    fold = index_texts(IndexTexts())
    table = pa.table({"passage_id": pa.array(IDS, pa.binary(16)), "title": [""] * len(WORDS), "passage": WORDS})
    fold.add(table.sort_by("passage_id"), 0)
    return fold.finish()


def rows(*queries, kind="claim"):
    """Each query: its positive's score, and (word, score) of its candidates."""
    return pa.table({
        "query_type": pa.array([kind] * len(queries), text),
        "positive_ids": pa.array([[IDS[0]]] * len(queries), ids),
        "positive_scores": pa.array([[own] for own, _ in queries], scores),
        "candidate_ids": pa.array([[IDS[w] for w, _ in found] for _, found in queries], ids),
        "teacher_scores": pa.array([[s for _, s in found] for _, found in queries], scores),
    })  # fmt: skip


def counted(*values, kind="claim"):
    fold = fit_score_quantiles(FitScoreQuantiles())
    fold.add(scored(list(values), kind=kind), 0)
    return fold.finish()


def scored(values, own=(), kind="a"):
    """A row whose candidates, and whose positives, have these scores; no id comes twice."""
    names = [i.to_bytes(16, "big") for i in range(len(own) + len(values))]
    return pa.table({
        "query_type": pa.array([kind], text), "positive_ids": pa.array([names[: len(own)]], ids),
        "candidate_ids": pa.array([names[len(own) :]], ids), "positive_scores": pa.array([list(own)], scores),
        "teacher_scores": pa.array([values], scores),
    })  # fmt: skip


def test_a_positive_that_came_back_is_counted_once():
    fold = fit_score_quantiles(FitScoreQuantiles())
    table = scored([0.9, 0.1], own=[0.9])
    names = table["candidate_ids"].to_pylist()[0]
    fold.add(table.set_column(2, "candidate_ids", pa.array([[table["positive_ids"].to_pylist()[0][0], names[1]]], ids)), 0)
    assert fold.finish().at("a", 50) == pytest.approx(0.5)


def gated(texts, table, quantiles=None, **params):
    used = {"texts": texts, "quantiles": quantiles or counted(0.0, 1.0)}
    given = {"min_candidates": 2, "percentile": 0, **params}
    outcome = apply(gate_by_teacher, table, GateByTeacher(**given), **used)
    return outcome, dict(zip(outcome.rejects["_row"].to_pylist(), outcome.rejects["reason"].to_pylist(), strict=True))


def test_the_source_passage_must_rank_first_and_a_tie_is_first(texts):
    outcome, why = gated(texts, rows((0.5, [(0, 0.5), (1, 0.4)]), (0.5, [(0, 0.5), (1, 0.6)]), (0.5, [(1, 0.5), (0, 0.5)])))
    assert why == {1: "source passage not in the teacher's top 1"}
    assert outcome.table["teacher_rank"].to_pylist() == [1, 1]


def test_a_text_that_equals_the_source_passage_does_not_outrank_it_and_equal_texts_count_once(texts):
    equal_to_source, equal_twice = WORDS.index("Tree 0"), WORDS.index("TREE 1")
    _, why = gated(texts, rows((0.5, [(equal_to_source, 0.9), (1, 0.1)])))
    assert why == {}
    two = [(1, 0.6), (equal_twice, 0.6), (2, 0.1)]
    assert gated(texts, rows((0.5, two)), top_k=2)[1] == {}


def test_too_few_scored_candidates_are_no_proof(texts):
    twenty = [(w, 0.1) for w in range(20)]
    _, why = gated(texts, rows((0.9, twenty), (0.9, twenty[:19]), (0.9, [*twenty[:19], (19, None)])), min_candidates=20)
    assert why == dict.fromkeys((1, 2), "fewer than 20 candidates scored")


def test_a_source_passage_below_the_percentile_of_its_own_type_is_dropped(texts):
    levels = counted(0.0, 0.2, 0.4, 0.6, 0.8)
    table = rows((0.19, [(0, 0.19), (1, 0.1)]), (0.2, [(0, 0.2), (1, 0.1)]))
    assert gated(texts, table, levels, percentile=25)[1] == {0: "scored below percentile 25"}
    with pytest.raises(InputError, match="'title' was not fitted"):
        gated(texts, rows((0.9, [(0, 0.9), (1, 0.1)]), kind="title"), levels)
    with pytest.raises(InputError, match="say the same"):
        gated(texts, table, levels, by="")


def test_scores_are_spread_and_clipped_and_unknown_ones_stay_unknown(texts):
    levels = counted(*np.linspace(0.2, 0.7, 101))
    outcome, _ = gated(texts, rows((0.95, [(0, 0.95), (1, 0.45), (2, 0.0), (3, None)])), levels, normalise=True)
    assert outcome.table["positive_scores"].to_pylist() == [[1.0]]
    assert outcome.table["teacher_scores"].to_pylist()[0] == [1.0, pytest.approx(0.5, abs=1e-6), 0.0, None]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=60), st.integers(0, 60))
def test_percentiles_are_numpys_and_no_cut_changes_them(values, cut):
    first, later = fit_score_quantiles(FitScoreQuantiles()), fit_score_quantiles(FitScoreQuantiles())
    first.add(scored(values[1:cut], values[: min(cut, 1)]), 0)
    later.add(scored(values[max(cut, 1 if cut else 0) :]), 0)
    first.merge(later)
    found = first.finish().groups["a"]
    assert found == pytest.approx(np.percentile(np.array(values, np.float64), np.arange(101)).tolist(), abs=1e-6)


def test_percentiles_survive_their_file(tmp_path):
    levels = counted(0.1, 0.2, kind="é")
    levels.save(tmp_path)
    assert ScoreQuantiles.load(tmp_path).groups == levels.groups
