"""HTML in a column becomes text; what is none stays, to the byte and with its id."""

import pyarrow as pa

from operators import extraction
from operators.columns import content_id, content_ids
from operators.contract import apply, text
from operators.extract_html import ExtractHtml, example, extract_html


def test_pages_become_text_and_plain_texts_stay():
    shown = example()
    out = apply(extract_html, shown.table, shown.params)
    rows = out.table.to_pylist()
    assert [(r["title"], r["text"]) for r in rows] == [
        ("Oaks", "An oak is a tree that grows for long."), ("", "An elm is a tree."), ("Birch", "A birch is **white**."),
    ]  # fmt: skip
    assert all(r["doc_id"] == content_id(r["title"], r["text"]) for r in rows)
    assert out.rejects["reason"].to_pylist() == ["no text on the page"]


def test_a_comparison_is_no_tag_and_another_column_may_hold_the_page():
    said = ["if a < b and c > d", "<p>A paragraph of some words.</p>"]
    table = pa.table({"doc_id": content_ids(["", ""], said), "title": pa.array(["", ""], text), "html": pa.array(said, text)})
    out = apply(extract_html, table, ExtractHtml(column="html")).table
    assert out["text"].to_pylist() == [said[0], "A paragraph of some words."]
    assert out["html"].to_pylist() == said


def test_the_reader_is_part_of_what_the_step_is_and_another_is_refused():
    assert ExtractHtml().reader == extraction.version_of("html")
    assert extract_html.check(ExtractHtml(), {}) == []
    assert "leave it out" in extract_html.check(ExtractHtml(reader="trafilatura-1"), {})[0]
