"""The normal forms are Unicode's, and a run of combining marks costs no square of its length."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import normal_form
from operators.normal_form import normal

MARKS = "\u0301\u0323\u0308\u0344\u05b0\u094d\u3099\u0f71"


@given(st.text(st.sampled_from("aeoq가각が " + MARKS), max_size=60), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_every_form_is_unicodes_whatever_counts_as_a_long_run(value: str, form: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normal_form, "_LONG", 2)
        normal_form._marks.cache_clear()
        found = normal(value, form)
    normal_form._marks.cache_clear()
    assert found == unicodedata.normalize(form, value)


def test_half_a_million_marks_in_a_row_are_no_matter() -> None:
    found = normal("a" + "\u0301\u0323" * 250_000)  # Python alone: minutes
    assert found[:3] == "\u1ea1\u0323\u0323" and len(found) == 500_000
