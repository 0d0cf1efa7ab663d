"""A false negative is counted once, an easy one makes it no easier, a query with too few counts nowhere."""

import json

import pyarrow as pa
import pytest

from operators import columns
from operators.contract import ContractError, ids, scores
from operators.measure_negatives import MeasureNegatives, NegativesMeasure, example, measure_negatives


def test_the_rates_are_those_of_the_rows_by_hand(tmp_path):
    shown = example()
    made = measure_negatives(MeasureNegatives(negatives=1))
    made.add(shown.table, 0)
    assert made.certified_fn_rate == pytest.approx(1 / 3)
    assert made.hardness == pytest.approx((0.75 + 0.5) / 2)
    made.save(tmp_path)
    assert NegativesMeasure.load(tmp_path) == made
    assert json.loads((tmp_path / "negatives.json").read_text())["certified_fn_rate"] == pytest.approx(1 / 3)


def test_a_query_with_fewer_than_wanted_is_not_kept():
    made = measure_negatives(MeasureNegatives(negatives=2))
    made.add(example().table, 0)
    assert (made.queries, made.queries_kept, made.negatives, made.false_negatives) == (2, 1, 2, 1)
    assert made.hardness == pytest.approx(0.75)


def test_no_negatives_have_no_rate(tmp_path):
    made = measure_negatives(MeasureNegatives())
    made.add(example().table, 0)
    made.finish().save(tmp_path)
    assert "NaN" not in (tmp_path / "negatives.json").read_text()


def test_a_negative_without_a_score_makes_the_others_no_easier():
    made = measure_negatives(MeasureNegatives(negatives=1))
    shown = example().table
    scored = [[0.5, 0.25, None], [0.5, 0.25]]  # c of the first row came from BM25 alone
    made.add(columns.put(shown, "dense_scores", pa.array(scored, scores)), 0)
    assert made.hardness == pytest.approx(0.5)


def test_a_negative_that_is_no_candidate_of_its_row_takes_no_other_ones_score():
    made = measure_negatives(MeasureNegatives(negatives=1))
    low, middle, high = sorted(columns.content_ids(["a", "b", "c"]).to_pylist())
    lists = {"hidden_ids": [[middle]], "negative_ids": [[low]], "candidate_ids": [[middle, high]]}
    table = {name: pa.array(value, ids) for name, value in lists.items()}
    with pytest.raises(ContractError, match="no candidate of its row"):
        made.add(pa.table({**table, "dense_scores": pa.array([[0.5, 0.25]], scores)}), 0)
