"""Every kernel proposes the same passages, and whichever does, the search's bytes are the same."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.columns import content_ids
from operators.contract import InputError, numbered, vector
from operators.engines.search import Pool, by_faiss, by_torch
from operators.engines.search_numpy import by_numpy
from operators.retrieve_dense import RetrieveDense, merge_dense, retrieve_dense


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.booleans())
def test_what_is_not_proposed_scores_no_more_than_the_last_proposal(seed, count, wide, block, coarse):
    rng, wide = np.random.default_rng(seed), min(wide, count)
    q, p = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(count, 8)).astype(np.float32)
    if coarse:  # many ties, zero vectors among them
        q, p = np.round(q), np.round(p)
    exact = q.astype(np.float64) @ p.T.astype(np.float64)
    for scores, places in (by_torch(q, p, wide, block), by_faiss(q, p, wide), by_numpy(q, p, wide, block)):
        assert scores.shape == places.shape == (5, wide)
        assert all(len(set(row)) == wide for row in places.tolist())
        assert np.abs(np.take_along_axis(exact, places, 1) - scores).max() < 1e-5
        assert np.abs(np.sort(exact, axis=1)[:, ::-1][:, :wide] - np.sort(scores, axis=1)[:, ::-1]).max() < 1e-5


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 40), st.sampled_from([1e-25, 1e-8, 1.0, 1e6]),
    st.sampled_from([0.0, 0.5, 30.0]), st.booleans(), st.booleans(), st.integers(0, 60),
)  # fmt: skip
def test_no_other_passage_is_above_the_ceiling_however_rough_the_kernel(seed, count, wide, size, shift, coarse, rough, floored):
    """Over vectors of any length, with a mean near zero or far from it, ties and zeros."""
    rng = np.random.default_rng(seed)
    q, p = (rng.normal(size=(n, 12)).astype(np.float32) for n in (4, count))
    if coarse:
        q, p = np.round(q), np.round(p)
    q, p = q * np.float32(size), (p + np.float32(shift)) * np.float32(size)
    exact = q.astype(np.float64) @ p.T.astype(np.float64)
    least = np.sort(exact, axis=1)[:, ::-1][:, min(wide, count) - 1]
    floor = exact[:, floored - 1].astype(np.float32) if 0 < floored <= count else None
    pool = Pool(p)
    places, ceiling = pool.propose(q, wide, rough, floor)
    for i, row in enumerate(places.tolist()):
        known = [place for place in row if place >= 0]
        assert len(set(known)) == len(known)
        exact[i, known] = -np.inf
    others = exact.max(axis=1)
    below = False if floor is None else others.astype(np.float32) < floor
    assert ((others <= np.maximum(ceiling, least)) | below).all()


def test_the_ceiling_of_a_rough_kernel_is_near_enough_to_settle_most_queries():
    rng = np.random.default_rng(0)
    q, p = (rng.normal(size=(n, 384)).astype(np.float32) for n in (64, 20_000))
    q, p = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, p + np.float32(0.05)))
    places, ceiling = Pool(p).propose(q, 50, rough=True)
    every = np.take_along_axis(q.astype(np.float64) @ p.T.astype(np.float64), places, 1)
    found = np.sort(np.where(places < 0, -np.inf, every), axis=1)[:, ::-1]
    assert (ceiling < found[:, 49]).mean() > 0.9


@pytest.mark.parametrize("k", [3, 2100, 5000])
def test_either_kernel_gives_the_search_the_same_bytes_also_beyond_2048_and_beyond_the_corpus(k, monkeypatch):
    rng = np.random.default_rng(k)
    d = rng.normal(size=(4000, 16)).astype(np.float32)
    d[1000:1400] = d[:400]  # duplicates
    d[7] = 0
    left = {"query_id": content_ids(["a", "b", "c"]), "vector": pa.array(list(np.concatenate([d[:2] * 2, d[7:8]])), vector)}
    right = pa.table({"passage_id": content_ids(map(str, range(4000))), "vector": pa.array(list(d), vector)})
    found = {}
    for name in ("torch", "faiss", ""):
        monkeypatch.setenv("PITHEAD_SEARCH", name)
        p = RetrieveDense(top_k=k)
        found[name] = merge_dense([retrieve_dense(numbered(pa.table(left)), right, p)], p)
    assert found["torch"].equals(found["faiss"]) and found["torch"].equals(found[""])
    assert [len(row) for row in found["torch"]["candidate_ids"].to_pylist()] == [min(k, 4000)] * 3


def test_an_unknown_kernel_is_refused(monkeypatch):
    monkeypatch.setenv("PITHEAD_SEARCH", "scann")
    with pytest.raises(InputError, match="PITHEAD_SEARCH is 'scann'; say torch or faiss"):
        Pool(np.ones((1, 2), np.float32)).propose(np.ones((1, 2), np.float32), 1)
