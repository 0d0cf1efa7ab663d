"""Pairs come from a document's own structure; the query never stands in its passage."""

import re
import time
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators import columns
from operators.contract import Outcome, apply, text
from operators.sentences import count_words, sentences, words
from operators.spans import drawn, windows
from operators.structural_pairs import _HEADING, StructuralPairs, _unclosed, example, structural_pairs

KINDS = ("title_body", "heading_section", "question_answer", "inverse_cloze", "body_first", "neighbours")


def run(documents: list[tuple[str, str]], **params: Any) -> Outcome:
    titles, bodies = [t for t, _ in documents], [b for _, b in documents]
    table = pa.table({"title": pa.array(titles, text), "text": pa.array(bodies, text)})
    table = table.append_column("doc_id", columns.content_ids(titles, bodies))
    return apply(structural_pairs, table, StructuralPairs(**{"min_passage_words": 2, **params}))


def pairs(outcome: Outcome) -> list[tuple[str, str]]:
    return list(zip(outcome.table["query"].to_pylist(), outcome.table["passage"].to_pylist(), strict=True))


PIECE = st.sampled_from(
    [
        "# One two",
        "Oak grows slowly.",
        "\n\n",
        "\n",
        "Head line",
        "=====",
        "木は高い。",
        "a b c d e f g.",
        "```",
        "Q: what is it",
        "Does oak grow?",
    ]
)
BODY = st.lists(PIECE, max_size=20).map("\n".join)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "Oak", "Oak grows slowly."]), BODY), max_size=4),
    st.integers(2, 9),
)
def test_offsets_sizes_and_ids_hold_for_any_document(documents: list[tuple[str, str]], most: int) -> None:
    outcome = run(documents, kinds=KINDS, max_passage_words=most, min_query_words=1)
    for one in outcome.table.to_pylist():
        slice_ = documents[one["_row"]][1][one["start"] : one["end"]]
        if one["query_type"] == "inverse_cloze":
            assert columns.normalise(one["query"]) in columns.normalise(slice_)
        else:
            assert slice_ == one["passage"]
        assert 2 <= count_words(one["passage"]) <= most
        assert one["positive_ids"] == [one["passage_id"]] == [columns.content_id("", one["passage"])]
        assert one["query_id"] == columns.content_id(one["query"], "")
        assert one["title"] == ""


def test_a_body_that_opens_with_its_title_loses_it() -> None:
    outcome = run([("Oak  trees", "OAK trees: They grow slowly.")])
    assert pairs(outcome) == [("Oak trees", "They grow slowly.")]
    assert pairs(run([("Oak tree", "Oak trees grow slowly.")])) == [("Oak tree", "Oak trees grow slowly.")]


@pytest.mark.parametrize(
    "body",
    [
        "# How it grows\nSlowly, it does.\n\n## Where else\nIn the north.",
        "How it grows\n============\nSlowly, it does.\n\nWhere else\n----------\nIn the north.",
        "============\nHow it grows\n============\nSlowly, it does.\n\nWhere else\n----------\nIn the north.",
        "How it grows\n\nSlowly, it does.\n\nWhere else\n\nIn the north.",
    ],
)
def test_headings_of_markdown_rst_and_plain_text_lead_to_their_section(body: str) -> None:
    outcome = run([("Oak", body)], kinds=["heading_section"])
    assert pairs(outcome) == [("Oak: How it grows", "Slowly, it does."), ("Oak: Where else", "In the north.")]


def test_a_comment_in_a_code_block_is_no_heading() -> None:
    outcome = run(
        [("", "# Real heading\nSome words.\n\n```\n# not one\nx\n```\n")], kinds=["heading_section"]
    )
    assert [query for query, _ in pairs(outcome)] == ["Real heading"]


def test_the_inverse_cloze_takes_the_sentence_out_of_its_passage() -> None:
    bodies = [("", f"First {i} sentence. Second {i} sentence. Third {i} sentence.") for i in range(20)]
    made = pairs(run(bodies, kinds=["inverse_cloze"]))
    assert len(made) == 20
    assert all(query not in passage and count_words(passage) == 6 for query, passage in made)
    assert {query.split()[0] for query, _ in made} == {"First", "Second", "Third"}
    turned = pairs(run(bodies[::-1], kinds=["inverse_cloze"]))[::-1]
    assert turned == made


def test_the_first_sentence_asks_for_the_rest() -> None:
    outcome = run([("", "Oak grows. It is slow. It is old.")], kinds=["body_first"])
    assert pairs(outcome) == [("Oak grows.", "It is slow. It is old.")]


def test_a_document_without_pairs_says_why() -> None:
    documents = [
        ("", "No title here at all."),
        ("Just this", "Just  this."),
        ("Two words", "Short"),
        ("A title", ""),
    ]
    outcome = run(documents, kinds=["title_body"])
    assert outcome.rejects["reason"].to_pylist() == [
        "no title",
        "title equals the body",
        "body too short",
        "body too short",
    ]
    both = run(documents[:1])
    assert both.rejects["reason"].to_pylist() == ["no title; no heading"]


def test_the_text_ends_here() -> None:
    shown = example()
    assert "text" not in apply(structural_pairs, shown.table, shown.params).table.column_names


FAQ = """# Oaks

Q: how do they grow
A: Slowly, it is said.

**Do they burn?**

Yes, for a long time.
And hot.

2. Where are they?
In the north.

Are there more? Nobody knows.

Not asked: who
is it?
```
Q: code
no answer
```

Any others?
"""


def test_a_question_leads_to_its_answer() -> None:
    outcome = run([("", FAQ)], kinds=["question_answer"], min_query_words=1)
    assert pairs(outcome) == [
        ("how do they grow", "Slowly, it is said."),
        ("Do they burn?", "Yes, for a long time.\nAnd hot."),
        ("Where are they?", FAQ[FAQ.index("In the north") : FAQ.index("Any others?")].strip()),
    ]
    assert run([("", "Any others?\n")], kinds=["question_answer"]).rejects["reason"].to_pylist() == ["no answer"]
    assert run([("", "None.")], kinds=["question_answer"]).rejects["reason"].to_pylist() == ["no question"]


@settings(max_examples=100)
@given(BODY, st.integers(1, 9))
def test_windows_are_the_whole_text_in_order_and_whole_sentences_where_they_fit(body: str, limit: int) -> None:
    found = windows(body, limit)
    assert [body[a:b] for span in found for a, b in ((span[0] + c, span[0] + d) for c, d in words(body[slice(*span)]))] == [
        body[a:b] for a, b in words(body)
    ]
    assert all(1 <= count_words(body[a:b]) <= limit for a, b in found)
    ends = {b for a, b in sentences(body) if count_words(body[a:b]) <= limit}
    long = [(a, b) for a, b in sentences(body) if count_words(body[a:b]) > limit]
    assert all(b in ends or any(c < b <= d for c, d in long) for _, b in found)
    for (a, b), (c, _) in pairwise(found):  # no window could take the next sentence, too
        following = next((f for e, f in sentences(body) if e == c and f in ends), None)
        assert following is None or b not in ends or count_words(body[a:following]) > limit


def test_each_window_stands_in_one_pair_with_the_next() -> None:
    body = " ".join(f"Number {i} has five words." for i in range(5))
    outcome = run([("", body)], kinds=["neighbours"], max_passage_words=5)
    assert [(q.split()[1], p.split()[1]) for q, p in pairs(outcome)] == [("0", "1"), ("2", "3")]
    assert run([("", body)], kinds=["neighbours"]).rejects["reason"].to_pylist() == ["fewer than two windows"]


@settings(max_examples=100)
@given(st.integers(0, 120), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(0, 20), st.integers(0, 99))
def test_random_spans_have_their_sizes_and_touch_their_anchor(count: int, anchors: int, near: int, least: int, more: int, seed: int) -> None:
    body = " ".join(f"w{i}" for i in range(count))
    found = drawn(body, anchors, near, (least, least + more), seed)
    assert len(found) == (anchors if count // anchors >= least else 0)
    place = {a: i for i, (a, _) in enumerate(words(body))} | {-b: i + 1 for i, (_, b) in enumerate(words(body))}
    for i, ((a, b), positives) in enumerate(found):
        start, end = place[a], place[-b]
        assert least <= end - start <= least + more
        assert i * (count // anchors) <= start < end <= (i + 1) * (count // anchors)
        assert len(positives) == near
        for c, d in positives:
            assert least <= place[-d] - place[c] <= least + more
            assert place[c] <= end and place[-d] >= start


def test_random_spans_hang_on_the_document_alone_and_anchors_are_longer() -> None:
    documents = [("", " ".join(f"d{k}w{i}" for i in range(400))) for k in range(40)]
    spans = {"min_words": 2, "max_words": 100}
    made = pairs(run(documents, kinds=["random_spans"], spans=spans))
    assert len(made) == 160
    assert sorted(pairs(run(documents[::-1], kinds=["random_spans"], spans=spans))) == sorted(made)
    assert made != pairs(run(documents, kinds=["random_spans"], spans=spans, seed=1))
    mean = [sum(count_words(one[side]) for one in made) / len(made) for side in (0, 1)]
    assert 60 < mean[0] < 75 and 27 < mean[1] < 42, "Beta(4, 2) and Beta(2, 4) between 2 and 100"
    assert run([("", "too short")], kinds=["random_spans"]).rejects["reason"].to_pylist() == ["too short for its spans"]


@pytest.mark.parametrize(
    "params", [{"kinds": []}, {"min_passage_words": 200}, {"spans": {}}, {"kinds": ["random_spans"], "spans": {"min_words": 600}}]
)
def test_options_that_cannot_act_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StructuralPairs.model_validate(params)


OLD_HASH = re.compile(r"^\#{1,6}[ \t]+(?P<hash>\S[^\n]*?)[ \t]*\#*[ \t]*$", re.MULTILINE)


@given(st.text(st.sampled_from("# \ta\r"), max_size=12))
def test_a_markdown_heading_is_what_the_cubic_expression_took(line: str) -> None:
    old = OLD_HASH.match("# " + line)
    new = _HEADING.match("# " + line)
    assert (old is None) == (new is None or new["hash"] is None)
    if old and new:
        assert (_unclosed(new["hash"]), new.end()) == (old["hash"], old.end())


def test_a_heading_of_many_blanks_and_signs_takes_no_longer_than_it_is() -> None:
    body = "# a" + (" " * 20_000 + "#" * 20_000) * 5 + " b\n\nOne two three four."
    start = time.perf_counter()
    run([("", body)], kinds=("heading_section",))
    assert time.perf_counter() - start < 2


def test_many_headings_beside_many_fences_take_no_longer_than_they_are() -> None:
    body = "# One two\nThree four five.\n```\n# six\n```\n" * 8_000
    start = time.perf_counter()
    assert len(run([("", body)], kinds=("heading_section",)).table) == 8_000
    assert time.perf_counter() - start < 6
