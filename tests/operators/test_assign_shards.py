"""A shard is a draw by seed and id; a query ranked within its positive's shard is what brute force within it gives."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import columns
from operators.assign_shards import AssignShards, assign_shards
from operators.content import indexed
from operators.contract import ROW, apply, ids, numbered
from operators.retrieve_dense import RetrieveDense, retrieve_dense
from operators.round_trip import RoundTrip, round_trip
from operators.sample_rows import SampleRows, sample_rows

MANY = pa.table({"passage_id": columns.content_ids([str(i) for i in range(20_000)])})


def shard(table, **p):
    return apply(assign_shards, table, AssignShards(**p)).table["shard"].to_numpy(zero_copy_only=False)


@pytest.mark.parametrize("shards", [2, 7, 300])
def test_shards_are_even_and_numbered_from_0(shards):
    found, counts = np.unique(shard(MANY, shards=shards).astype(int), return_counts=True)
    assert found.tolist() == list(range(shards))
    expected = 20_000 / shards
    assert ((counts - expected) ** 2 / expected).sum() < shards + 5 * np.sqrt(2 * shards)  # chi-squared, five deviations


def test_more_shards_than_a_draw_can_tell_are_refused():
    with pytest.raises(ValueError, match="shards"):
        AssignShards(shards=2**32)


def test_another_seed_cuts_otherwise_and_neither_a_sample_nor_a_bucket_leans_to_a_shard():
    one, other = shard(MANY, shards=4), shard(MANY, shards=4, seed=1)
    assert 0.2 < (one == other).mean() < 0.3
    sample = apply(sample_rows, MANY, SampleRows(share=0.1)).table
    for table in (sample, MANY.filter(pa.array(columns.buckets(MANY["passage_id"], 10) == 3))):
        assert np.unique(shard(table, shards=4), return_counts=True)[1].min() > 400


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 6), st.integers(0, 60))
def test_a_pair_is_kept_where_brute_force_within_its_shard_keeps_it_whatever_the_cut(seed, shards, top_k, cut):
    rng = np.random.default_rng(seed)
    words = [f"text {i % 50}" for i in range(60)]  # ten texts are there twice, in other letters
    words = [w.upper() if i >= 50 else w for i, w in enumerate(words)]
    names, texts = indexed(words)
    passages = rng.normal(size=(60, 4)).astype(np.float32)
    passages[50:] = passages[:10]
    queries, own = rng.normal(size=(20, 4)).astype(np.float32), rng.integers(60, size=20)
    right = pa.table({"passage_id": columns.content_ids([""] * 60, words), "vector": pa.array(list(passages))})
    left = pa.table({
        "query_id": columns.content_ids([f"q{i}" for i in range(20)]), "vector": pa.array(list(queries)),
        "passage_id": pa.array([names[i] for i in own], pa.binary(16)), "positive_ids": pa.array([[names[i]] for i in own], ids),
    })  # fmt: skip
    p = AssignShards(shards=shards, seed=3)
    left, right = (apply(assign_shards, t, p).table.drop_columns([ROW]) for t in (left, right))
    search = RetrieveDense(top_k=2 * top_k + 1, alike=("shard",))  # each text is there twice at most
    left = numbered(left)
    parts = [retrieve_dense(left, t, search) for t in (right.slice(0, cut), right.slice(cut))]
    found = retrieve_dense.merge(parts, search).sort_by(ROW)
    listed = left.append_column("candidate_ids", found["candidate_ids"]).append_column("dense_scores", found["dense_scores"])
    outcome = apply(round_trip, listed, RoundTrip(top_k=top_k, scores="dense_scores"), texts=texts)

    of = right["shard"].to_pylist()
    want = []
    for i in range(20):
        score = (passages.astype(np.float64) @ queries[i]).astype(np.float32)
        best: dict[str, float] = {}
        for j in range(60):
            if of[j] == of[own[i]]:
                best[words[j].casefold()] = max(best.get(words[j].casefold(), -9.0), score[j])
        mine = best[words[own[i]].casefold()]
        if 1 + sum(value > mine for value in best.values()) <= top_k:
            want.append(i)
    assert outcome.table[ROW].to_pylist() == want
