"""Take the main text out of HTML that a column holds, as crawls and exports have it; files of HTML `read_corpus` reads itself."""

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators import columns, extraction
from operators.contract import Columns, Example, InputError, Outcome, Params, operator, outcome_of, row_id, text


class ExtractHtml(Params):
    """Which column holds the HTML."""

    column: str = Field(default="text", min_length=1)
    reader: str = Field(default="", description="the library and its version, which the text hangs on; filled in")

    @model_validator(mode="before")
    @classmethod
    def name_the_reader(cls, value: Any) -> Any:
        """The installed one."""
        if isinstance(value, dict) and not value.get("reader"):
            with contextlib.suppress(InputError):
                return {**value, "reader": extraction.version_of("html")}
        return value


def _check(p: ExtractHtml, using: Mapping[str, Any]) -> list[str]:
    try:
        installed = extraction.version_of("html")
    except InputError as error:
        return [str(error)]
    return [] if p.reader == installed else [f"extract_html: reader is {p.reader!r}, installed is {installed}; leave it out"]


def _columns(p: ExtractHtml) -> Columns:
    return {"doc_id": row_id, "title": text, p.column: text}


@operator("map", version="1", reads=_columns, writes=lambda p: {**_columns(p), "text": text}, rows="fewer", check=_check)
def extract_html(table: pa.Table, p: ExtractHtml) -> Outcome:
    """``text`` becomes the page's text as Markdown, an empty ``title`` the page's; ids are made anew.

    A text without a tag stays. A page without text is a reject, and so is one that takes a minute, 3 GB, or the library's life.
    """
    tagged = pc.match_substring_regex(table[p.column], r"<[A-Za-z!/][^<>]*>").to_numpy()
    said, titles = table[p.column].to_pylist(), table["title"].to_pylist()
    reasons: dict[int, tuple[str, str]] = {}
    for i in np.flatnonzero(tagged).tolist():
        found = extraction.extract("html", said[i])
        if fault := found.get("fault"):
            reasons[i] = (fault[0], fault[1])
        else:
            said[i], titles[i] = found["text"], titles[i] or found["title"]
    wide = columns.put(columns.put(table, "text", pa.array(said, text)), "title", pa.array(titles, text))
    wide = columns.renewed(wide, {"doc_id": ["title", "text"]}, tagged)
    kept = np.ones(len(table), bool)
    kept[list(reasons)] = False
    return outcome_of(table, wide.filter(pa.array(kept)), reasons)


def example() -> Example:
    """Four texts: a page, one without text, a plain text, a piece of HTML."""
    said = [
        "<html><head><title>Oaks</title></head><body><nav>Home</nav><main><p>An oak is a tree that grows for long.</p></main>"
        "</body></html>", "<html><body><script>1</script></body></html>", "An elm is a tree.", "<p>A birch is <b>white</b>.</p>",
    ]  # fmt: skip
    titles = ["", "", "", "Birch"]
    table = pa.table({"title": pa.array(titles, text), "text": pa.array(said, text)})
    return Example(table.append_column("doc_id", columns.content_ids(titles, said)), ExtractHtml())
