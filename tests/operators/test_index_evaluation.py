"""What an evaluation finds, against sets of words; an empty one is refused with a sentence."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators import index_evaluation as module
from operators.contract import InputError, row_id, text
from operators.index_evaluation import Evaluation, IndexEvaluation, index_evaluation, indexed, table_of
from operators.ngrams import folded

WORDS = st.lists(st.sampled_from("abc"), min_size=1, max_size=9).map(" ".join)
ROWS = st.lists(st.tuples(st.sampled_from(["nq", "fever"]), st.sampled_from("12"), st.just(""), WORDS), min_size=1, max_size=6)


def grams(said: list[str], p: IndexEvaluation, of: list[str]) -> set[tuple[str, ...]]:
    """Runs of ``said`` as long as those that ``of`` has in the evaluation; none where it is too short."""
    n = min(len(of), p.words)
    return {tuple(said[i : i + n]) for i in range(len(said) - n + 1)} if n >= p.least_words else set()


@settings(max_examples=100, deadline=None)
@given(ROWS, st.lists(WORDS | st.just(" ?"), max_size=5), st.integers(2, 4), st.integers(1, 2))
def test_it_finds_what_sets_of_words_find(rows, asked, words, least):
    p = IndexEvaluation(words=words, least_words=least)
    made = indexed(rows, p)
    found = made.find(pa.array([one.upper().replace(" ", ", ") for one in asked], text))
    got = {(int(t), i): (s, w) for t, i, s, w in zip(found.texts, made.ids(found.rows).to_pylist(), found.shares, found.whole, strict=True)}
    table = table_of(rows)
    wanted = {}
    for t, one in enumerate(asked):
        for i, known in zip(table["passage_id"].to_pylist(), table["passage"].to_pylist(), strict=True):
            mine, own = grams(folded(one), p, folded(known)), grams(folded(known), p, folded(known))
            share, whole = len(mine & own) / len(own) if own else 0.0, "".join(folded(one)) == "".join(folded(known))
            if share or whole:
                wanted[t, i] = (share, whole)
    assert got == wanted
    assert np.all(np.diff(found.texts) >= 0)
    before, module._PAIRS = module._PAIRS, 2
    try:
        again = made.find(pa.array([one.upper().replace(" ", ", ") for one in asked], text))
    finally:
        module._PAIRS = before
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(0, 6), WORDS)
def test_where_an_evaluation_was_cut_changes_nothing_that_it_finds(rows, cut, asked):
    p = IndexEvaluation(words=3, least_words=1)
    folds = [index_evaluation(p) for _ in range(2)]
    for fold, part in zip(folds, (rows[:cut], rows[cut:]), strict=True):
        fold.add(table_of(part), 0)
    folds[0].merge(folds[1])
    texts = pa.array([asked], text)
    one, other = folds[0].finish().find(texts), indexed(rows, p).find(texts)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@settings(max_examples=50, deadline=None)
@given(ROWS)
def test_a_text_names_every_benchmark_and_row_that_has_it(rows):
    made, table = indexed(rows), table_of(rows)
    ids = pa.array([*table["passage_id"].unique().to_pylist(), b"\xff" * 16], row_id)
    offsets, names = made.names(ids)
    told = list(zip(names["source"].to_pylist(), names["source_id"].to_pylist(), strict=True))
    for i, one in enumerate(ids.to_pylist()):
        assert told[offsets[i] : offsets[i + 1]] == sorted({(r["source"], r["source_id"]) for r in table.to_pylist() if r["passage_id"] == one})
    assert made.benchmarks == {s: len({(x, n, q) for x, n, _, q in rows if x == s}) for s in sorted({r[0] for r in rows})}


def test_a_document_is_found_with_its_title_and_without():
    made = indexed([("nq", "1", "The Oak", "It bears acorns.")])
    assert made.find(pa.array(["It bears acorns", "THE OAK: it bears acorns!", "the oak"], text)).texts.tolist() == [0, 1]


def test_a_run_of_many_texts_finds_none_of_them_but_counts_among_theirs():
    rows = [("nq", str(i), "", f"all rights reserved worldwide {i}") for i in range(4)]
    asked = pa.array(["all rights reserved worldwide 2"], text)
    kept = indexed(rows, IndexEvaluation(words=4, least_words=4, common=3)).find(asked)
    assert (kept.shares.tolist(), kept.whole.tolist()) == ([0.5], [True])
    assert len(indexed(rows, IndexEvaluation(words=4, least_words=4, common=4)).find(asked).texts) == 4


def test_what_is_saved_is_what_is_loaded(tmp_path):
    made = indexed([("nq", "1", "", "which tree grows by the river at night now"), ("ä", "2", "Oak", "c")])
    made.save(tmp_path)
    asked = pa.array(["c", "tell me which tree grows by the river at night now"], text)
    one, other = made.find(asked), Evaluation.load(tmp_path).find(asked)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert Evaluation.load(tmp_path).benchmarks == {"nq": 1, "ä": 1}


@pytest.mark.parametrize("rows", [[], [("nq", "1", "", "?!"), ("nq", "2", "", "…")]])
def test_an_evaluation_without_a_word_is_refused(rows):
    with pytest.raises(InputError, match="holds no text with a word"):
        indexed(rows)


def test_params_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match="least_words is above words"):
        IndexEvaluation(words=4)


def test_a_long_text_beside_a_short_one_and_half_a_pair_of_surrogates_pass():
    fold = index_evaluation(IndexEvaluation())
    fold.add(table_of([("nq", "1", "", "word " * 200_000), ("nq", "2", "", "a")]), 0)
    made = fold.finish()
    assert made.find(pa.array(["word " * 13], text)).shares.tolist() == [1.0]
