"""A false negative is counted once, an easy one makes it no easier, a query with too few counts nowhere."""

import json

import pytest

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
