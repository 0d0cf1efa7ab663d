"""Query drift: found to the last bit whatever the cut, worth what it explains, and an old index is searched better with it."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns import content_ids
from operators.compensate_drift import CompensateDrift, compensate_drift
from operators.contract import InputError, apply, vector
from operators.fit_query_drift import FitQueryDrift, QueryDrift, fit_query_drift, measure_drift

P = FitQueryDrift()


def table(old, new):
    named = {n: pa.array(list(np.asarray(rows, np.float32)), vector) for n, rows in (("vector", old), ("vector_now", new))}
    return pa.table({"query_id": content_ids([str(i) for i in range(len(old))]), **named})


def fitted(*tables):
    fold = fit_query_drift(P)
    for one in tables:
        fold.add(one, 0)
    return fold.finish()


def drawn(rows, dims, seed=0):
    found = np.random.default_rng(seed).normal(size=(rows, dims)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 9))
def test_no_cut_and_no_order_shows_and_the_mean_is_numpys(rows, cut, seed):
    old, new = drawn(rows, 4, seed), drawn(rows, 4, seed + 100)
    whole = fitted(table(old, new))
    assert fitted(table(old[cut:], new[cut:]), table(old[:cut], new[:cut])) == whole
    np.testing.assert_allclose(whole.shift, (new.astype(np.float64) - old).mean(axis=0), atol=1e-9)


def test_a_shift_is_explained_whole_and_a_turn_is_not():
    old = drawn(500, 8)
    assert fitted(table(old, old + 0.2)).explained == pytest.approx(1, abs=1e-4)
    turned = old[:, ::-1]
    found = fitted(table(old, turned))
    assert found.explained < 0.02
    strict = FitQueryDrift(least_explained=0.5)
    assert "embed the passages anew" in fit_query_drift.floor(measure_drift(found, strict), strict)
    assert fit_query_drift.floor(measure_drift(found, P), P) is None


def test_an_old_index_is_searched_better_with_the_drift_taken_away():
    """None < drift < embedded anew, by how much of the older encoder's top 10 is found (recipes C52)."""
    passages, queries = drawn(2000, 32, 1), drawn(200, 32, 2)
    noise = 0.1 * drawn(200, 32, 3)
    new = queries + 0.8 * drawn(1, 32, 4) + noise
    made = fitted(table(queries[:100], new[:100]))
    later = table(queries[100:], new[100:])
    mended = np.stack(apply(compensate_drift, later, CompensateDrift(), drift=made).table["vector"].to_numpy(zero_copy_only=False))

    def top(rows):
        return [set(one) for one in np.argsort(-rows @ passages.T, axis=1)[:, :10]]

    truth = top(queries[100:])
    none, drift = (np.mean([len(a & b) / 10 for a, b in zip(top(rows), truth, strict=True)]) for rows in (new[100:], mended))
    assert none < 0.4 < 0.7 < drift < 1


def test_other_dimensions_and_one_column_are_refused():
    with pytest.raises(InputError, match="have 3 and 4 dimensions"):
        fitted(table(drawn(2, 3), drawn(2, 4)))
    with pytest.raises(InputError, match="fit it on queries of the same encoder"):
        compensate_drift(table(drawn(2, 3), drawn(2, 3)), CompensateDrift(), drift=QueryDrift([0.0] * 4, 2, 1.0))
    with pytest.raises(ValueError, match="name one column"):
        FitQueryDrift(before="vector", now="vector")
