"""ROUGE-L by a table of longest common subsequences, BM25's share by scores of a text with itself; a cut changes nothing."""

from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.content import indexed
from operators.contract import ARTIFACTS, InputError, apply, ids, text
from operators.fit_bm25 import Bm25Statistics, FitBm25
from operators.ngrams import folded
from operators.retrieve_bm25 import RetrieveBm25, retrieve_bm25
from operators.score_overlap import ScoreOverlap, example, score_overlap

WORDS = st.lists(st.sampled_from(["ice", "rain", "sun", "rust"]), max_size=6).map(" ".join)


def common(one: list[str], other: list[str]) -> int:
    """The longest common subsequence by its table."""
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    for i, j in product(range(len(one)), range(len(other))):
        table[i + 1, j + 1] = table[i, j] + 1 if one[i] == other[j] else max(table[i, j + 1], table[i + 1, j])
    return int(table[-1, -1])


def statistics_of(passages):
    made = Bm25Statistics(FitBm25())
    made.add(pa.table({"title": pa.array([""] * len(passages), text), "passage": pa.array(passages, text)}), 0)
    return made


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, st.lists(st.integers(0, 2), max_size=3)), min_size=1, max_size=4))
def test_rouge_is_the_f_measure_of_the_longest_common_subsequence(rows):
    said = ["Ice, rain: sun", "rust", "sun and sun and rain"]
    keys, texts = indexed(said)
    told = [[keys[i] for i in of] for _, of in rows]
    table = pa.table({"query": pa.array([q for q, _ in rows], text), "bm25_ids": pa.array(told, ids), "more": pa.array(told[::-1], ids)})
    p = ScoreOverlap(candidates=("bm25_ids", "more"))
    whole = apply(score_overlap, table, p, texts=texts).table
    for i, row in enumerate(whole.to_pylist()):
        assert row["overlap_ids"] == sorted({*told[i], *told[::-1][i]})
        for one, value in zip(row["overlap_ids"], row["rouge_scores"], strict=True):
            a, b = folded(row["query"]), folded(said[keys.index(one)])
            c = common(a, b)
            precision, recall = c / max(len(a), 1), c / len(b)
            assert value == pytest.approx(2 * precision * recall / (precision + recall) if c else 0)


@settings(max_examples=40, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=5))
def test_bm25s_share_is_a_searchs_score_by_the_texts_own(queries):
    passages = ["ice melts in the sun", "rust in the rain and rain in rust", "ice sun rain"]
    statistics = statistics_of(passages)
    keys, texts = indexed(passages)
    table = pa.table({"query": pa.array(queries, text), "bm25_ids": pa.array([keys] * len(queries), ids)})
    p = ScoreOverlap(measures=("bm25",))
    found = apply(score_overlap, table, p, texts=texts, statistics=statistics).table

    def searched(query, passage):
        right = pa.table({"passage_id": pa.array([b"1" * 16], ids.value_type), "title": pa.array([""], text), "passage": pa.array([passage], text)})
        left = pa.table({"query": pa.array([query], text), "_row": pa.array([0], pa.int32())})
        scores = retrieve_bm25(left, right, RetrieveBm25(), statistics=statistics)["bm25_scores"].to_pylist()[0]
        return scores[0] if scores else 0.0

    for row in found.to_pylist():
        for one, share in zip(row["overlap_ids"], row["bm25_shares"], strict=True):
            passage = passages[keys.index(one)]
            best = max(searched(row["query"], row["query"]), searched(passage, passage))
            assert share == pytest.approx(min(searched(row["query"], passage) / best, 1), abs=1e-5)
    for i in range(len(queries)):
        assert apply(score_overlap, table.slice(i, 1), p, texts=texts, statistics=statistics).table["bm25_shares"].to_pylist() == found["bm25_shares"].to_pylist()[i : i + 1]


def test_statistics_of_no_term_share_nothing():
    keys, texts = indexed(["the"])
    table = pa.table({"query": pa.array(["the rain"], text), "bm25_ids": pa.array([keys], ids)})
    found = apply(score_overlap, table, ScoreOverlap(measures=("bm25",)), texts=texts, statistics=statistics_of(["the"])).table
    assert found["bm25_shares"].to_pylist() == [[0.0]]


def test_statistics_and_their_measure_go_together():
    check = score_overlap.check
    assert "lacks using" in check(ScoreOverlap(measures=("bm25",)), {ARTIFACTS: {"texts"}})[0]
    assert "do nothing" in check(ScoreOverlap(), {ARTIFACTS: {"texts", "statistics"}})[0]
    assert check(ScoreOverlap(), {ARTIFACTS: {"texts"}}) == check(ScoreOverlap(), {}) == []
    e = example()
    with pytest.raises(InputError, match="lacks using"):
        score_overlap(e.table, e.params, texts=e.used["texts"])
