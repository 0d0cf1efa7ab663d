"""A harder row weighs more, whichever formula; a weight is finite whatever the scores."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.contract import apply, scores
from operators.weigh_difficulty import WeighDifficulty, weigh_difficulty


def weights(rows, **params):
    table = pa.table({n: pa.array([r[i] for r in rows], scores) for i, n in enumerate(("positive_scores", "negative_scores"))})
    return apply(weigh_difficulty, table, WeighDifficulty(**params))


def test_the_formulas_by_hand():
    rows = [([0.9, 0.8], [0.8, 0.7]), ([0.9], [0.1])]
    share = 1 / (1 + 1 + math.exp(-0.1 / 0.05))  # of the lowest positive
    assert weights(rows).table["weight"].to_pylist()[0] == pytest.approx((1 - share) ** 0.5, abs=1e-6)
    exponential = weights(rows, method="exponential", alpha=2).table["weight"].to_pylist()
    assert exponential == pytest.approx([(math.exp(1.6) + math.exp(1.4)) / 2, math.exp(0.2)], abs=1e-5)


@given(st.lists(st.tuples(st.floats(-50, 50, width=32), st.lists(st.floats(-50, 50, width=32), max_size=3)), max_size=5), st.sampled_from(["focal", "exponential"]))
def test_a_nearer_negative_weighs_more_and_nothing_is_infinite(rows, method):
    plain = weights([([p], n) for p, n in rows], method=method)
    nearer = weights([([p], [x + 1 for x in n]) for p, n in rows], method=method)
    a, b = (np.array(o.table["weight"].to_pylist()) for o in (plain, nearer))
    assert np.isfinite(a).all() and (a >= 0).all()
    if len(a) == len(b):
        assert (b >= a).all()
    assert set(plain.rejects["_row"].to_pylist()) >= {i for i, (_, n) in enumerate(rows) if not n}


def test_a_row_without_scores_is_a_reject_and_an_idle_option_is_refused():
    out = weights([([], [0.1]), ([0.5], [None]), ([0.5], [])])
    assert out.rejects["reason"].to_pylist() == ["no score to weigh by"] * 3
    for params in ({"alpha": 1}, {"method": "exponential", "gamma": 1}):
        with pytest.raises(ValidationError, match="do nothing under method"):
            WeighDifficulty.model_validate(params)
