"""Read records as structures, ``field: value; field: value``, which a sentence is then written of.

KELM (arXiv:2010.12688) reads triples of a knowledge base; a record is what several triples of one subject say.
"""

import errno
import hashlib
import html.entities
import http
import json
import mimetypes
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from operators import formats, rows
from operators.columns import content_ids, normalise
from operators.contract import InputError, Item, Outcome, Params, operator, row_id, text
from operators.read_corpus import source_of


class ReadStructures(Params):
    """Where the records are. ``python_tables``: HTTP status codes, error numbers, file types of Python's library."""

    path: str = Field(description="a file, a folder or a glob of parquet, jsonl, csv or tsv")
    format: Literal["auto", "parquet", "jsonl", "csv", "tsv", "python_tables"] = "auto"
    fields: tuple[str, ...] = Field(default=(), description="the fields that are told, in this order; all where not said")
    source: str = ""
    licence: str = ""
    max_chars: int = Field(default=2048, ge=1, description="of a structure; a longer one is a reject")


_WRITES = {"doc_id": row_id, "source": text, "source_id": text, "licence": text, "structure": text}


def _items(p: ReadStructures) -> list[Item]:
    if p.format == "python_tables":
        said = json.dumps(list(python_tables()))
        return [Item("python-tables", f"{sys.version_info[:2]}-{hashlib.sha256(said.encode()).hexdigest()}")]
    return formats.file_items(p.path, p.format)


def _check(p: ReadStructures, using: Mapping[str, Any]) -> list[str]:
    if p.format == "python_tables":
        return []
    try:
        first = formats.files_of(p.path, p.format)[0]
        have = formats.first_columns(first, p.format)
    except InputError as error:
        return [str(error)]
    return [
        f"{first} has no field {name!r}; it has {', '.join(have)}" for name in p.fields if have is not None and name not in have
    ]  # fmt: skip


@operator("source", version="1", key="doc_id", items=_items, writes=_WRITES, check=_check)
def read_structures(item: Item, p: ReadStructures) -> Iterator[Outcome]:
    """One row a record; lists are told with commas, fields without a value not at all."""
    if p.format == "python_tables":
        records = list(python_tables())
        names = list(dict.fromkeys(name for record in records for name in record))
        batch = formats.Batch({n: [r.get(n) for r in records] for n in names}, list(range(1, len(records) + 1)))
        yield _outcome(p, batch, item)
        return
    for batch in formats.read(Path(item.name), p.format):
        yield _outcome(p, batch, item)


def _outcome(p: ReadStructures, batch: formats.Batch, item: Item) -> Outcome:
    bad, kept, unnamed = list(batch.bad), [], _names(item, p)
    names = [n for n in p.fields or batch.columns if n in batch.columns]
    for i, number in enumerate(batch.numbers):
        said = structure_of({name: batch.columns[name][i] for name in names})
        fault = rows.text_fault(said, "structure", p.max_chars) or (None if said else ("empty record", ""))
        if fault:
            bad.append((number, *fault))
        else:
            kept.append((unnamed(number), said))
    ids, told = [one for one, _ in kept], [one for _, one in kept]
    values = [content_ids([""] * len(ids), told), [source_of(p)] * len(ids), ids, [p.licence] * len(ids), told]
    table = pa.table([pa.array(v, t) for v, t in zip(values, _WRITES.values(), strict=True)], names=list(_WRITES))
    return Outcome(table, rows.bad_table(bad), seen=len(batch.numbers) + len(batch.bad))


def _names(item: Item, p: ReadStructures) -> Callable[[int], str]:
    if p.format == "python_tables":
        return lambda number: f"{item.name}:{number}"
    return formats.record_names(item.name, p.path, p.format)


def structure_of(record: Mapping[str, Any]) -> str:
    """``field: value; field: value`` of what has a value; a semicolon in a value would end it, and becomes a comma."""
    told = []
    for name, value in record.items():
        said = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
        if said := normalise(said.replace(";", ",")):
            told.append(f"{normalise(name.replace('_', ' ')).replace(':', '')}: {said}")
    return "; ".join(told)


def python_tables() -> Iterator[dict[str, str]]:
    """Records that every machine has: HTTP status codes, error numbers, file types, named characters."""
    for status in http.HTTPStatus:
        yield {"HTTP status code": str(status.value), "phrase": status.phrase, "description": status.description}
    for number, name in sorted(errno.errorcode.items()):
        yield {"error number": str(number), "symbol": name, "message": os.strerror(number)}
    for suffix, kind in sorted(mimetypes.MimeTypes().types_map[True].items()):  # not of the system's files
        yield {"file name ending": suffix, "media type": kind}
    for name, point in sorted(html.entities.name2codepoint.items()):
        yield {"HTML entity": f"&{name},", "code point": f"{point}", "character": chr(point)}


def example(folder: Path) -> ReadStructures:
    """Two records, one without a value, and a line that is no JSON."""
    lines = [{"name": "Rhine", "length_km": 1230, "mouth": None}, {"name": None, "length_km": None}]
    (folder / "rivers.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines) + "{oops\n")
    return ReadStructures(path=str(folder / "rivers.jsonl"))
