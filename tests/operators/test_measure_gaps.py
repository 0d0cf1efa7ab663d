"""Farthest first: each gap is what brute force gives, and rows of the widest gaps cover the rest, better than a draw."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import columns
from operators.choose_rows import ChooseRows, choose_rows
from operators.contract import apply, vector
from operators.measure_gaps import MeasureGaps, farthest_first, measure_gaps


def table(rows, clusters):
    return pa.table({
        "passage_id": columns.content_ids([str(i) for i in range(len(rows))]), "cluster": pa.array(clusters, pa.int32()),
        "vector": pa.array(list(np.asarray(rows, np.float32)), vector),
    }).sort_by([("cluster", "ascending"), ("passage_id", "ascending")])  # fmt: skip


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def chosen(measured, budget, **p):
    fold = choose_rows(ChooseRows(budget=budget, **p))
    for part in columns.slices(measured.sort_by("passage_id"), 50):
        fold.add(part, 0)
    return fold.finish().has(measured["passage_id"])


def radius(rows, mask, clusters=None):
    """The farthest that a row lies from the nearest chosen one, of its own cluster where they are told."""
    far = np.linalg.norm(rows[:, None] - rows[None, mask], axis=-1)
    if clusters is not None:
        far = np.where(clusters[:, None] == clusters[None, mask], far, 2.0)
    return far.min(axis=1).max()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(1, 3), st.integers(1, 30))
def test_gaps_are_those_of_brute_force(seed, count, clusters, most):
    rng = np.random.default_rng(seed)
    rows = unit(rng.integers(-2, 3, size=(count, 3)) + 0.1).astype(np.float32)  # many are alike
    whole = table(rows, rng.integers(clusters, size=count))
    p = MeasureGaps(seed=seed, most=most)
    out = apply(measure_gaps, whole, p).table
    drawn = columns.draws(whole["passage_id"], columns.row_seed(seed, "gaps"))
    told, cluster = columns.vectors(whole["vector"]).astype(np.float64), whole["cluster"].to_numpy()
    for one in np.unique(cluster):
        left = sorted(np.flatnonzero(cluster == one), key=lambda i: drawn[i])
        before: list[int] = []

        def near(i, before):
            return round(min((np.linalg.norm(told[i] - told[j]) for j in before), default=2.0), 5)

        while left and len(before) < most:
            at = max(left, key=lambda i: (near(i, before), -left.index(i)))
            assert out["gap"][int(at)].as_py() == pytest.approx(near(at, before), abs=1e-4)
            # equals to rounding may be taken in another order: follow the operator's
            before.append(at)
            left.remove(at)
        for i in left:
            assert out["gap"][int(i)].as_py() == pytest.approx(near(i, before), abs=1e-4)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 6))
def test_the_widest_gaps_cover_within_twice_what_the_budget_by_the_clusters_could(seed, clusters, budget):
    rng = np.random.default_rng(seed)
    rows, cluster = unit(rng.normal(size=(10, 3))).astype(np.float32), np.sort(rng.integers(clusters, size=10))
    whole = table(rows, cluster)
    out = apply(measure_gaps, whole, MeasureGaps()).table
    told, cluster = columns.vectors(out["vector"]).astype(np.float64), out["cluster"].to_numpy()
    mask, gap = chosen(out, budget, quality="gap"), out["gap"].to_numpy()
    left_out = gap[~mask].max()
    assert radius(told, mask, cluster) <= left_out + 1e-5
    centres = budget // len(np.unique(cluster))
    if centres:
        best = min(radius(told, np.isin(np.arange(10), some)) for some in combinations(range(10), centres))
        assert left_out <= 2 * best + 1e-5


def test_neither_the_order_of_rows_nor_threads_nor_the_width_of_a_row_change_a_bit():
    rng = np.random.default_rng(0)
    rows = unit(rng.normal(size=(300, 384))).astype(np.float32)
    whole = table(rows, [0] * 300)
    one = apply(measure_gaps, whole, MeasureGaps(most=100)).table
    turned = whole.take(pa.array(rng.permutation(300)))
    other = apply(measure_gaps, turned, MeasureGaps(most=100)).table.sort_by("passage_id")
    assert one["gap"].to_pylist() == other["gap"].to_pylist()
    wide = np.zeros((300, 400), np.float32)  # zeros change no sum but every blocking
    wide[:, 8:392] = rows
    padded = apply(measure_gaps, table(wide, [0] * 300), MeasureGaps(most=100)).table
    assert one["gap"].to_pylist() == padded["gap"].to_pylist()


def test_rows_that_lie_equally_far_are_equals_in_whatever_order_their_numbers_are_summed():
    rng = np.random.default_rng(3)
    one = np.abs(rng.normal(size=384))
    rows = unit(np.stack([-np.ones(384), *(rng.permutation(one) for _ in range(200))])).astype(np.float32)
    gap = farthest_first(rows, 2)  # all 200 lie equally far from the first row, and nearer to each other
    assert gap[1] > 1.5
    assert gap[2:].max() < 1.5


def test_selection_covers_better_than_five_draws_and_flattens_clusters_as_alpha_falls():
    rng = np.random.default_rng(7)
    sizes = [600, 200, 100, 60, 40]  # skewed, of five directions
    centres = unit(rng.normal(size=(5, 16)))
    cluster = np.repeat(np.arange(5), sizes)
    rows = unit(centres[cluster] + rng.normal(size=(1000, 16)) * 0.15).astype(np.float32)
    out = apply(measure_gaps, table(rows, cluster), MeasureGaps()).table
    told, cluster = columns.vectors(out["vector"]).astype(np.float64), out["cluster"].to_numpy()

    def entropy(mask):
        share = np.bincount(cluster[mask], minlength=5) / mask.sum()
        return -(share[share > 0] * np.log(share[share > 0])).sum()

    draws = [chosen(out, 100, seed=s) for s in range(5)]
    k_center = chosen(out, 100, quality="gap")
    within = chosen(out, 100, quality="gap", by="cluster")
    flat = chosen(out, 100, by="cluster", alpha=0)
    root = chosen(out, 100, by="cluster", alpha=0.5)
    assert radius(told, k_center) < min(radius(told, d) for d in draws)
    assert radius(told, within) < min(radius(told, d) for d in draws)
    assert entropy(flat) == pytest.approx(np.log(5))
    assert max(map(entropy, draws)) < entropy(root) < entropy(flat)
    assert np.bincount(cluster[chosen(out, 100, by="cluster")]).tolist() == [60, 20, 10, 6, 4]
