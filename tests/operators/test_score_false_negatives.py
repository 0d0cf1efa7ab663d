"""The risk is the model's by hand, in any company, and a model for other scores is refused."""

import numpy as np
import pyarrow as pa
import pytest

from operators.contract import InputError, apply
from operators.fit_false_negatives import FalseNegatives, standing
from operators.score_false_negatives import ScoreFalseNegatives, example, score_false_negatives


def risks(params, **used):
    return apply(score_false_negatives, example().table, params, **used).table["false_negative_scores"].to_pylist()


def test_it_is_the_logistic_of_the_weighed_z_scores():
    names = ("dense_scores", "teacher_scores")
    got = risks(ScoreFalseNegatives(scores=names, weights=(0.5, 1.5), bias=-1))
    _, z, _ = standing(example().table, names, ("dense_scores",))
    wanted = 1 / (1 + np.exp(1 - z @ [0.5, 1.5]))
    flat = [x for row in got for x in row]
    assert [x is None for x in flat] == np.isnan(wanted).tolist()
    assert [x for x in flat if x is not None] == pytest.approx(wanted[~np.isnan(wanted)].tolist())


def test_a_fitted_model_takes_the_place_of_the_packaged_one():
    fitted = FalseNegatives({"bm25_scores": 0.2, "dense_scores": 1.0}, -2.0, ("dense_scores", "bm25_scores"))
    said = ScoreFalseNegatives(scores=("dense_scores", "bm25_scores"), weights=(1.0, 0.2), bias=-2.0)
    assert risks(ScoreFalseNegatives(), fitted=fitted) == risks(said) != risks(ScoreFalseNegatives())


@pytest.mark.parametrize(("params", "fitted", "message"), [
    (ScoreFalseNegatives(scores=("teacher_scores",)), None, "no packaged weights for scores \\['teacher_scores'\\]"),
    (ScoreFalseNegatives(scores=("dense_scores",)), FalseNegatives({"bm25_scores": 1.0}, 0, ()), "fitted weighs bm25_scores; say scores"),
    (ScoreFalseNegatives(scores=("dense_scores",), weights=(1.0,), bias=0.0), FalseNegatives({"dense_scores": 1.0}, 0, ()), "no weights"),
    (ScoreFalseNegatives(scores=("dense_scores",), lowest=()), FalseNegatives({"dense_scores": 1.0}, 0, ("dense_scores",)), "say the same"),
])  # fmt: skip
def test_a_model_that_does_not_fit_is_refused(params, fitted, message):
    with pytest.raises(InputError, match=message):
        score_false_negatives(example().table, params, fitted=fitted)


@pytest.mark.parametrize("params", [{"weights": [1.0, 2.0]}, {"bias": 1.0}, {"weights": [1.0], "bias": 0.0}, {"scores": []}])
def test_half_a_model_is_refused(params):
    with pytest.raises(ValueError, match="weights has one number|at least 1"):
        ScoreFalseNegatives.model_validate(params)


def test_batches_change_no_bit():
    table = pa.concat_tables([example().table] * 50)
    whole = apply(score_false_negatives, table, ScoreFalseNegatives()).table["false_negative_scores"]
    cut = [apply(score_false_negatives, table.slice(i, 7), ScoreFalseNegatives()).table["false_negative_scores"] for i in range(0, 150, 7)]
    assert pa.concat_arrays([c.combine_chunks() for c in cut]).equals(whole.combine_chunks())
