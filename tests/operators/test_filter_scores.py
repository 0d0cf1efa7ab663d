"""Filter scores: inclusive limits, a score that is none passes none, a reject names its limit."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import apply, score
from operators.filter_scores import FilterScores, filter_scores

FLOATS = st.lists(st.floats(width=32), max_size=12)


@given(FLOATS, st.floats(-1, 1))
def test_what_passes_is_within_the_limit_and_the_rest_is_not(values: list[float], limit: float) -> None:
    table = pa.table({"similarity": pa.array(values, score)})
    outcome = apply(filter_scores, table, FilterScores(at_least={"similarity": limit}))
    edge = np.float32(limit)
    assert outcome.table["similarity"].to_pylist() == [v for v in values if v >= edge]
    assert set(outcome.rejects["reason"].to_pylist()) <= {"similarity too low"}


def test_a_limit_is_inclusive_at_the_stored_precision() -> None:
    table = pa.table({"s": pa.array([0.7, 0.1], score)})
    assert len(apply(filter_scores, table, FilterScores(at_least={"s": 0.7})).table) == 1
    assert len(apply(filter_scores, table, FilterScores(at_most={"s": 0.1})).table) == 1


def test_a_row_is_rejected_by_the_first_limit_that_it_breaks_with_its_score() -> None:
    table = pa.table({"a": pa.array([0.1, 0.9, float("nan")], score), "b": pa.array([0.9, 0.9, 0.1], score)})
    rejects = apply(filter_scores, table, FilterScores(at_least={"a": 0.5}, at_most={"b": 0.5})).rejects.to_pylist()
    assert [(r["reason"], r["value"]) for r in rejects] == [("a too low", "0.1"), ("b too high", "0.9"), ("a too low", "nan")]


@pytest.mark.parametrize(
    ("given_", "said"), [({}, "give at_least or at_most"), ({"at_least": {"a": 1}, "at_most": {"a": 0}}, "above at_most.a")]
)
def test_limits_that_do_nothing_or_leave_nothing_are_refused(given_: dict[str, dict[str, float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FilterScores(**given_)
