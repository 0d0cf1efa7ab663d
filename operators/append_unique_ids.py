"""Append an id to the texts of each row, the same to its query, its positives and its negatives (Gecko, arXiv:2403.20327 §3.4).

Of a classification set the batch's other rows are often of the same label: false negatives. An id that a row's texts share
and no other row has makes them easy ones, and leaves the row's own negatives to teach.
"""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import indexed
from operators.contract import ROW, Columns, Example, Outcome, Params, ids, operator, reject, row_id, text
from operators.index_texts import Texts


class AppendUniqueIds(Params):
    """Which rows come out; a flow has the step twice, for its pairs and for the texts that they list."""

    rows: Literal["pairs", "passages"] = Field(default="pairs", description="the pairs anew, or a row each text that they list")
    negatives: bool = Field(default=True, description="whether rows have negative_ids")


_PASSAGE = {"passage_id": row_id, "title": text, "passage": text}


def _lists(p: AppendUniqueIds) -> list[str]:
    return ["positive_ids", *(["negative_ids"] if p.negatives else [])]


def _reads(p: AppendUniqueIds) -> Columns:
    asked = {"query": text, "instruction": text} if p.rows == "pairs" else {}
    return {"query_id": row_id, **asked, **dict.fromkeys(_lists(p), ids)}


def _writes(p: AppendUniqueIds) -> Columns:
    return _PASSAGE if p.rows == "passages" else {**_reads(p), **_PASSAGE}


@operator("map", version="2", reads=_reads, writes=_writes)
def append_unique_ids(table: pa.Table, p: AppendUniqueIds, *, texts: Texts) -> Outcome:
    """N rows with their M listed texts; ``passage`` is the first positive's. A title stands on a line of the text above it.

    The id is 48 bits of the query's: of a million rows two share one in one set of 560.
    """
    split = reject(table, np.diff(columns.flat(table["positive_ids"])[0]) == 0, "no positive")
    table = split.table
    marks = [one.hex()[:12] for one in table["query_id"].to_pylist()]
    said = {name: _marked(table, name, marks, texts) for name in _lists(p)}
    if p.rows == "passages":
        rows = [i for name in said for i in np.repeat(np.arange(len(table)), np.diff(said[name][0])).tolist()]
        every = [one for _, listed in said.values() for one in listed]
        order = np.argsort(rows, kind="stable")
        every = [every[i] for i in order]
        kept = table.select([ROW]) if ROW in table.column_names else table.select([])
        kept = kept.take(pa.array(np.array(rows, np.int64)[order])) if kept.num_columns else pa.table({})
        return Outcome(_put(kept, _passages(every)), split.rejects)
    queries = [f"{query} {mark}" for query, mark in zip(table["query"].to_pylist(), marks, strict=True)]
    table = columns.put(table, "query", pa.array(queries, text))
    table = columns.put(table, "query_id", columns.content_ids(queries, table["instruction"].to_pylist()))
    for name, (offsets, listed) in said.items():
        table = columns.put(table, name, columns.lists(offsets, columns.content_ids([""] * len(listed), listed)))
    offsets, listed = said["positive_ids"]
    return Outcome(_put(table, _passages([listed[i] for i in offsets[:-1]])), split.rejects)


def _marked(table: pa.Table, name: str, marks: list[str], texts: Texts) -> tuple[Any, list[str]]:
    offsets, listed = columns.flat(table[name])
    owner = np.repeat(np.arange(len(table)), np.diff(offsets)).tolist()
    return offsets, [f"{one} {marks[i]}" for one, i in zip(texts.take(listed).to_pylist(), owner, strict=True)]


def _passages(said: list[str]) -> dict[str, pa.Array]:
    empty = [""] * len(said)
    values = (columns.content_ids(empty, said), pa.array(empty, text), pa.array(said, text))
    return dict(zip(_PASSAGE, values, strict=True))


def _put(table: pa.Table, made: dict[str, pa.Array]) -> pa.Table:
    for name, values in made.items():
        table = columns.put(table, name, values)
    return table


def example() -> Example:
    """Three rows: with a positive and a negative, with two positives, without any."""
    (a, b, c), texts = indexed(["iron", "tin", "owl"])
    table = pa.table({
        "query_id": columns.content_ids(["x", "y", "z"], [""] * 3), "query": pa.array(["x", "y", "z"], text),
        "instruction": pa.array([""] * 3, text), "positive_ids": pa.array([[a], [b, a], []], ids),
        "negative_ids": pa.array([[c], [], [c]], ids),
    })  # fmt: skip
    return Example(table, AppendUniqueIds(), {"texts": texts})
