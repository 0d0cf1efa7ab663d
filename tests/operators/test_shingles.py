"""Shingles, sets and Jaccard equal those of Python's own sets of strings; a signature tells Jaccard as MinHash should."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import shingles as module
from operators.content import indexed
from operators.shingles import Shingles, jaccard, likeness, sets, shingled, signatures

WORD = st.sampled_from(["a", "B", "b", "ß", "é", "e\u0301", "語", "ガラスX", "กก", "long-word", "𝔘", "\x00"])
TEXT = st.lists(WORD, max_size=14).flatmap(lambda ws: st.sampled_from([" ", "\n\t", "  "]).map(lambda gap: gap.join(ws)))
PARAMS = st.builds(Shingles, words=st.integers(1, 6), characters=st.integers(1, 6), min_words=st.integers(0, 10))


def told(value: str, p: Shingles) -> set[tuple[bool, str]]:
    folded = unicodedata.normalize("NFC", value).casefold()
    words = "".join(f" {c} " if c in "語ガラスก" else c for c in folded).split()
    by_words = len(words) >= p.min_words
    units, size, gap = (words, p.words, " ") if by_words else (list(" ".join(folded.split())), p.characters, "")
    return {(by_words, gap.join(units[i : i + size])) for i in range(max(len(units) - size + 1, 1))} if words else set()


def strings(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.string())


@given(st.lists(TEXT, max_size=8), PARAMS)
def test_sets_and_jaccard_are_those_of_strings(texts: list[str], p: Shingles) -> None:
    sizes, numbers = sets(strings(texts), p)
    wanted = [told(value, p) for value in texts]
    assert sizes.tolist() == [len(one) for one in wanted]
    one, other = (np.array(x) for x in np.nonzero(np.ones((len(texts), len(texts)))))
    found = jaccard(sizes, numbers, one, other)
    # A run of words is none of characters, though the letters be the same.
    assert found.tolist() == [np.float32(len(wanted[a] & wanted[b]) / max(len(wanted[a] | wanted[b]), 1)) for a, b in zip(one, other, strict=True)]


@pytest.mark.parametrize("chars", [300, 20, 1])
@pytest.mark.parametrize("p", [Shingles(), Shingles(min_words=1000), Shingles(words=1, characters=1)])
def test_a_long_text_in_pieces_has_the_same_shingles(monkeypatch, chars, p):
    texts = [" ".join(f"w{i % 17}" for i in range(n)) for n in (0, 1, 4, 5, 9, 40, 200)]
    whole, signed = sets(strings(texts), p), signatures(strings(texts), p, 16)
    monkeypatch.setattr(module, "_CHARS", chars)
    assert len({start for start, *_ in shingled(strings(texts), p)}) > 1
    for one, other in zip((*whole, *signed), (*sets(strings(texts), p), *signatures(strings(texts), p, 16)), strict=True):
        assert np.array_equal(one, other)


def test_signatures_tell_jaccard_without_bias_and_as_well_as_independent_permutations():
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(300):
        line, cut = [f"w{i}" for i in rng.integers(0, 1 << 30, 120)], rng.integers(1, 60)
        texts += [" ".join(line), " ".join(line[cut:])]
    p = Shingles()
    signed, has = signatures(strings(texts), p, 128)
    assert has.all()
    one, other = np.arange(0, 600, 2), np.arange(1, 600, 2)
    true = jaccard(*sets(strings(texts), p), one, other).astype(float)
    error = (signed[one] == signed[other]).mean(axis=1) - true
    assert abs(error.mean()) < 0.01
    assert 0.8 < (error / np.sqrt(true * (1 - true) / 128)).std() < 1.2


def test_a_signature_hangs_on_its_text_alone():
    texts = ["", "owls", "owls hunt mice at night", " ".join(map(str, range(3000))), "Owls  HUNT mice at night"]
    whole, has = signatures(strings(texts), Shingles(), 32)
    assert has.tolist() == [False, True, True, True, True]
    assert np.array_equal(whole[2], whole[4])
    for i, value in enumerate(texts):
        assert np.array_equal(signatures(strings([value]), Shingles(), 32)[0][0], whole[i])


def test_a_change_in_each_fifth_sentence_leaves_two_chinese_texts_near(tmp_path):
    said = [f"第{i}段说明软件包的用途和安装方法。" for i in "一二三四五六七八九十百千"]
    other = [one.replace("用途", "作用") if i % 5 == 0 else one for i, one in enumerate(said)]
    found = jaccard(*sets(strings([" ".join(said), " ".join(other)]), Shingles()), np.array([0]), np.array([1]))
    assert found[0] > 0.7, "cut at blanks, they have no run of five sentences in common"


def test_what_else_is_compared_changes_no_bit_of_a_jaccard(monkeypatch):
    # Of 2**24 numbers some of 20,000 runs fall together; they must be the same whatever stands beside them.
    monkeypatch.setattr(module, "_ROW", 40)
    long = [" ".join(map(str, range(start, start + 20_000))) for start in (0, 2_000)]
    alone, beside = sets(strings(long), Shingles()), sets(strings([*["owls"] * 5_000, *long]), Shingles())
    assert alone[0].tolist() == beside[0][5_000:].tolist() != [19_996] * 2
    assert jaccard(*alone, np.array([0]), np.array([1])) == jaccard(*beside, np.array([5_000]), np.array([5_001]))


def test_likeness_compares_a_few_pairs_at_a_time(monkeypatch):
    said = [" ".join(str(i) for i in range(start, start + 30)) for start in range(12)]
    ids, texts = indexed(said)
    at = np.argsort(ids)
    ids, said = [ids[i] for i in at], [said[i] for i in at]
    one, other = (np.array(x) for x in np.nonzero(np.ones((12, 12))))
    column = module.pa.array(ids, module.pa.binary(16))
    whole = likeness(texts, column, one, other, Shingles())
    apart = [abs(at[a] - at[b]) for a, b in zip(one, other, strict=True)]
    assert whole.tolist() == [np.float32(max(26 - d, 0) / (26 + d)) for d in apart]
    held = []
    monkeypatch.setattr(module, "_sets_of", lambda texts, ids, *rest, made=module._sets_of: held.append(len(ids)) or made(texts, ids, *rest))
    assert np.array_equal(likeness(texts, column, one, other, Shingles()), whole)
    assert held == [12], "each text is read once"
    for name in ("_PAIRED", "_TAKEN", "_READ"):
        monkeypatch.setattr(module, name, 500)
    assert np.array_equal(likeness(texts, column, one, other, Shingles()), whole)
    assert max(held[1:]) <= 6, "some 500 characters at once"
    assert len(likeness(texts, column, one[:0], other[:0], Shingles())) == 0
