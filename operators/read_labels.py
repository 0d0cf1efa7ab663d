"""Read texts that have a label each: classification and clustering sets."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from operators import rows
from operators.columns import content_ids, normalise
from operators.contract import Item, Outcome, Params, operator, row_id, text
from operators.read_corpus import batches_of, check_file, items_of, names_of, source_of

USUAL = {
    "text": ("text", "sentence", "passage", "query", "content", "body"),
    "label": ("label_text", "label", "class", "category", "intent", "topic", "cluster"), "id": ("_id", "id", "source_id"),
}  # fmt: skip
WRITES = {
    "passage_id": row_id, "source": text, "source_id": text, "title": text, "passage": text, "class_id": text, "licence": text,
}  # fmt: skip


class ReadLabels(Params):
    """Where the texts are and what their columns are called."""

    path: str
    format: Literal["auto", "parquet", "jsonl", "csv", "tsv", "datasets"] = "auto"
    columns: dict[Literal["text", "label", "id"], str] = {}
    names: dict[str, str] = Field(default={}, description="label as it is in the file: what it is called; others stay")
    source: str = ""
    licence: str = ""
    split: str = "train"
    max_chars: int = Field(default=20_000_000, ge=1)


def _items(p: ReadLabels) -> list[Item]:
    return items_of(p, "labels")


def _check(p: ReadLabels, using: Mapping[str, Any]) -> list[str]:
    return check_file(p, "labels", {"text": USUAL["text"], "label": USUAL["label"]})


@operator("source", version="2", key="passage_id", items=_items, writes=WRITES, check=_check)
def read_labels(item: Item, p: ReadLabels) -> Iterator[Outcome]:
    """One row a text, its label as ``class_id``, normalised as texts are for ids; a record without either is a reject."""
    for batch, names in rows.named(batches_of(item, p, "labels"), USUAL, p.columns, ("text", "label"), item.name):
        count, bad, unnamed = len(batch.numbers), list(batch.bad), names_of(item, p, "labels")
        kept: list[tuple[str, str, str]] = []
        fields = [rows.column(batch.columns, names[c], count) for c in ("text", "label", "id")]
        for number, (said, label, own) in zip(batch.numbers, zip(*fields, strict=True), strict=True):
            if fault := _fault(p, said, label, own):
                bad.append((number, *fault))
            else:
                told = normalise(rows.as_id(label))
                kept.append((rows.as_id(own) or unnamed(number), said, normalise(p.names.get(told, told))))
        owns, texts, labels = (list(c) for c in zip(*kept, strict=True)) if kept else ([], [], [])
        n = len(kept)
        values = [content_ids([""] * n, texts), [source_of(p)] * n, owns, [""] * n, texts, labels, [p.licence] * n]
        table = pa.table([pa.array(v, t) for v, t in zip(values, WRITES.values(), strict=True)], names=list(WRITES))
        yield Outcome(table, rows.bad_table(bad), seen=count + len(batch.bad))


def _fault(p: ReadLabels, said: Any, label: Any, own: Any) -> tuple[str, str] | None:
    if isinstance(label, (list, dict)):
        return "label is several, not one", repr(label)[:200]
    fault = rows.text_fault(said, "text", p.max_chars) or rows.id_fault(label, "label") or rows.id_fault(own, "id")
    if fault is None and not (said or "").strip():
        return "empty text", rows.as_id(own)
    if fault is None and not rows.as_id(label).strip():
        return "no label", rows.as_id(own) or said[:200]
    return fault


def example(folder: Path) -> ReadLabels:
    """Three texts, one without a label."""
    lines = [{"text": "iron rusts", "label": "metal"}, {"text": "owls hunt", "label": 2}, {"text": "ice melts", "label": None}]
    (folder / "labels.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return ReadLabels(path=str(folder / "labels.jsonl"), names={"2": "bird"})
