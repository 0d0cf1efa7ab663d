import bm25s
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.columns import content_ids
from operators.contract import InputError, numbered, text
from operators.fit_bm25 import Bm25Statistics, FitBm25, analyse, passage_texts
from operators.retrieve_bm25 import RetrieveBm25, merge_bm25, retrieve_bm25


def corpus(passages, titles=None):
    titles = titles or [""] * len(passages)
    columns = {"passage_id": content_ids(titles, passages), "title": pa.array(titles, text), "passage": pa.array(passages, text)}
    return pa.table(columns)


def search(queries, right, cuts, top_k=5, settings=FitBm25()):  # noqa: B008
    statistics = Bm25Statistics(settings)
    statistics.add(right, 0)
    left = numbered(pa.table({"query": pa.array(queries, text)}))
    p = RetrieveBm25(top_k=top_k)
    edges = [0, *cuts, len(right)]
    parts = [retrieve_bm25(left, right.slice(a, b - a), p, statistics=statistics) for a, b in zip(edges, edges[1:], strict=False)]
    return merge_bm25(parts[::-1], p)


@pytest.fixture(scope="module")
def scifact(data):
    table = pq.read_table(data / "scifact" / "corpus.parquet")
    return table, corpus(table["text"].to_pylist(), table["title"].to_pylist())


def test_any_cut_scores_as_one_index_of_bm25s_does(scifact):
    right = scifact[1].slice(0, 600)
    queries = [t for t in scifact[0]["title"].slice(600, 40).to_pylist()]
    whole = search(queries, right, [])
    assert search(queries, right, [100, 101, 450]).equals(whole)
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75, dtype="float64")
    index.index(analyse(passage_texts(right), FitBm25()), show_progress=False)
    for i, terms in enumerate(analyse(queries, FitBm25())):
        expected = np.sort(index.get_scores([t for t in terms if t in index.vocab_dict]))[::-1][:5]
        assert np.allclose(whole["bm25_scores"][i].as_py(), expected[expected > 0], atol=1e-5)


def test_scifact_scores_as_lucene_does(scifact, data):
    import ir_measures
    from ir_measures import nDCG

    table, right = scifact
    queries = pq.read_table(data / "scifact" / "queries.parquet")
    qrels = pq.read_table(data / "scifact" / "qrels.parquet")
    judged = queries.filter(pa.compute.is_in(queries["_id"], qrels["query_id"]))
    found = search(judged["text"].to_pylist(), right, [2000], top_k=10)
    names = dict(zip(right["passage_id"].to_pylist(), table["_id"].to_pylist(), strict=True))
    run = {q: {names[i]: s for i, s in zip(ids, scores, strict=True)} for q, ids, scores in zip(
        judged["_id"].to_pylist(), found["bm25_ids"].to_pylist(), found["bm25_scores"].to_pylist(), strict=True)}  # fmt: skip
    truth: dict = {}
    for q, d, s in zip(*(qrels[c].to_pylist() for c in ("query_id", "corpus_id", "score")), strict=True):
        truth.setdefault(q, {})[d] = int(s)
    assert abs(ir_measures.calc_aggregate([nDCG @ 10], truth, run)[nDCG @ 10] - 0.683) < 0.02


WORDS = st.lists(st.sampled_from(["ice", "iron", "rust", "sun", "rain", "oak"]), min_size=1, max_size=7).map(" ".join)
CORPUS = st.lists(WORDS, min_size=1, max_size=12, unique=True)
ANALYSERS = st.sampled_from(["english", "plain", "bigrams", "cjk"])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(WORDS, min_size=1, max_size=12, unique=True), st.lists(WORDS, max_size=3), st.integers(1, 4), ANALYSERS, st.randoms()
)
def test_it_ranks_as_one_index_of_bm25s_and_no_cut_changes_a_bit(passages, queries, k, analyser, random):
    right, p = corpus(passages), FitBm25(analyser=analyser, k1=0.9, b=0.4)
    cuts = sorted(random.randint(0, len(passages)) for _ in range(3))
    whole = search(queries, right, [], k, p)
    assert search(queries, right, cuts, k, p).equals(whole)
    index = bm25s.BM25(method="lucene", k1=0.9, b=0.4, dtype="float64")
    index.index(analyse(passage_texts(right), p), show_progress=False)
    names = right["passage_id"].to_pylist()
    for i, terms in enumerate(analyse(queries, p)):
        known = [t for t in terms if t in index.vocab_dict]
        expected = index.get_scores(known) if known else np.zeros(len(names))
        found = dict(zip(whole["bm25_ids"][i].as_py(), whole["bm25_scores"][i].as_py(), strict=True))
        assert len(found) == min(k, int((expected > 0).sum()))
        assert np.allclose([expected[names.index(n)] for n in found], list(found.values()), atol=1e-5)
        assert np.allclose(list(found.values()), np.sort(expected)[::-1][: len(found)], atol=1e-5)


def test_a_passage_newer_than_the_statistics_is_found_by_its_new_term():
    statistics = Bm25Statistics(FitBm25())
    statistics.add(corpus(["ice melts", "iron rusts"]), 0)
    left, newer = numbered(pa.table({"query": pa.array(["zeppelin"], text)})), corpus(["a zeppelin of iron", "iron"])
    found = retrieve_bm25(left, newer, RetrieveBm25(), statistics=statistics)
    assert found["bm25_ids"].to_pylist() == [[newer["passage_id"][0].as_py()]]


def test_statistics_of_no_term_find_nothing_among_the_like_and_are_refused_for_passages_that_say_something():
    statistics, left = Bm25Statistics(FitBm25()), numbered(pa.table({"query": pa.array(["ice"], text)}))
    statistics.add(corpus(["...", "!"]), 0)
    assert retrieve_bm25(left, corpus(["...", "!"]), RetrieveBm25(), statistics=statistics)["bm25_ids"].to_pylist() == [[]]
    with pytest.raises(InputError, match="texts without a term; refit fit_bm25"):
        retrieve_bm25(left, corpus(["ice melts"]), RetrieveBm25(), statistics=statistics)


def test_boilerplate_takes_one_place_in_any_cut():
    passages = ["iron rusts"] * 200 + [f"iron number{i} rusts slowly in the rain" for i in range(100)]
    found = search(["iron"], corpus(passages), [], 10)
    assert len(found["bm25_ids"][0]) == 10
    for cuts in ([200], [3, 150, 250]):
        assert search(["iron"], corpus(passages), cuts, 10).equals(found)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), WORDS), min_size=1, max_size=30), st.lists(WORDS, min_size=1, max_size=3),
    st.integers(1, 5), st.lists(st.integers(0, 30), max_size=3),
)  # fmt: skip
def test_an_id_that_stands_on_many_rows_takes_one_place_at_its_best_in_any_cut(rows, queries, k, cuts):
    """One id on most rows, now and then with another text."""
    rows = [rows[0]] * 20 + rows
    right = corpus([words for _, words in rows])
    right = right.set_column(0, "passage_id", content_ids([f"p{i}" for i, _ in rows]))
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75, dtype="float64")
    index.index(analyse(passage_texts(right), FitBm25()), show_progress=False)
    edges = sorted(min(c, len(rows)) for c in cuts)
    found = search(queries, right, edges, k)
    assert found.equals(search(queries, right, [], k))
    for i, terms in enumerate(analyse(queries, FitBm25())):
        told = index.get_scores([t for t in terms if t in index.vocab_dict] or [next(iter(index.vocab_dict))])
        best: dict = {}
        for name, score in zip(right["passage_id"].to_pylist(), told.tolist(), strict=True):
            best[name] = max(best.get(name, 0), score if set(terms) & set(index.vocab_dict) else 0)
        wanted = sorted((score for score in best.values() if score > 0), reverse=True)[:k]
        names, scores = found["bm25_ids"][i].as_py(), found["bm25_scores"][i].as_py()
        assert len(set(names)) == len(names)
        assert np.allclose([best[n] for n in names], scores, atol=1e-5)
        assert np.allclose(scores, wanted, atol=1e-5)


def test_another_column_may_ask():
    right = corpus(["ice melts", "iron rusts"])
    statistics = Bm25Statistics(FitBm25())
    statistics.add(right, 0)
    left = numbered(pa.table({"query": pa.array(["ice"], text), "passage": pa.array(["iron"], text)}))
    found = retrieve_bm25(left, right, RetrieveBm25(column="passage"), statistics=statistics)
    assert found["bm25_ids"].to_pylist() == [right["passage_id"].to_pylist()[1:]]
