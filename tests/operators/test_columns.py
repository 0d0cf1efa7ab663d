"""The moves over columns that have a fast way do what the plain one does."""

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import columns
from operators.columns import hexed, normalise, row_keys
from operators.contract import row_id
from operators.rows import sound, text_fault

IDS = st.lists(st.binary(min_size=16, max_size=16), max_size=9)


@given(st.text(st.sampled_from("a é\u0301 \t\n\x1c\x1f\x85\xa0\u1680\u2003\u2028\u202f\u3000\u200b\ufeff語")))
def test_normalising_folds_what_the_pattern_of_white_space_knows(value: str) -> None:
    assert normalise(value) == re.sub(r"\s+", " ", unicodedata.normalize("NFC", value)).strip()


@given(IDS, st.integers(0, 3))
def test_ids_in_hex_whatever_the_slice(told: list[bytes], start: int) -> None:
    column = pa.chunked_array([pa.array(told, row_id)] if told else [], row_id).slice(start)
    assert hexed(column).to_pylist() == [one.hex() for one in told[start:]]


@given(IDS)
def test_keys_of_ids_are_those_of_their_bytes(told: list[bytes]) -> None:
    table = pa.table({"a": pa.array(told, row_id), "b": pa.array(told[::-1], row_id)})
    plain = table.set_column(0, "a", table["a"].cast(pa.binary()))
    assert row_keys(table, ["b", "a"]).equals(row_keys(plain, ["b", "a"]))
    assert len(set(row_keys(table, ["b", "a"]).to_pylist())) == len({*zip(told, told[::-1], strict=True)})


def test_half_a_surrogate_pair_is_a_fault_and_a_whole_character_none():
    for value, bad in (("a\ud83d", True), ("\udc00", True), ("\U0001f600 ok", False), ("é", False), ("a", False)):
        assert (text_fault(value, "text", 99) is not None) == bad
    assert np.all([text_fault(c, "text", 99) is None for c in "\ud7ff\ue000"])


BLANK = [chr(point) for point in range(1 << 16) if chr(point).isspace()]
ODD = st.text(st.sampled_from([*BLANK, *"aé語𝔘\x00e\u0301\ud800ßÂâãᚁ\u2010"]), max_size=12)


@pytest.mark.parametrize("size", [1, 5, 1 << 18])
@given(rows=st.lists(st.tuples(ODD, ODD), max_size=6))
def test_many_ids_at_once_are_those_of_each(size, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_FOLDED", size)
        fields = zip(*rows, strict=True) if rows else ([], [])
        assert columns.content_ids(*fields).to_pylist() == [columns.content_id(*row) for row in rows]


@given(st.lists(st.one_of(st.none(), st.integers(), ODD, st.sampled_from(["\x00", "long" * 9])), max_size=4))
def test_a_column_is_sound_only_where_no_value_has_a_fault(values):
    if sound(values, 30):
        assert not any(text_fault(value, "text", 30) for value in values)
    elif all(isinstance(value, str) for value in values):
        assert any(text_fault(value, "text", 30) for value in values)
