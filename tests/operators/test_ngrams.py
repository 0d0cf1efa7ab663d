"""Words whatever their case and punctuation, and the hashes of their runs, against lists of strings."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import ngrams
from operators.ngrams import folded, hashed, runs

SAID = st.text("ab ,.\n", max_size=14)


@settings(max_examples=100, deadline=None)
@given(st.lists(SAID, max_size=6), st.integers(1, 3), st.integers(1, 4))
def test_two_runs_are_equal_where_their_words_are(texts, shortest, longest):
    known: dict[tuple[str, ...], int] = {}
    for n, number, owner in runs(hashed(texts), shortest, longest):
        words = [(i, tuple(one[k : k + n])) for i, t in enumerate(texts) for one in [folded(t)] for k in range(len(one) - n + 1)]
        assert owner.tolist() == [i for i, _ in words]
        assert shortest <= n <= longest
        for (_, run), value in zip(words, number.tolist(), strict=True):
            assert known.setdefault(run, value) == value
    assert len(set(known.values())) == len(known)
    longest_text = max((len(folded(t)) for t in texts), default=0)
    assert {len(run) for run in known} == set(range(shortest, min(longest, longest_text) + 1))


def test_case_punctuation_and_width_make_no_other_word():
    alike = ["Don't stop—the “State-of-the-art”!", "don t STOP the state of the art", "DON’T  stop; the (state) of\nthe: ａｒｔ"]
    assert len({tuple(folded(one)) for one in alike}) == 1
    assert folded("so\u00adfter") == ["softer"]
    assert folded("c++ c#") == ["c++", "c"]  # a symbol is a sign of its own, # is punctuation
    assert folded("東京は夜 ok") == ["東", "京", "は", "夜", "ok"]
    assert folded(" ?! ") == []


def test_wholes_are_equal_where_only_gaps_differ():
    a, b, c = hashed(["state-of-the-art", "State of the art", "state of art"]).whole.tolist()
    assert a == b != c


@settings(max_examples=50, deadline=None)
@given(st.lists(SAID, max_size=8))
def test_lots_lose_no_text(texts):
    before, ngrams.LOT = ngrams.LOT, 9
    try:
        found = list(ngrams.lots(pa.array(texts, pa.string())))
    finally:
        ngrams.LOT = before
    assert [t for _, lot in found for t in lot] == texts
    assert [start for start, _ in found] == [sum(len(lot) for _, lot in found[:i]) for i in range(len(found))]
