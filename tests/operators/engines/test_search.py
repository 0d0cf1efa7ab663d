"""Every kernel proposes the same passages, and whichever does, the search's bytes are the same."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.columns import content_ids
from operators.contract import InputError, numbered, vector
from operators.engines.search import by_faiss, by_numpy, by_torch, propose
from operators.retrieve_dense import RetrieveDense, merge_dense, retrieve_dense


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.booleans())
def test_what_is_not_proposed_scores_no_more_than_the_last_proposal(seed, count, wide, block, coarse):
    rng, wide = np.random.default_rng(seed), min(wide, count)
    q, p = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(count, 8)).astype(np.float32)
    if coarse:  # many ties, zero vectors among them
        q, p = np.round(q), np.round(p)
    exact = q.astype(np.float64) @ p.T.astype(np.float64)
    for scores, places in (by_torch(q, p, wide, block), by_faiss(q, p, wide), by_numpy(q, p, wide)):
        assert scores.shape == places.shape == (5, wide)
        assert (np.diff(scores, axis=1) <= 0).all()
        assert all(len(set(row)) == wide for row in places.tolist())
        assert np.abs(np.take_along_axis(exact, places, 1) - scores).max() < 1e-5
        assert np.abs(np.sort(exact, axis=1)[:, ::-1][:, :wide] - scores).max() < 1e-5


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
        propose(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32), 1)
