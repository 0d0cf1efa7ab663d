"""What singles hidden positives out is found; what says nothing weighs nothing."""

import numpy as np
import pyarrow as pa
import pytest

from operators import columns
from operators.contract import InputError, ids, scores
from operators.fit_false_negatives import FalseNegatives, FitFalseNegatives, example, fit_false_negatives, standing


def table_of(count, rng, lift=1.5):
    """Queries of ten candidates; one is a hidden positive and stands ``lift`` deviations higher in the first score only."""
    names = [[bytes([n]) * 16 for n in range(10)]] * count
    first, second = rng.normal(size=(2, count, 10)).astype(np.float32)
    first[:, 3] += lift
    return pa.table({
        "query_id": columns.content_ids(map(str, range(count))), "candidate_ids": pa.array(names, ids),
        "positive_ids": pa.array([[b"p" * 16]] * count, ids), "hidden_ids": pa.array([[bytes([3]) * 16]] * count, ids),
        "dense_scores": pa.array(list(first * 0.1 + 0.4), scores), "bm25_scores": pa.array(list(second * 9), scores),
    })  # fmt: skip


def test_the_score_that_tells_weighs_and_its_scale_does_not_matter():
    table = table_of(300, np.random.default_rng(0))
    fold = fit_false_negatives(FitFalseNegatives(scores=("dense_scores", "bm25_scores")))
    fold.add(table, 0)
    made = fold.finish()
    assert made.weights["dense_scores"] > 1
    assert abs(made.weights["bm25_scores"]) < 0.2
    assert (made.queries, made.candidates, made.hidden) == (300, 3000, 300)
    assert 1 / (1 + np.exp(-made.bias)) < 0.1  # at the mean of a query's candidates


def test_z_scores_are_of_the_candidates_that_are_no_positives_and_a_list_that_ended_gives_its_lowest():
    table = pa.table({
        "candidate_ids": pa.array([[b"a" * 16, b"b" * 16, b"c" * 16, b"d" * 16], [b"a" * 16]], ids),
        "positive_ids": pa.array([[b"a" * 16], [b"b" * 16]], ids),
        "dense_scores": pa.array([[0.9, 0.5, 0.25, None], [0.5]], scores), "teacher_scores": pa.array([[5, 1, 3, None], [None]], scores),
    })  # fmt: skip
    offsets, z, known = standing(table, ["dense_scores", "teacher_scores"], ["dense_scores"])
    assert offsets.tolist() == [0, 4, 5]
    assert known.tolist() == [True, False, False, False, False]
    dense = np.array([0.5, 0.25, 0.25])  # not the positive; the last has the lowest
    assert z[1:4, 0] == pytest.approx((dense - dense.mean()) / dense.std())
    assert z[:3, 1].tolist() == [3, -1, 1]
    assert np.isnan(z[3:, 1]).all()
    assert z[4, 0] == 0  # alone among its candidates


def test_only_the_first_queries_are_asked_and_nothing_to_learn_is_said():
    table = table_of(40, np.random.default_rng(1))
    fold = fit_false_negatives(FitFalseNegatives(scores=("dense_scores",), max_queries=10))
    fold.add(table, 0)
    assert (made := fold.finish()).queries == 10
    parts = [fit_false_negatives(FitFalseNegatives(scores=("dense_scores",), max_queries=10)) for _ in range(3)]
    for i, part in enumerate(parts):
        part.add(table.slice(7 * i, 7), 0)
    parts[1].merge(parts[2])
    parts[0].merge(parts[1])
    assert parts[0].finish() == made
    none = fit_false_negatives(FitFalseNegatives(scores=("dense_scores",)))
    with pytest.raises(InputError, match="of 0 candidates 0 are hidden positives"):
        none.finish()


def test_what_is_saved_is_what_is_loaded(tmp_path):
    fold = fit_false_negatives(FitFalseNegatives())
    fold.add(example().table, 0)
    made = fold.finish()
    made.save(tmp_path)
    assert FalseNegatives.load(tmp_path) == made
