"""Compare rewrites: the encoder's cosine, and words in common."""

from hypothesis import given
from hypothesis import strategies as st

from operators.compare_rewrites import compare_rewrites, example, overlap
from operators.contract import apply


def test_a_paraphrase_is_near_with_few_common_words_a_copy_has_all_another_text_is_far() -> None:
    case = example()
    out = apply(compare_rewrites, case.table, case.params, **case.used).table
    paraphrase, copy, other = out["similarity"].to_pylist()
    assert copy > 0.999
    assert copy > paraphrase > 0.5 > 0.3 > other
    assert out["overlap"].to_pylist()[1] == 1
    assert out["overlap"].to_pylist()[0] == 0.25  # "iron"


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abcd"), max_size=8))
def test_overlap_has_no_sides_lies_in_0_1_and_is_1_for_the_same_words(one: list[str], other: list[str]) -> None:
    a, b = " ".join(one), " ".join(other)
    assert overlap(a, b) == overlap(b, a)
    assert 0 <= overlap(a, b) <= 1
    assert overlap(a, " ".join(reversed(one)).upper() + ".") == (1 if one else 0)
