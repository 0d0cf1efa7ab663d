"""Intervals and tests against known distributions: level under the null, power, Holm by its definition, exact signs."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.significance import detectable, difference, holm, interval, permutation_p


def test_under_the_null_p_is_uniform_and_intervals_cover() -> None:
    random = np.random.default_rng(0)
    p, covered = [], 0
    for i in range(150):
        paired = random.normal(0, 0.2, 60)
        p.append(permutation_p(paired, i, 499))
        low, high = interval(paired, i, 499)
        covered += low <= 0 <= high
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.1
    assert 0.4 < np.mean(p) < 0.6
    assert 0.9 <= covered / 150 <= 0.98


def test_a_true_gain_of_the_least_detectable_size_is_seen_four_times_in_five() -> None:
    random = np.random.default_rng(1)
    effect = detectable(random.normal(0, 0.2, 100_000)) * np.sqrt(100_000 / 80)
    found = [permutation_p(random.normal(effect, 0.2, 80), i, 499) < 0.05 for i in range(150)]
    assert 0.72 <= np.mean(found) <= 0.88
    assert effect == pytest.approx(2.8 * 0.2 / np.sqrt(80), rel=0.02)


@given(st.lists(st.integers(-8, 8), min_size=1, max_size=8))
def test_of_few_queries_the_permutation_test_is_exact(values: list[int]) -> None:
    paired = np.array(values) / 8
    means = [np.mean(np.array(signs) * paired) for signs in itertools.product((1, -1), repeat=len(paired))]
    expected = np.mean(np.abs(means) >= abs(paired.mean()) - 1e-12)
    assert permutation_p(paired) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_its_definition(p: list[float]) -> None:
    order = sorted(range(len(p)), key=lambda i: p[i])
    expected, worst = {}, 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[i]))
        expected[i] = worst
    assert holm(p) == pytest.approx([expected[i] for i in range(len(p))])


def test_a_difference_is_of_pairs_and_a_seed_fixes_it() -> None:
    random = np.random.default_rng(2)
    hard = random.uniform(0, 1, 50)
    told = difference(hard + 0.02, hard)
    assert told.gain == pytest.approx(0.02) and told.p < 0.001 and told.low > 0.019
    assert difference(hard + 0.02, random.permutation(hard)).p > 0.05
    assert difference(hard, hard[::-1], seed=4) == difference(hard, hard[::-1], seed=4)


def test_equal_arms_differ_by_nothing() -> None:
    told = difference(np.full(5, 0.3), np.full(5, 0.3))
    assert (told.gain, told.low, told.high, told.p) == (0, 0, 0, 1)
