"""Read pairs that exist already: a query and one or several positives a record."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from operators import formats, rows
from operators.columns import content_ids
from operators.contract import Item, Outcome, Params, ids, operator, row_id, text
from operators.read_corpus import batches_of, check_file, items_of, names_of, source_of

USUAL = {
    "query": ("query", "anchor", "question", "sentence1"),
    "positive": ("positive", "positives", "pos", "passage", "answer", "document"),
    "title": ("title",), "instruction": ("instruction", "prompt"), "id": ("_id", "id", "query_id", "source_id"),
    "source": ("source",), "licence": ("licence", "license"),
}  # fmt: skip


class ReadPairs(Params):
    """Where the pairs are and what their columns are called."""

    path: str
    format: Literal["auto", "parquet", "jsonl", "csv", "tsv", "python", "datasets"] = "auto"
    columns: dict[Literal["query", "positive", "title", "instruction", "id", "source", "licence"], str] = {}
    source: str = ""  # default: the row's own, else the file's or folder's name
    licence: str = ""  # default: the row's own
    instruction: str = ""
    query_type: str = ""
    split: str = "train"
    max_chars: int = 20_000_000


TEXTS = ("query", "query_type", "instruction", "generator", "source", "source_id", "licence", "title", "passage")
WRITES = {"query_id": row_id, **dict.fromkeys(TEXTS, text), "passage_id": row_id, "positive_ids": ids}


def _items(p: ReadPairs) -> list[Item]:
    return items_of(p, "pairs")


def _check(p: ReadPairs, using: Mapping[str, Any]) -> list[str]:
    return check_file(p, "pairs", {"query": USUAL["query"], "positive": USUAL["positive"]})


@operator("source", version="2", key="query_id", items=_items, writes=WRITES, check=_check)
def read_pairs(item: Item, p: ReadPairs) -> Iterator[Outcome]:
    """One row a (query, positive); a record with a list of positives makes several."""
    batches = rows.named(batches_of(item, p, "pairs"), USUAL, p.columns, ("query", "positive"), item.name)
    for batch, names in batches:
        count, bad, kept, unnamed = len(batch.numbers), list(batch.bad), [], names_of(item, p, "pairs")
        columns = [rows.column(batch.columns, names[c], count) for c in USUAL]
        for number, record in zip(batch.numbers, zip(*columns, strict=True), strict=True):
            found, faults = _pairs(p, number, record, unnamed)
            kept += found
            bad += faults
        yield Outcome(_table(p, kept), rows.bad_table(bad), seen=len(kept) + len(bad))


def _pairs(p: ReadPairs, number: int, record: Any, unnamed: Callable[[int], str]) -> tuple[list[Any], list[formats.Bad]]:
    query, positives, title, instruction, own, source, licence = record
    faults: list[formats.Bad] = []
    found = []
    words = (("id", own), ("instruction", instruction), ("title", title), ("source", source), ("licence", licence))
    own_fault = next((fault for name, value in words if (fault := rows.id_fault(value, name))), None)
    for positive in positives if isinstance(positives, list) else [positives]:
        fault = own_fault
        for name, value in (("query", query), ("positive", positive)):
            fault = fault or rows.text_fault(value, name, p.max_chars)
            if fault is None and not (value or "").strip():
                fault = (f"empty {name}", rows.as_id(own))
        if fault:
            faults.append((number, *fault))
        else:
            name = rows.as_id(own) or unnamed(number)
            said = (p.source or rows.as_id(source) or source_of(p), p.licence or rows.as_id(licence))
            found.append((query, rows.as_id(instruction) or p.instruction, name, rows.as_id(title), positive, *said))
    return found, faults or ([] if found else [(number, "no positive", str(query)[:200])])


def _table(p: ReadPairs, kept: list[Any]) -> pa.Table:
    queries, instructions, names, titles, passages, sources, licences = (
        (list(c) for c in zip(*kept, strict=True)) if kept else ([], [], [], [], [], [], [])
    )
    n = len(kept)
    passage_ids = content_ids(titles, passages)
    values = [
        content_ids(queries, instructions), queries, [p.query_type] * n, instructions, [""] * n, sources, names,
        licences, titles, passages, passage_ids, [[i] for i in passage_ids.to_pylist()],
    ]  # fmt: skip
    return pa.table([pa.array(v, t) for v, t in zip(values, WRITES.values(), strict=True)], names=list(WRITES))


def example(folder: Path) -> ReadPairs:
    """Two records, one with two positives, one without any."""
    lines = [{"query": "what melts", "positive": ["Ice melts.", "Snow melts."]}, {"query": "what rusts", "positive": []}]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return ReadPairs(path=str(folder / "pairs.jsonl"))
