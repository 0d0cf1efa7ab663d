"""Keep the queries that a model wrote well (the output contract of E5-mistral, CADET): each rule rejects by name."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Example, Outcome, Params, ids, join, operator, reject, row_id, text
from operators.index_texts import IndexTexts, Texts, TextsFold
from operators.prompt import Prompt, PromptFile, default_prompts

# Scripts written without spaces: each of their characters is a word of its own, and two count as one.
_DENSE = r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
_WORD = re.compile(rf"{_DENSE}|(?:(?!{_DENSE})\w)+")
_DENSE_WORD = re.compile(_DENSE)
_JAPANESE = {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HALFWIDTH", "IDEOGRAPHIC"}
_ALIKE = 0.75  # share of words two texts have in common, from which on one repeats the other


class CleanQueries(Params):
    """What a good query is."""

    min_words: int = Field(default=2, ge=1)
    max_words: int = Field(default=32, ge=1)
    max_copied: float = Field(default=0.6, ge=0, le=1, description="share of the query that may stand in the passage in one run")
    min_copied: int = Field(default=5, ge=2, description="shorter runs of words are no copies")
    loose_types: tuple[str, ...] = Field(
        default=("keywords", "title"), description="types that may be one word, and copy runs up to twice as long"
    )
    allow_scripts: Literal["passage", "any"] = Field(default="passage", description="passage: that of the query's passage")
    prompts: dict[str, PromptFile] = Field(default_factory=default_prompts, description="as of the step that wrote the queries")


@operator(
    "group", version="2", key="query_id", rows="same",
    reads={"query_id": row_id, "query": text, "query_type": text, "positive_ids": ids, "raw": text, "fault": text},
)  # fmt: skip
def clean_queries(table: pa.Table, p: CleanQueries, *, texts: Texts) -> Outcome:
    """Queries that pass every rule, the first of each id; the others by the first rule that they break."""
    kept_id: bytes | None = None
    outcomes = [Outcome(table.slice(0, 0))]
    for part in columns.slices(table):
        passages = _passages(part, texts)
        queries, raw, keys = (part[c].to_pylist() for c in ("query", "raw", "query_id"))
        told = part["fault"].to_pylist()
        reasons: list[str] = []
        values = list(raw)
        for i, (query, kind) in enumerate(zip(queries, part["query_type"].to_pylist(), strict=True)):
            reason = told[i] or fault(query, kind, passages[i], p)
            if not reason and keys[i] == kept_id:
                reason, values[i] = "duplicate query", query
            kept_id = kept_id if reason else keys[i]
            reasons.append(reason)
        outcomes.append(reject(part, np.array([bool(r) for r in reasons]), reasons, values))
    return join(outcomes)


def fault(query: str, kind: str, passages: Sequence[str], p: CleanQueries) -> str:
    """The first rule that a query breaks; nothing, if it is good."""
    words = _words(query)
    loose = kind in p.loose_types
    count = _count(words)
    if not query.strip():
        return "empty"
    if _degenerate(query, words, p):
        return "degenerate"
    if count < (1 if loose else p.min_words):
        return "too short"
    if count > p.max_words:
        return "too long"
    if any(_alike(words, example) for example in _examples(tuple(p.prompts.values()))):
        return "repeats a few-shot example"
    least = max(p.min_copied * (2 if loose else 1), floor(p.max_copied * len(words)) + 1)
    if any(_shares_run(words, _words(passage), least) for passage in passages):
        return "copies the passage"
    if p.allow_scripts == "passage" and passages and not _same_script(query, passages):
        return "wrong script"
    return ""


def _passages(part: pa.Table, texts: Texts) -> list[list[str]]:
    """The texts of each row's positives."""
    offsets, keys = columns.flat(part["positive_ids"])
    found = texts.take(keys).to_pylist() if len(keys) else []
    return [found[a:b] for a, b in zip(offsets, offsets[1:], strict=False)]


def _words(value: str) -> list[str]:
    return _WORD.findall(value.casefold())


def _count(words: Sequence[str]) -> int:
    dense = sum(1 for w in words if _DENSE_WORD.fullmatch(w))
    return len(words) - dense + ceil(dense / 2)


def _degenerate(query: str, words: list[str], p: CleanQueries) -> bool:
    """No letters, broken bytes, the template's labels, or words that go round in a loop."""
    if not any(c.isalpha() for c in query) or "\ufffd" in query:
        return True
    if any(marker in query for prompt in p.prompts.values() for marker in prompt.markers):
        return True
    loops = (words[i : i + n] * 3 == words[i : i + 3 * n] for n in range(1, 9) for i in range(len(words) - 3 * n + 1))
    return any(loops) or (_count(words) >= 8 and len(set(words)) * 2 <= len(words))


def _alike(words: Sequence[str], example: frozenset[str]) -> bool:
    mine = set(words)
    return len(mine & example) >= _ALIKE * len(mine | example) if example else False


@lru_cache(maxsize=64)
def _examples(prompts: tuple[Prompt, ...]) -> list[frozenset[str]]:
    return [frozenset(_words(e)) for prompt in prompts for e in prompt.examples]


def _shares_run(words: Sequence[str], others: Sequence[str], least: int) -> bool:
    """Whether ``least`` words of the query stand in the passage in the same order, nothing between."""
    if len(words) < least:
        return False
    whole = f" {' '.join(others)} "
    return any(f" {' '.join(words[i : i + least])} " in whole for i in range(len(words) - least + 1))


@lru_cache(maxsize=65536)
def _script(letter: str) -> str:
    first = unicodedata.name(letter, "UNKNOWN").split(" ")[0]
    return "CJK" if first in _JAPANESE else "LATIN" if first == "FULLWIDTH" else first


def _scripts(value: str) -> Counter[str]:
    return Counter(_script(c) for c in value if c.isalpha())


def _same_script(query: str, passages: Sequence[str]) -> bool:
    """Whether half of the query's letters are in the script that most letters of its passages are in."""
    theirs, mine = _scripts("".join(passages)), _scripts(query)
    if not theirs:
        return True
    main = min(theirs, key=lambda s: (-theirs[s], s))
    return mine[main] * 2 >= sum(mine.values())


def example() -> Example:
    """Five answers on two passages, sorted by their ids: two are good, one comes twice."""
    words = ["Iron rusts in rain because water and oxygen react with it.", "Owls hunt at night and hear a mouse below the snow."]
    keys = columns.content_ids(["", ""], words)
    fold = TextsFold(IndexTexts())
    passages = pa.table({"passage_id": keys, "title": pa.array(["", ""], text), "passage": pa.array(words, text)})
    fold.add(passages.sort_by("passage_id"), 0)
    queries = ["why does iron rust", "", "why does iron rust", "iron rusts in rain because water", "how owls find mice"]
    rows = {
        "query": pa.array(queries, text), "query_id": columns.content_ids(queries, [""] * 5),
        "query_type": pa.array(["question"] * 5, text), "raw": pa.array([f' "{q}"' for q in queries], text),
        "positive_ids": pa.array([[keys[k].as_py()] for k in (0, 0, 0, 0, 1)], ids), "fault": pa.array([""] * 5, text),
    }  # fmt: skip
    return Example(pa.table(rows).sort_by("query_id"), CleanQueries(), {"texts": fold.finish()})
