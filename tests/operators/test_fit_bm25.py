from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.columns import content_ids
from operators.contract import text
from operators.fit_bm25 import Bm25Statistics, FitBm25, analyse, fit_bm25

WORDS = st.lists(st.sampled_from(["ice", "iron", "rusting", "rusts", "the", "a", "Sun", "東京都"]), max_size=6)
PASSAGES = st.lists(WORDS.map(" ".join), max_size=8)


def table(passages):
    titles = [""] * len(passages)
    columns = {"title": pa.array(titles, text), "passage": pa.array(passages, text)}
    return pa.table({"passage_id": content_ids(titles, passages), **columns})


def counted(passages, p):
    fold = fit_bm25(p)
    fold.add(table(passages), 0)
    return fold


def state(statistics):
    return dict(statistics.frequencies), statistics.docs, statistics.length, statistics.settings


@settings(max_examples=50, deadline=None)
@given(PASSAGES, PASSAGES, st.sampled_from(["english", "plain", "bigrams", "cjk"]))
def test_counts_of_two_parts_are_the_counts_of_the_whole(first, later, analyser):
    p = FitBm25(analyser=analyser)
    merged = counted(first, p)
    merged.merge(counted(later, p))
    assert state(merged.finish()) == state(counted(first + later, p).finish())


def test_a_term_counts_once_a_passage_and_each_time_in_the_length():
    found = counted(["ice ice iron", "ice"], FitBm25(analyser="plain"))
    assert found.frequencies == Counter({"ice": 2, "iron": 1})
    assert (found.docs, found.length, found.mean_length) == (2, 4, 2.0)


@pytest.mark.parametrize("analyser", ["english", "plain", "bigrams", "cjk"])
def test_what_is_saved_is_what_is_loaded_and_its_terms_are_sorted(tmp_path, analyser):
    found = counted(["iron rusts", "東京都 ice", "ice"], FitBm25(analyser=analyser, k1=0.9))
    found.save(tmp_path)
    assert state(Bm25Statistics.load(tmp_path)) == state(found)
    terms = (tmp_path / "terms.txt").read_text(encoding="utf-8").split("\n")
    assert terms == sorted(terms)
    assert len(terms) == len(found.frequencies)


def test_an_empty_corpus_is_saved_and_loaded(tmp_path):
    fit_bm25(FitBm25()).finish().save(tmp_path)
    assert state(Bm25Statistics.load(tmp_path))[:3] == ({}, 0, 0)


def test_each_analyser_makes_its_own_terms():
    sentence = ["The irons rust in 東京都"]
    assert sorted(analyse(sentence, FitBm25())[0]) == ["iron", "rust", "東京都"]
    assert sorted(analyse(sentence, FitBm25(stemmer="none"))[0]) == ["irons", "rust", "東京都"]
    assert "the" in analyse(sentence, FitBm25(stopwords="none"))[0]
    assert analyse(["a b"], FitBm25(analyser="plain")) == [["a", "b"]]
    assert analyse(["東京都", "x", ""], FitBm25(analyser="bigrams")) == [["東京", "京都"], ["x"], []]


@pytest.mark.parametrize(("given", "terms"), [
    ("東京都に住む", ["東京", "京都", "都に", "に住", "住む"]),
    ("Python 3.11で書く", ["python", "3", "11", "で書", "書く"]),
    ("ＡＢＣ株、ﾃﾞｰﾀ!", ["abc", "株", "デー", "ータ"]),
    ("한국어 text", ["한국", "국어", "text"]),
    ("𠮷野家 naïve", ["𠮷野", "野家", "naïve"]),
    ("。、 !?", []),
])  # fmt: skip
def test_cjk_makes_bigrams_of_runs_and_words_of_the_rest(given, terms):
    assert analyse([given], FitBm25(analyser="cjk")) == [terms]


def test_stop_words_of_an_analyser_that_has_none_are_refused():
    with pytest.raises(ValidationError, match="belong to analyser english; leave them out of bigrams"):
        FitBm25(analyser="bigrams", stopwords="none")
