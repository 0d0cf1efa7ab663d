"""Make query-passage pairs of a document's own structure, without a model.

Title and body, heading and section: E5 (arXiv:2212.03533), GTE (arXiv:2308.03281). A sentence and the
rest of its passage: the inverse cloze task (arXiv:1906.00300, arXiv:2002.03932).
"""

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.contract import Example, Outcome, Params, ids, operator, outcome_of, row_id, text
from operators.headings import in_fence
from operators.sentences import Span, count_words, sentences, trim, words

Kind = Literal["title_body", "heading_section", "inverse_cloze", "body_first"]

_LINE = r"[=\-~^\"'*+#`]"
_HEADING = re.compile(
    r"^(?:\#{1,6}[ \t]+(?P<hash>\S[^\n]*)$"
    rf"|(?:(?P<over>{_LINE})(?P=over){{2,}}[ \t]*\n[ \t]*)?"
    rf"(?P<under>\S[^\n]*)\n(?P<line>{_LINE})(?P=line){{2,}}[ \t]*$"
    r"|(?<![^\n]\n)(?P<plain>(?:\d+(?:\.\d+)*\.?[ \t]+)?[^\W\d_a-z][^\n]{0,79})"
    r"(?<![.!?:;,。！？])(?=\n[ \t]*\n))",
    re.MULTILINE,
)


class StructuralPairs(Params):
    """Which pairs to make, and the sizes of their sides in words; a passage is cut at a sentence."""

    kinds: tuple[Kind, ...] = ("title_body", "heading_section")
    min_query_words: int = Field(default=2, ge=1)
    min_passage_words: int = Field(default=10, ge=1)
    max_passage_words: int = Field(default=180, ge=1)
    instruction: str = ""
    seed: int = Field(default=0, ge=0)  # inverse_cloze

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds names at least one kind, each once")
        if self.min_passage_words > self.max_passage_words:
            raise ValueError("min_passage_words is above max_passage_words: no passage fits")
        return self


class Pair(NamedTuple):
    """A query and where its passage stands; ``without`` is a sentence taken out of it."""

    query: str
    start: int
    end: int
    without: Span | None = None


class Document(NamedTuple):
    """What a kind may look at."""

    doc_id: bytes
    title: str
    body: str


Made = Iterator[Pair | str]  # a pair, or why there is none


@operator(
    "map",
    version="1",
    reads={"doc_id": row_id, "title": text, "text": text},
    writes={
        "query_id": row_id,
        "query": text,
        "query_type": text,
        "instruction": text,
        "generator": text,
        "passage_id": row_id,
        "title": text,
        "passage": text,
        "positive_ids": ids,
        "start": pa.int32(),
        "end": pa.int32(),
    },
)
def structural_pairs(table: pa.Table, p: StructuralPairs) -> Outcome:
    """Pairs of each document; `text` ends here, and `title` is empty lest it gives the query away."""
    rows: list[int] = []
    pairs: list[tuple[str, Pair, str]] = []
    reasons: dict[int, tuple[str, str]] = {}
    fields = (table[name].to_pylist() for name in ("doc_id", "title", "text"))
    for row, values in enumerate(zip(*fields, strict=True)):
        document = Document(*values)
        why: list[str] = []
        made = [
            (kind, one) for kind in p.kinds for one in _checked(_MAKERS[kind](document, p), document, p, why)
        ]
        if not made:
            reasons[row] = ("; ".join(dict.fromkeys(why)), document.title)
        rows += [row] * len(made)
        pairs += [(kind, pair, passage) for kind, (pair, passage) in made]
    # without the texts: a document of 8000 sections would be copied 8000 times
    kept = table.drop_columns(["text"]).take(pa.array(rows, pa.int64()))
    return outcome_of(table, _columns(kept, pairs, p), reasons)


def _columns(kept: pa.Table, pairs: list[tuple[str, Pair, str]], p: StructuralPairs) -> pa.Table:
    empty = [""] * len(pairs)
    queries, passages = [pair.query for _, pair, _ in pairs], [passage for *_, passage in pairs]
    passage_ids = columns.content_ids(empty, passages)
    told = [p.instruction] * len(pairs)
    for name, values in (
        ("query_id", columns.content_ids(queries, told)),
        ("query", pa.array(queries, text)),
        ("query_type", pa.array([kind for kind, *_ in pairs], text)),
        ("instruction", pa.array(told, text)),
        ("generator", pa.array(["structural"] * len(pairs), text)),
        ("passage_id", passage_ids),
        ("title", pa.array(empty, text)),
        ("passage", pa.array(passages, text)),
        ("positive_ids", columns.lists(np.arange(len(pairs) + 1), passage_ids)),
        ("start", pa.array([pair.start for _, pair, _ in pairs], pa.int32())),
        ("end", pa.array([pair.end for _, pair, _ in pairs], pa.int32())),
    ):
        kept = columns.put(kept, name, values)
    return kept


def _checked(
    made: Made, document: Document, p: StructuralPairs, why: list[str]
) -> Iterator[tuple[Pair, str]]:
    """The pairs of enough words with their passage; the reasons of the others go to ``why``."""
    for one in made:
        if isinstance(one, str):
            why.append(one)
            continue
        passage = _passage(document.body, one)
        if count_words(one.query) < p.min_query_words:
            why.append("query too short")
        elif count_words(passage) < p.min_passage_words:
            why.append("body too short")
        else:
            yield one, passage


def _passage(body: str, pair: Pair) -> str:
    if pair.without is None:
        return body[pair.start : pair.end]
    a, b = pair.without
    return " ".join(filter(None, [body[pair.start : a].strip(), body[b : pair.end].strip()]))


def _title_body(document: Document, p: StructuralPairs) -> Made:
    title, body = columns.normalise(document.title), document.body
    if not title:
        yield "no title"
        return
    start, end = trim(body, 0, len(body))
    if start == end:
        yield "body too short"
        return
    # A body often opens with its title, which would make the query a part of the passage.
    said = r"\s+".join(map(re.escape, title.split()))
    opening = re.match(rf"{said}(?!\w)[\s.:#=\-]*", body[start:end], re.IGNORECASE)
    start += opening.end() if opening else 0
    yield (
        "title equals the body" if start >= end else Pair(title, *_cut(body, start, end, p.max_passage_words))
    )


def _heading_section(document: Document, p: StructuralPairs) -> Made:
    body = document.body
    hidden = in_fence(body)
    found = [m for m in _HEADING.finditer(body) if not hidden(m.start())]
    if not found:
        yield "no heading"
        return
    for match, following in zip(found, [*(m.start() for m in found[1:]), len(body)], strict=True):
        heading = columns.normalise(_unclosed(match["hash"]) or match["under"] or match["plain"])
        title = columns.normalise(document.title)
        query = heading if not title or title.casefold() in heading.casefold() else f"{title}: {heading}"
        start, end = trim(body, match.end(), following)
        yield Pair(query, *_cut(body, start, end, p.max_passage_words)) if start < end else "empty section"


def _unclosed(heading: str | None) -> str:
    """Markdown's heading without the signs that close it; in one expression with the line, that was cubic in its length."""
    return heading[:1] + heading[1:].rstrip(" \t").rstrip("#").rstrip(" \t") if heading else ""


def _inverse_cloze(document: Document, p: StructuralPairs) -> Made:
    """A sentence drawn by the document's id, out of the first passage."""
    start, end = _cut(document.body, *trim(document.body, 0, len(document.body)), p.max_passage_words)
    spans = [(start + a, start + b) for a, b in sentences(document.body[start:end])]
    fit = [s for s in spans if count_words(document.body[slice(*s)]) >= p.min_query_words]
    if len(spans) < 2 or not fit:
        yield "fewer than two sentences"
        return
    drawn = fit[columns.row_seed(p.seed, document.doc_id) % len(fit)]
    yield Pair(columns.normalise(document.body[slice(*drawn)]), start, end, drawn)


def _body_first(document: Document, p: StructuralPairs) -> Made:
    spans = sentences(document.body)
    if len(spans) < 2:
        yield "fewer than two sentences"
        return
    rest = _cut(document.body, spans[1][0], spans[-1][1], p.max_passage_words)
    yield Pair(columns.normalise(document.body[slice(*spans[0])]), *rest)


def _cut(body: str, start: int, end: int, limit: int) -> Span:
    """The longest run of whole sentences within the limit; of one sentence too long, its words."""
    total, stop = 0, start
    for a, b in sentences(body[start:end]):
        size = count_words(body[start + a : start + b])
        if total + size > limit:
            return (start, stop) if total else (start, start + words(body[start:end])[limit - 1][1])
        total, stop = total + size, start + b
    return start, stop


_MAKERS: dict[Kind, Callable[[Document, StructuralPairs], Made]] = {
    "title_body": _title_body,
    "heading_section": _heading_section,
    "inverse_cloze": _inverse_cloze,
    "body_first": _body_first,
}


def example() -> Example:
    """Four documents: with a title, with headings, without either, with its title as its body."""
    titles = ["Oak trees", "", "", "Only this"]
    bodies = [
        "Oak trees\n\nThey grow slowly. They live for a thousand years.",
        "# About birches\n\nThe birch is white and grows fast.\n\n## Habitat\n\nIn the north, near the sea.",
        "Nothing here has a heading.",
        "Only  this",
    ]
    table = pa.table({"title": pa.array(titles, text), "text": pa.array(bodies, text)})
    table = table.append_column("doc_id", columns.content_ids(titles, bodies))
    return Example(table, StructuralPairs(min_passage_words=3))
