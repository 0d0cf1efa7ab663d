"""Normalised scores: between 0 and 1, in the teacher's order, by group, the raw ones kept."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.contract import InputError, apply, ids, scores, text
from operators.fit_score_quantiles import FitScoreQuantiles, ScoreQuantiles, fit_score_quantiles
from operators.normalise_scores import NormaliseScores, example, normalise_scores

ONE = st.floats(-50, 50, width=32)


def rows(kinds: list[str], own: list[list[float]], found: list[list[float | None]]) -> pa.Table:
    def keys(column: list[list[float | None]], tag: int) -> pa.Array:
        made = [[bytes([tag, i, j]).ljust(16, b"-") for j in range(len(r))] for i, r in enumerate(column)]
        return pa.array(made, ids)

    return pa.table({
        "query_type": pa.array(kinds, text), "positive_ids": keys(own, 0), "candidate_ids": keys(found, 1),
        "positive_scores": pa.array(own, scores), "teacher_scores": pa.array(found, scores),
    })  # fmt: skip


def fitted(table: pa.Table, by: str = "query_type") -> ScoreQuantiles:
    fold = fit_score_quantiles(FitScoreQuantiles(by=by))
    fold.add(table, 0)
    return fold.finish()


def test_the_formula_by_group_and_the_raw_scores_stay() -> None:
    quantiles = ScoreQuantiles("query_type", {"a": [float(i) for i in range(101)], "b": [i / 100 for i in range(101)]})
    table = rows(["a", "b"], [[50.0], [0.5]], [[1.0, 99.0, -7.0, 200.0, None], [0.01, 0.255]])
    out = apply(normalise_scores, table, NormaliseScores(), quantiles=quantiles).table
    assert out["positive_normalised"].to_pylist() == [[0.5], [0.5]]
    assert out["teacher_normalised"].to_pylist() == [[0.0, 1.0, 0.0, 1.0, None], [0.0, pytest.approx(0.25)]]
    for name in table.column_names:
        assert out[name].equals(table[name])
    wide = apply(normalise_scores, table, NormaliseScores(low=0, high=100), quantiles=quantiles).table
    assert wide["teacher_normalised"].to_pylist()[0][:2] == pytest.approx([0.01, 0.99])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), ONE, st.lists(ONE, max_size=6)), min_size=1, max_size=8))
def test_order_is_kept_and_nothing_leaves_0_to_1(told: list[tuple[str, float, list[float]]]) -> None:
    table = rows([t for t, _, _ in told], [[o] for _, o, _ in told], [list(f) for *_, f in told])
    out = apply(normalise_scores, table, NormaliseScores(), quantiles=fitted(table))
    assert len(out.table) + len(out.rejects) == len(table)
    for row in out.table.to_pylist():
        raw, new = row["teacher_scores"] + row["positive_scores"], row["teacher_normalised"] + row["positive_normalised"]
        order = np.argsort(raw, kind="stable")
        assert (np.diff(np.array(new)[order]) >= 0).all()
        assert 0 <= min(new) <= max(new) <= 1


def test_a_group_whose_scores_do_not_differ_is_rejected() -> None:
    table = rows(["a", "b", "b"], [[0.5], [0.1], [0.9]], [[0.5], [], []])
    out = apply(normalise_scores, table, NormaliseScores(), quantiles=fitted(table))
    assert out.rejects.to_pylist() == [{"_row": 0, "reason": "scores of query_type do not differ", "value": "a"}]
    assert out.table["positive_normalised"].to_pylist() == [[0.0], [1.0]]


def test_other_groups_than_were_counted_are_refused() -> None:
    case = example()
    with pytest.raises(InputError, match="by is '', the scores were counted by 'query_type'; say the same"):
        apply(normalise_scores, case.table, NormaliseScores(by=""), **case.used)
    with pytest.raises(InputError, match="'new' was not fitted"):
        apply(normalise_scores, rows(["new"], [[1.0]], [[]]), NormaliseScores(), **case.used)
    with pytest.raises(ValidationError, match="low is not below high"):
        NormaliseScores(low=50, high=50)
