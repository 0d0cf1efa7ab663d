import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.columns import content_ids
from operators.contract import InputError, numbered, vector
from operators.engines.search import Pool
from operators.retrieve_dense import RetrieveDense, merge_dense, retrieve_dense
from operators.topk import FLOOR


def sides(queries, passages):
    left = {"query_id": content_ids([f"q{i}" for i in range(len(queries))]), "vector": pa.array(list(queries), vector)}
    right = {"passage_id": content_ids([f"p{i}" for i in range(len(passages))]), "vector": pa.array(list(passages), vector)}
    return numbered(pa.table(left)), pa.table(right)


def brute(left, right, k):
    q = np.array(left["vector"].to_pylist(), np.float64)
    d = np.array(right["vector"].to_pylist(), np.float64)
    names = right["passage_id"].to_pylist()
    scores = [[np.float32(math.fsum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))) for b in d] for a in q]
    return [[names[j] for j in sorted(range(len(names)), key=lambda j: (-row[j], names[j]))[:k]] for row in scores]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 12), st.lists(st.integers(0, 60), max_size=3), st.booleans())
def test_it_equals_brute_force_in_float64_for_any_cut_ties_included(seed, passages, k, cuts, coarse):
    rng = np.random.default_rng(seed)
    q, d = rng.normal(size=(4, 8)).astype(np.float32), rng.normal(size=(passages, 8)).astype(np.float32)
    if coarse:  # many exact ties, zero vectors among them
        q, d = np.round(q), np.round(d)
    left, right = sides(q, d)
    edges = [0, *sorted(min(c, passages) for c in cuts), passages]
    p = RetrieveDense(top_k=k)
    parts = [retrieve_dense(left, right.slice(a, b - a), p) for a, b in zip(edges, edges[1:], strict=False)]
    found = merge_dense(parts[::-1], p)
    assert found["candidate_ids"].to_pylist() == brute(left, right, k)
    whole = merge_dense([retrieve_dense(left, right, p)], p)
    assert found.equals(whole), "scores or order hang on the cut"


@pytest.mark.parametrize("seed", range(4))
def test_long_vectors_whose_scores_cancel_are_ranked_exactly(seed):
    rng = np.random.default_rng(seed)
    q, d = (100 * rng.normal(size=(1, 64))).astype(np.float32), (100 * rng.normal(size=(3000, 64))).astype(np.float32)
    d = (d - np.outer(d @ q[0] / (q[0] @ q[0]), q[0])).astype(np.float32)  # float32 rounding outweighs the scores of q[0]
    left, right = sides(q, d)
    found = retrieve_dense(left, right, RetrieveDense(top_k=5))
    assert found["candidate_ids"].to_pylist() == brute(left, right, 5)


def test_vectors_that_cannot_be_compared_are_refused():
    p = RetrieveDense()
    with pytest.raises(InputError, match="queries have 3 dimensions, passages 2; embed both with one encoder"):
        retrieve_dense(*sides(np.ones((1, 3), np.float32), np.ones((1, 2), np.float32)), p)
    with pytest.raises(InputError, match="not finite"):
        retrieve_dense(*sides(np.ones((1, 2), np.float32), np.full((1, 2), np.nan, np.float32)), p)
    left, right = sides(np.ones((1, 4), np.float32), np.ones((2, 4), np.float32))
    uneven = right.set_column(1, "vector", pa.array([[1, 2, 3], [4, 5, 6, 7, 8]], right["vector"].type))  # eight numbers, two rows
    with pytest.raises(InputError, match="vectors of 3 and of 5 numbers are in one column; embed all with one encoder"):
        retrieve_dense(left, uneven, p)


def test_many_ties_at_the_cut_are_settled_by_id():
    left, right = sides(np.ones((2, 4), np.float32), np.ones((200, 4), np.float32))
    found = retrieve_dense(left, right, RetrieveDense(top_k=5))
    assert found["candidate_ids"].to_pylist() == brute(left, right, 5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=80), st.integers(1, 6),
    st.lists(st.integers(0, 80), max_size=3),
)  # fmt: skip
def test_an_id_that_stands_on_many_rows_takes_one_place_in_any_cut(rows, k, cuts):
    """Boilerplate: one id on most rows, now and then with another vector; it counts once, at its best."""
    values = [(2.0, 0.0), (1.0, 1.0), (0.5, 3.0), (0.0, 0.0)]
    queries = np.array([[1, 0], [0, 1], [-1, 0.5]], np.float32)
    left, _ = sides(queries, [])
    names = content_ids([f"p{i}" for i, _ in rows])
    right = pa.table({"passage_id": names, "vector": pa.array([values[v] for _, v in rows], vector)})
    right = pa.concat_tables([right.slice(0, 1)] * 40 + [right])
    best: list[dict] = [{} for _ in queries]
    for name, told in zip(right["passage_id"].to_pylist(), right["vector"].to_pylist(), strict=True):
        for of, query in zip(best, queries.tolist(), strict=True):
            of[name] = max(of.get(name, -9.0), query[0] * told[0] + query[1] * told[1])
    wanted = [sorted(of, key=lambda n: (-of[n], n))[:k] for of in best]
    p, edges = RetrieveDense(top_k=k), [0, *sorted(min(c, len(right)) for c in cuts), len(right)]
    parts = [retrieve_dense(left, right.slice(a, b - a), p) for a, b in zip(edges, edges[1:], strict=False)]
    assert merge_dense(parts, p)["candidate_ids"].to_pylist() == wanted
    assert retrieve_dense(left, right, p)["candidate_ids"].to_pylist() == wanted


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 12), st.booleans(), st.booleans())
def test_a_floor_takes_nothing_out_that_reaches_it(seed, count, k, coarse, rough):
    """What a range may leave out where another has as many candidates that are better."""
    rng = np.random.default_rng(seed)
    q, d = (rng.normal(size=(n, 6)).astype(np.float32) for n in (4, count))
    if coarse:
        q, d = np.round(q), np.round(d)
    left = numbered(pa.table({"query_id": content_ids("abcd"), "vector": pa.array(list(q), vector)}))
    right = pa.table({"passage_id": content_ids(map(str, range(count))), "vector": pa.array(list(d), vector)})
    whole, p = retrieve_dense(left, right, RetrieveDense(top_k=k)), RetrieveDense(top_k=k)
    floor = [rng.choice(row) if row and i % 2 else -np.inf for i, row in enumerate(whole["dense_scores"].to_pylist())]
    rough_pool = Pool.rough
    try:
        Pool.rough = lambda self, queries: rough
        found = retrieve_dense(left.append_column(FLOOR, pa.array(floor, pa.float32())), right, p)
    finally:
        Pool.rough = rough_pool
    for i in range(4):
        both = zip(whole["candidate_ids"][i].as_py(), whole["dense_scores"][i].as_py(), strict=True)
        wanted = [name for name, score in both if score >= floor[i]]
        assert found["candidate_ids"][i].as_py()[: len(wanted)] == wanted
