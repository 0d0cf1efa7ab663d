"""Read the relations of a corpus: an edge list of two ids a record, such as citations, links, replies or qrels."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from operators import rows
from operators.columns import content_ids
from operators.contract import Item, Outcome, Params, operator, row_id, text
from operators.read_corpus import batches_of, check_file, items_of, source_of

USUAL = {
    "from": ("from", "from_id", "source_id", "citing", "query_id", "query-id", "src"),
    "to": ("to", "to_id", "target_id", "cited", "corpus_id", "corpus-id", "dst"),
    "relation": ("relation", "kind", "type", "edge_type"),
}  # fmt: skip
WRITES = {
    "pair_id": row_id, "from_source_id": text, "to_source_id": text, "relation": text, "source": text, "licence": text,
}  # fmt: skip


class ReadRelations(Params):
    """Where the edges are and what their columns are called."""

    path: str
    format: Literal["auto", "parquet", "jsonl", "csv", "tsv", "datasets"] = "auto"
    columns: dict[Literal["from", "to", "relation"], str] = {}
    source: str = ""
    licence: str = ""
    split: str = "train"
    two_corpora: bool = Field(default=False, description="from and to are ids of two corpora: one at both ends is no loop")


def _items(p: ReadRelations) -> list[Item]:
    return items_of(p, "relations")


def _check(p: ReadRelations, using: Mapping[str, Any]) -> list[str]:
    return check_file(p, "relations", {name: USUAL[name] for name in ("from", "to")})


@operator("source", version="1", key="pair_id", items=_items, writes=WRITES, check=_check)
def read_relations(item: Item, p: ReadRelations) -> Iterator[Outcome]:
    """One row an edge; a loop is a reject, but of two corpora.

    ``pair_id`` is of both ends and the relation: `drop_duplicates` by it.
    """
    for batch, names in rows.named(batches_of(item, p, "relations"), USUAL, p.columns, ("from", "to"), item.name):
        count, bad = len(batch.numbers), list(batch.bad)
        kept: list[tuple[str, str, str]] = []
        fields = [rows.column(batch.columns, names[c], count) for c in ("from", "to", "relation")]
        for number, one in zip(batch.numbers, zip(*fields, strict=True), strict=True):
            edge = rows.as_id(one[0]), rows.as_id(one[1]), rows.as_id(one[2])
            if fault := _fault(p, *edge):
                bad.append((number, *fault))
            else:
                kept.append(edge)
        begins, ends, kinds = (list(c) for c in zip(*kept, strict=True)) if kept else ([], [], [])
        n = len(kept)
        values = [content_ids(begins, ends, kinds), begins, ends, kinds, [source_of(p)] * n, [p.licence] * n]
        table = pa.table([pa.array(v, t) for v, t in zip(values, WRITES.values(), strict=True)], names=list(WRITES))
        yield Outcome(table, rows.bad_table(bad), seen=count + len(batch.bad))


def _fault(p: ReadRelations, begin: str, end: str, relation: str) -> tuple[str, str] | None:
    if not begin or not end:
        return "no id at one end", f"{begin} → {end}"
    if begin == end and not p.two_corpora:
        return "a loop", begin
    return rows.id_fault(begin, "from") or rows.id_fault(end, "to") or rows.id_fault(relation, "relation")


def example(folder: Path) -> ReadRelations:
    """Four edges: a loop, and one without an end."""
    (folder / "edges.csv").write_text("from,to,kind\na,b,cites\na,c,cites\nb,b,cites\nc,,cites\n")
    return ReadRelations(path=str(folder / "edges.csv"))
