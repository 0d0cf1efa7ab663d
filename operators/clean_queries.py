"""Clean generated queries: each rule is a counted reason, and the raw answer stays (C08)."""

import re
import unicodedata
from collections import Counter
from typing import Literal

import pyarrow as pa
from pydantic import Field

from operators.columns import content_ids, flat
from operators.contract import Example, Outcome, Params, ids, operator, outcome_of, row_id, text
from operators.generate_queries import Prompts, default_prompts, shots_of
from operators.index_texts import Texts

_WORD = re.compile(r"\w+")
_MARKUP = re.compile(r"^(text|passage|document|answer|question|query|title|claim|keywords)\s*:", re.IGNORECASE)


class CleanQueries(Params):
    """CADET: below 20 words, no long phrase of the passage."""

    min_words: int = Field(default=2, ge=1)
    max_words: int = Field(default=24, ge=1)
    max_copied: int = Field(default=8, ge=1)  # words in a row that a query may share with its passage
    max_copied_share: float = Field(default=0.8, gt=0, le=1)  # of the query's words in one such run, from four words on
    exempt: list[str] = ["title", "keywords"]  # types that may repeat the passage's words
    script: Literal["passage", "any"] = "passage"
    prompts: Prompts = Field(default_factory=default_prompts)  # whose examples must not come back


@operator("group", version="1", key="query_id",
          reads={"query_id": row_id, "query": text, "raw": text, "query_type": text, "positive_ids": ids})  # fmt: skip
def clean_queries(table: pa.Table, p: CleanQueries, *, texts: Texts) -> Outcome:
    """A bucket of queries; the first of equal ones stays, others are rejects over the whole set."""
    offsets, values = flat(table["positive_ids"])
    passages = texts.take(values).to_pylist()
    shots, reasons, kept, seen = shots_of(p.prompts), {}, [], set()
    columns = (table[c].to_pylist() for c in ("query", "raw", "query_type", "query_id"))
    for i, (query, raw, kind, key) in enumerate(zip(*columns, strict=True)):
        fault = query_fault(query, kind, " ".join(passages[offsets[i] : offsets[i + 1]]), shots, p)
        if fault is None and key in seen:
            fault = "duplicate query"
        if fault:
            reasons[i] = (fault, raw or query)
        else:
            seen.add(key)
            kept.append(i)
    cleaned = table.take(pa.array(kept, pa.int64())).drop_columns(["raw"])
    return outcome_of(table, cleaned, reasons)


def query_fault(query: str, kind: str, passage: str, shots: set[str], p: CleanQueries) -> str | None:
    """Why a query cannot be used; None where it can. The first rule that it breaks names it."""
    words = [w.lower() for w in _WORD.findall(query)]
    if not words:
        return "empty"
    if _MARKUP.match(query) or "{" in query and "}" in query:
        return "template markup"
    if " ".join(query.lower().split()) in shots:
        return "repeats a few-shot example"
    if len(words) < p.min_words and not any(ord(c) > 0x2E80 for c in query):
        return "too short"
    if len(words) > p.max_words:
        return "too long"
    if len(words) >= 6 and Counter(words).most_common(1)[0][1] > len(words) / 2 or not any(c.isalpha() for c in query):
        return "degenerate"
    if p.script == "passage" and (mine := script_of(query)) and (its := script_of(passage)) and mine != its:
        return "wrong script"
    run = longest_run(words, [w.lower() for w in _WORD.findall(passage)])
    if kind not in p.exempt and (run > p.max_copied or len(words) >= 4 and run / len(words) > p.max_copied_share):
        return "copies the passage"
    return None


def longest_run(query: list[str], passage: list[str]) -> int:
    """The most words in a row that stand in both."""
    best, before = 0, [0] * (len(passage) + 1)
    for word in query:
        now = [0] * (len(passage) + 1)
        for j, other in enumerate(passage, 1):
            if word == other:
                now[j] = before[j - 1] + 1
                best = max(best, now[j])
        before = now
    return best


def script_of(value: str) -> str:
    """The script of most letters: LATIN, CYRILLIC, CJK, ...; empty where there is no letter."""
    names = Counter(unicodedata.name(c, "").split(" ")[0] for c in value[:2000] if c.isalpha())
    return names.most_common(1)[0][0] if names else ""


def example() -> Example:
    """A good query, a copy of its passage, an empty one, and the good one again."""
    from operators.index_texts import IndexTexts, index_texts

    passage = "Ice melts above zero degrees Celsius when the air is still."
    one = content_ids([""], [passage])
    fold = index_texts(IndexTexts())
    fold.add(pa.table({"passage_id": one, "title": pa.array([""], text), "passage": pa.array([passage], text)}), 0)
    queries = ["when does ice melt", passage, "", "when does ice melt"]
    table = pa.table({
        "query_id": content_ids(queries, [""] * 4), "query": pa.array(queries, text), "raw": pa.array(queries, text),
        "query_type": pa.array(["question"] * 4, text), "positive_ids": pa.array([[one[0].as_py()]] * 4, ids),
    })  # fmt: skip
    return Example(table, CleanQueries(), {"texts": fold.finish()})
