"""Sentences end at full stops that are no abbreviations, at blank lines and at list items."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.sentences import _END, count_words, sentences, words


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("Dr. Who met J. R. Smith. He left.", ["Dr. Who met J. R. Smith.", "He left."]),
        (
            "See fig. 3 and e.g. No. 5. The answer is no. It ends.",
            ["See fig. 3 and e.g. No. 5.", "The answer is no.", "It ends."],
        ),
        (
            "Acme Inc. grew. It sold to Foo Inc. Then it died.",
            ["Acme Inc. grew.", "It sold to Foo Inc.", "Then it died."],
        ),
        ("It costs 3.5 euros! Really?! Yes.", ["It costs 3.5 euros!", "Really?!", "Yes."]),
        ("1. First point\n2. Second point", ["1. First point", "2. Second point"]),
        ("hard\nwrapped text\n\nnext paragraph", ["hard\nwrapped text", "next paragraph"]),
        ("我喜欢。你呢？「はい。」と言った。", ["我喜欢。", "你呢？", "「はい。」", "と言った。"]),
        ('He said "go." She went.', ['He said "go."', "She went."]),
        (" \n\n ", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(body: str, found: list[str]) -> None:
    assert [body[a:b] for a, b in sentences(body)] == found


@given(
    st.text(
        alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from(list(". \n。A1-")), max_size=80
    )
)
def test_nothing_but_white_space_lies_outside_of_sentences_and_of_words(body: str) -> None:
    for spans in (sentences(body), words(body)):
        assert "".join(body[a:b] for a, b in spans).split() or not body.strip()
        ends = [0, *(x for span in spans for x in span), len(body)]
        assert ends == sorted(ends)
        assert not "".join(body[a:b] for a, b in zip(ends[::2], ends[1::2], strict=True)).strip()


def test_a_character_without_spaces_and_a_long_run_count_as_words() -> None:
    assert count_words("川は sea 한국어") == 4
    assert count_words("x" * 130) == 3


@given(st.text(st.sampled_from("a1A .!?…।\"')）。\n-"), max_size=30))
def test_the_first_mark_of_a_run_finds_what_every_mark_finds(body: str) -> None:
    """A mark within a run ends no sentence that the first does not, so only the first is looked at."""
    slow = re.compile(_END.pattern.replace("(?<![.!?…؟।۔])", "").replace("++", "+").replace("*+)", "*)"))
    assert slow.pattern != _END.pattern
    assert [m.span() for m in _END.finditer(body)] == [m.span() for m in slow.finditer(body)]


def test_a_million_dots_are_one_sentence() -> None:
    assert sentences("." * 1_000_000 + "x") == [(0, 1_000_001)]
