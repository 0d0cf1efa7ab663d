"""A text that begins or ends another goes, as a sort of all texts and a window would have it; short ones go before."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import ROW, Outcome, apply, numbered, row_id, text
from operators.drop_contained import DropContained, drop_contained
from operators.key_ends import KeyEnds, key_ends

SHORT = KeyEnds(min_chars=2, digits=True)


def run(said: list[str], p: DropContained, keys: KeyEnds = SHORT) -> Outcome:
    table = pa.table({"passage": pa.array(said, text), "passage_id": pa.array([i.to_bytes(16, "big") for i in range(len(said))], row_id)})
    keyed = apply(key_ends, table, keys).table.drop_columns([ROW])
    return apply(drop_contained, numbered(keyed).sort_by([(f"{p.end}_key", "ascending"), (ROW, "ascending")]), p)


@given(st.lists(st.text("ab", min_size=2, max_size=6), max_size=12), st.integers(2, 12), st.sampled_from(["begin", "end"]))
def test_what_stays_is_what_a_window_over_all_texts_with_the_same_end_leaves(said: list[str], window: int, end: str) -> None:
    kept = {one.hex() for one in run(said, DropContained(end=end, window=window)).table["passage_id"].to_pylist()}
    turned = sorted((one if end == "begin" else one[::-1], i) for i, one in enumerate(said))
    gone = set()
    for two in {one[:2] for one, _ in turned}:
        group = [(one, i) for one, i in turned if one[:2] == two]
        gone |= {i for k, (_, i) in enumerate(group) if any(said[i] in said[j] for _, j in group[k + 1 : k + window])}
    assert kept == {i.to_bytes(16, "big").hex() for i in range(len(said)) if i not in gone}
    if window == 12:  # nothing is the beginning (end) of another
        left = [said[int(one, 16)] for one in kept]
        assert not [a for k, a in enumerate(left) for m, b in enumerate(left) if k != m and (b.startswith(a) if end == "begin" else b.endswith(a))]


def test_rejects_name_the_text_that_holds_them_and_the_last_of_equals_stays():
    outcome = run(["Iron rusts.", "iron rusts in rain", "IRON rusts", "owls hunt"], DropContained(), KeyEnds())
    assert outcome.table["passage"].to_pylist() == ["iron rusts in rain"]
    assert outcome.rejects["reason"].to_pylist() == ["contained in another text"] * 2
    assert outcome.rejects["value"].to_pylist() == [(2).to_bytes(16, "big").hex(), (1).to_bytes(16, "big").hex()]


@pytest.mark.parametrize(("window", "stays"), [(4, True), (5, False)])
def test_a_text_is_looked_for_as_far_as_the_window_goes(window, stays):
    outcome = run(["abc", "abd", "abe", "abf", "abz abc"], DropContained(window=window))
    assert ("abc" in outcome.table["passage"].to_pylist()) == stays


@pytest.mark.parametrize(
    ("said", "digits", "wanted"),
    [("Ünï-Code ﬁne\t№ 5!", False, "unicode fine no"), ("Ünï-Code ﬁne\t№ 5½", True, "unicode fine no 512"), ("語 と ガラス", False, "語 と カラス")],
)
def test_texts_are_compared_without_case_accents_and_punctuation(said, digits, wanted):
    table = pa.table({"passage": pa.array([said], text)})
    assert apply(key_ends, table, KeyEnds(min_chars=1, digits=digits)).table["plain"].to_pylist() == [wanted]


def test_a_short_text_is_a_reject_that_tells_what_is_left_of_it():
    outcome = apply(key_ends, pa.table({"passage": pa.array(["12345678901 owls", "a long enough text"], text)}), KeyEnds())
    assert outcome.rejects.to_pylist() == [{"_row": 0, "reason": "too short", "value": "owls"}]
