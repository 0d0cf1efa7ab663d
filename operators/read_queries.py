"""Read queries: files of most kinds, a BEIR folder's queries.jsonl, Hugging Face datasets."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from operators import rows
from operators.columns import content_ids
from operators.contract import Item, Outcome, Params, operator, row_id, text
from operators.read_corpus import batches_of, check_file, items_of, names_of, source_of

USUAL = {"id": ("_id", "id", "qid", "query_id", "source_id"), "query": ("query", "text", "question", "title"), "lang": ("lang",)}


class ReadQueries(Params):
    """Where the queries are and what their columns are called."""

    path: str
    format: Literal["auto", "parquet", "jsonl", "csv", "tsv", "beir", "datasets"] = "auto"
    columns: dict[Literal["id", "query", "lang"], str] = {}
    source: str = ""
    lang: str = ""
    instruction: str = ""
    query_type: str = ""
    split: str = "train"
    max_chars: int = 100_000


TEXTS = ("query", "query_type", "instruction", "generator", "source", "source_id", "lang")
WRITES = {"query_id": row_id, **dict.fromkeys(TEXTS, text)}


def _items(p: ReadQueries) -> list[Item]:
    return items_of(p, "queries")


def _check(p: ReadQueries, using: Mapping[str, Any]) -> list[str]:
    return check_file(p, "queries", {"query": USUAL["query"]})


@operator("source", version="1", key="query_id", items=_items, writes=WRITES, check=_check)
def read_queries(item: Item, p: ReadQueries) -> Iterator[Outcome]:
    """Queries of one file, some thousands at a time."""
    for batch, names in rows.named(batches_of(item, p, "queries"), USUAL, p.columns, ("query",), item.name):
        count, bad, unnamed = len(batch.numbers), list(batch.bad), names_of(item, p, "queries")
        kept: list[tuple[str, str, str]] = []
        values = zip(*(rows.column(batch.columns, names[c], count) for c in ("id", "query", "lang")), strict=True)
        for number, (own, query, lang) in zip(batch.numbers, values, strict=True):
            fault = rows.text_fault(query, "query", p.max_chars)
            fault = fault or rows.id_fault(own, "id") or rows.id_fault(lang, "lang")
            if fault is None and not (query or "").strip():
                fault = ("empty query", rows.as_id(own))
            if fault:
                bad.append((number, *fault))
            else:
                kept.append((rows.as_id(own) or unnamed(number), query, rows.as_id(lang) or p.lang))
        ids, queries, langs = (list(c) for c in zip(*kept, strict=True)) if kept else ([], [], [])
        n = len(ids)
        columns = [content_ids(queries, [p.instruction] * n), queries, [p.query_type] * n, [p.instruction] * n, [""] * n,
                   [source_of(p)] * n, ids, langs]  # fmt: skip
        table = pa.table([pa.array(c, t) for c, t in zip(columns, WRITES.values(), strict=True)], names=list(WRITES))
        yield Outcome(table, rows.bad_table(bad), seen=count + len(batch.bad))


def example(folder: Path) -> ReadQueries:
    """Two queries and an empty one."""
    lines = [{"_id": "1", "text": "when does ice melt"}, {"_id": "2", "text": "what rusts"}, {"_id": "3", "text": ""}]
    (folder / "queries.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return ReadQueries(path=str(folder / "queries.jsonl"))
