"""Write the shards of a collection, by position: documents, and what belongs to them, in the columns that readers look for.

`read_corpus` reads what ``rows: corpus`` publishes, `read_pairs` the pairs, `read_qrels` the qrels; each folder is a path.
"""

from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import ROW, Columns, Example, Params, operator, row_id, text

Rows = Literal["corpus", "pairs", "qrels", "ids"]
# Of what is published: a column, the column that it is made of, and its type.
_TEXT = {
    "corpus": {"id": "source_id", "title": "title", "text": "passage", "lang": "lang", "source": "source", "licence": "licence"},
    "pairs": {
        "query": "query", "title": "title", "positive": "passage", "instruction": "instruction", "query_type": "query_type",
        "source": "source", "licence": "licence",
    },
    "qrels": {"query_id": "query_source_id", "corpus_id": "corpus_source_id"},
    "ids": {"id": "source_id", "source": "source", "representative": "representative"},
}  # fmt: skip
_IDS = {
    "corpus": {"doc_id": "passage_id"}, "pairs": {"query_id": "query_id", "passage_id": "passage_id"}, "qrels": {},
    "ids": {"doc_id": "passage_id", "class_id": "class_id"},
}  # fmt: skip


class WriteCollection(Params):
    """What the rows are, how many a shard."""

    rows: Rows = "corpus"
    shard_rows: int = Field(default=16384, ge=1, description="of positions, which may have gaps")
    lang: str = Field(default="lang", min_length=1, description="the column of a document's language")


def _made_of(p: WriteCollection) -> dict[str, tuple[str, pa.DataType]]:
    told: dict[str, tuple[str, pa.DataType]] = {name: (of, text) for name, of in _TEXT[p.rows].items()}
    if p.rows == "corpus":
        told["lang"] = (p.lang, text)
    if p.rows == "qrels":
        told["score"] = ("relevance", pa.int32())
    return told | {name: (of, row_id) for name, of in _IDS[p.rows].items()}


def _reads(p: WriteCollection) -> Columns:
    return {**{of: kind for of, kind in _made_of(p).values()}, "position": pa.int64()}


def _writes(p: WriteCollection) -> Columns:
    return {name: kind for name, (_, kind) in _made_of(p).items()}


def _check(p: WriteCollection, using: Any) -> list[str]:
    return ["lang does nothing where rows is not corpus; leave it out"] if p.rows != "corpus" and p.lang != "lang" else []


@operator("group", version="1", reads=_reads, writes=_writes, key="position", width=lambda p: p.shard_rows, rows="same",
          publishes=True, shard=lambda p: p.rows, closed=True, check=_check)  # fmt: skip
def write_collection(table: pa.Table, p: WriteCollection) -> pa.Table:
    """One shard, sorted by position; rows of one position by what they say."""
    made = {name: table[of] for name, (of, _) in _made_of(p).items()}
    wide = pa.table(made).append_column("position", table["position"])
    if ROW in table.column_names:
        wide = columns.put(wide, ROW, table[ROW])
    tied = [name for name in _writes(p) if name != "text"]
    wide = wide.sort_by([(name, "ascending") for name in ("position", *tied)])
    return wide.drop_columns(["position"])


def example() -> Example:
    """Three documents."""
    said = ["An oak.", "A birch.", "An elm."]
    table = pa.table({
        "passage_id": columns.content_ids([""] * 3, said), "source_id": pa.array(["1", "2", "3"], text),
        "title": pa.array(["", "Birch", ""], text), "passage": pa.array(said, text), "lang": pa.array(["en"] * 3, text),
        "source": pa.array(["web"] * 3, text), "licence": pa.array(["CC0-1.0"] * 3, text),
        "position": pa.array([0, 1, 33], pa.int64()),
    })  # fmt: skip
    return Example(table, WriteCollection())
