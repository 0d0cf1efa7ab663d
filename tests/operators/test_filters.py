"""A filtered search is the search of what is left: brute force says what that is."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import retrieve_dense as dense
from operators.columns import content_ids
from operators.contract import InputError, ids, numbered, row_id, text, vector
from operators.fit_bm25 import Bm25Statistics, FitBm25
from operators.retrieve_bm25 import RetrieveBm25, merge_bm25, retrieve_bm25
from operators.retrieve_dense import RetrieveDense, merge_dense, retrieve_dense
from tests.operators.test_index_documents import fold_of

WORDS = ["ice melts", "iron rusts", "rain falls", "owls hunt", "bread rises"]


def key(n):
    return bytes([n]) * 16


def corpus(rng, count):
    """Passages with a language, a vector, a text and the documents that they stand in."""
    lang = rng.choice(["en", "de"], count).tolist()
    table = pa.table({
        "passage_id": pa.array([key(i) for i in range(count)], row_id), "lang": pa.array(lang, text),
        "title": pa.array([""] * count, text), "passage": pa.array([f"{WORDS[i % 5]} {WORDS[i % 3]}" for i in range(count)], text),
        "vector": pa.array(list(np.round(rng.normal(size=(count, 4))).astype(np.float32)), vector),
    })  # fmt: skip
    homes = [sorted({int(d) for d in rng.integers(0, 4, rng.integers(1, 3))}) for _ in range(count)]
    rows = [(i, d) for i, told in enumerate(homes) for d in told]
    return table, lang, homes, fold_of([key(i) for i, _ in rows], [key(200 + d) for _, d in rows]).finish()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 6), st.booleans(), st.booleans(), st.integers(0, 40), st.integers(0, 3))
def test_only_passages_that_a_query_may_find_are_found_and_all_of_these(seed, count, k, alike, others, cut, barred_limit):
    rng = np.random.default_rng(seed)
    right, lang, homes, documents = corpus(rng, count)
    asked, positives = ["en", "de", "fr"], [rng.integers(0, count, rng.integers(1, 3)).tolist() for _ in range(3)]
    vectors = np.round(rng.normal(size=(3, 4))).astype(np.float32)
    left = numbered(pa.table({
        "query_id": content_ids("abc"), "query": pa.array(["ice and rain", "owls", "iron bread"], text), "lang": pa.array(asked, text),
        "vector": pa.array(list(vectors), vector), "positive_ids": pa.array([[key(p) for p in row] for row in positives], ids),
    }))  # fmt: skip

    def allowed(q, p):
        own = {d for one in positives[q] for d in homes[one]}
        return (not alike or asked[q] == lang[p]) and (not others or p in positives[q] or not own & set(homes[p]))

    said = {"top_k": k, "alike": ("lang",) if alike else (), "other_documents": others}
    used = {"documents": documents} if others else {}
    dense.BARRED, before = barred_limit, dense.BARRED  # so that both ways of leaving passages out are taken
    try:
        p = RetrieveDense(**said)
        parts = [retrieve_dense(left, t, p, **used) for t in (right.slice(0, cut), right.slice(cut))]
    finally:
        dense.BARRED = before
    matrix = np.array(right["vector"].to_pylist())
    for q, found in enumerate(merge_dense(parts, p)["candidate_ids"].to_pylist()):
        order = sorted((i for i in range(count) if allowed(q, i)), key=lambda i: (-float(matrix[i] @ vectors[q]), i))
        assert found == [key(i) for i in order[:k]]

    statistics = Bm25Statistics(FitBm25())
    statistics.add(right, 0)
    b, used = RetrieveBm25(**said), {"statistics": statistics, **used}
    free = RetrieveBm25(top_k=count)
    every = merge_bm25([retrieve_bm25(left, right, free, statistics=statistics)], free)["bm25_ids"].to_pylist()
    parts = [retrieve_bm25(left, t, b, **used) for t in (right.slice(0, cut), right.slice(cut))]
    for q, found in enumerate(merge_bm25(parts, b)["bm25_ids"].to_pylist()):
        assert found == [i for i in every[q] if allowed(q, i[0])][:k]


def test_the_option_without_the_documents_is_refused_and_so_are_they_without_it():
    right, _, _, documents = corpus(np.random.default_rng(0), 4)
    left = numbered(pa.table({
        "query_id": content_ids("a"), "vector": pa.array([[1.0] * 4], vector), "positive_ids": pa.array([[key(1)]], ids),
    }))  # fmt: skip
    with pytest.raises(InputError, match="this step lacks using: {documents: STEP} of index_documents"):
        retrieve_dense(left, right, RetrieveDense(other_documents=True))
    with pytest.raises(InputError, match="this step lacks with: {other_documents: true}"):
        retrieve_dense(left, right, RetrieveDense(), documents=documents)
