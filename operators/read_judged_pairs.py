"""Read pairs of sentences with a judgement each: similarity sets (STS) have a score, inference sets (NLI) a label."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import rows
from operators.columns import content_ids
from operators.contract import Columns, Item, Outcome, Params, operator, row_id, score, text
from operators.read_corpus import batches_of, check_file, items_of, names_of, source_of

USUAL = {
    "first": ("sentence1", "premise", "text1", "text_a", "query", "anchor"),
    "second": ("sentence2", "hypothesis", "text2", "text_b", "passage", "positive"),
    "score": ("score", "similarity_score", "similarity", "relatedness_score"), "label": ("label_text", "gold_label", "label"),
    "id": ("_id", "id", "source_id"),
}  # fmt: skip


class ReadJudgedPairs(Params):
    """Where the pairs are, what is said of them, and what their columns are called."""

    path: str
    judged: Literal["score", "label"]
    format: Literal["auto", "parquet", "jsonl", "csv", "tsv", "datasets"] = "auto"
    columns: dict[Literal["first", "second", "score", "label", "id"], str] = {}
    names: dict[str, str] = Field(default={}, description='label as it is in the file: what it is called, "0": entailment say')
    grades: dict[str, float] = Field(
        default={}, description="the file's word: its score, for losses that rank: {entailment: 2, neutral: 1, contradiction: 0}"
    )
    source: str = ""
    licence: str = ""
    instruction: str = ""
    split: str = "train"
    max_chars: int = Field(default=20_000_000, ge=1)

    @model_validator(mode="after")
    def _every_option_acts(self) -> Self:
        if self.names and self.judged == "score":
            raise ValueError("names does nothing where judged is score: leave it out")
        if self.grades and self.judged == "label":
            raise ValueError("grades does nothing where judged is label: leave it out")
        if {"score", "label"} & set(self.columns) - {self.judged}:
            raise ValueError(f"columns names a judgement that is not read; judged is {self.judged}")
        return self


_TEXTS = ("query", "query_type", "instruction", "generator", "source", "source_id", "licence", "title", "passage")


def _writes(p: ReadJudgedPairs) -> Columns:
    judged = {"score": score} if p.judged == "score" else {"label": text}
    return {"query_id": row_id, **dict.fromkeys(_TEXTS, text), "passage_id": row_id, **judged}


def _items(p: ReadJudgedPairs) -> list[Item]:
    return items_of(p, "pairs")


def _check(p: ReadJudgedPairs, using: Mapping[str, Any]) -> list[str]:
    return check_file(p, "pairs", {name: _usual(p)[name] for name in ("first", "second", p.judged)})


def _usual(p: ReadJudgedPairs) -> Mapping[str, tuple[str, ...]]:
    """With grades a score is a word, in a column that labels have."""
    return {**USUAL, "score": (*USUAL["label"], *USUAL["score"])} if p.grades else USUAL


@operator("source", version="1", key="query_id", items=_items, writes=_writes, check=_check)
def read_judged_pairs(item: Item, p: ReadJudgedPairs) -> Iterator[Outcome]:
    """One row a pair, the first sentence as ``query``, the second as ``passage``, with ``score`` or ``label``."""
    fields = ("first", "second", p.judged, "id")
    for batch, names in rows.named(batches_of(item, p, "pairs"), _usual(p), p.columns, fields[:3], item.name):
        count, bad, unnamed = len(batch.numbers), list(batch.bad), names_of(item, p, "pairs")
        kept: list[tuple[str, str, Any, str]] = []
        told = [rows.column(batch.columns, names[c], count) for c in fields]
        for number, (first, second, said, own) in zip(batch.numbers, zip(*told, strict=True), strict=True):
            fault, value = _judgement(p, said)
            fault = _fault(p, first, second, own) or fault
            if fault:
                bad.append((number, *fault))
            else:
                kept.append((first, second, value, rows.as_id(own) or unnamed(number)))
        yield Outcome(_table(p, kept), rows.bad_table(bad), seen=count + len(batch.bad))


def _fault(p: ReadJudgedPairs, first: Any, second: Any, own: Any) -> tuple[str, str] | None:
    for name, value in (("first", first), ("second", second)):
        if fault := rows.text_fault(value, name, p.max_chars):
            return fault
        if not (value or "").strip():
            return f"empty {name}", rows.as_id(own)
    return rows.id_fault(own, "id")


def _judgement(p: ReadJudgedPairs, said: Any) -> tuple[tuple[str, str] | None, Any]:
    """(fault, value) of a score or a label."""
    if said is None or said == "":
        return (f"no {p.judged}", ""), None
    if p.judged == "label":
        told = rows.as_id(said).strip()
        return rows.id_fault(said, "label"), p.names.get(told, told)
    if p.grades:
        told = rows.as_id(said).strip()
        return (None if told in p.grades else ("no grade for the score", told[:200])), p.grades.get(told)
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold is no score
            value = math.nan if "_" in str(said) else float(np.float32(float(said)))
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    return (None if math.isfinite(value) else ("score is not a number", str(said)[:200])), value


def _table(p: ReadJudgedPairs, kept: list[tuple[str, str, Any, str]]) -> pa.Table:
    queries, passages, said, owns = (list(c) for c in zip(*kept, strict=True)) if kept else ([], [], [], [])
    n = len(kept)
    told = [p.instruction] * n
    values = [
        content_ids(queries, told), queries, [""] * n, told, [""] * n, [source_of(p)] * n, owns, [p.licence] * n, [""] * n,
        passages, content_ids([""] * n, passages), said,
    ]  # fmt: skip
    return pa.table([pa.array(v, t) for v, t in zip(values, _writes(p).values(), strict=True)], names=list(_writes(p)))


def example(folder: Path) -> ReadJudgedPairs:
    """Three pairs, one without a score."""
    lines = [{"sentence1": "iron rusts", "sentence2": f"rust {i}", "score": said} for i, said in enumerate((4.5, "2", None))]
    (folder / "sts.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return ReadJudgedPairs(path=str(folder / "sts.jsonl"), judged="score")
