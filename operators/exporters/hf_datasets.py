"""Hugging Face data sets: parquet with every column that the set has, ids in hex, and a card."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from operators.columns import flat, hexed, lists, put
from operators.contract import InputError, ids, row_id, score, scores
from operators.exporters.examples import Examples, hex_lists
from operators.exporters.files import Shards, Sink
from operators.exporters.options import Count, Export, Exporter, Positives


class Everything(Export):
    """Every column of the set."""

    positives: Positives = Field("all", description="all: the list; first: the first alone; explode: a row a positive")
    negatives: Count = Field("all", description="all, most or a number")
    scores: bool = Field(True, description="false: without the scores")

    @property
    def scored(self) -> bool:
        """No row is dropped for a score that is missing or not finite: it is a null in the file."""
        return False


class HfDatasets(Everything):
    """In parquet."""

    shard_rows: int = Field(65536, ge=1, description="rows a file, at most")


def plain(table: pa.Table, p: Everything, count: int | None) -> pa.Table:
    """A table with ids in hex, without what the options leave out."""
    for name in table.column_names:
        kind = table.schema.field(name).type
        if kind == row_id:
            table = put(table, name, hexed(table[name]))
        elif kind == ids:
            table = put(table, name, hex_lists(table[name]))
        elif kind == scores:
            offsets, values = flat(table[name])
            table = put(table, name, lists(offsets, _finite(values)))
        elif kind == score:
            table = put(table, name, _finite(table[name]))
    lost = [n for n in ("negatives", "negative_ids", "negative_scores") if count == 0]
    lost += [] if p.scores else ["positive_scores", "negative_scores"]
    return table.drop_columns([name for name in dict.fromkeys(lost) if name in table.column_names])


def _finite(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """JSON has no number for the others."""
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))


def write(examples: Examples, p: HfDatasets, sink: Sink) -> None:
    """``data/train-00000.parquet`` and so on, in the set's order; where ranks share the set, a file a rank in turn, as there."""
    shards, last, block, longest, ranks = Shards(sink, "data/train-{:05d}.parquet", p.shard_rows), -1, 0, 0, set[int]()
    for table in examples.tables():
        made = plain(table, p, examples.count)
        rank = made["rank"].to_numpy() if "rank" in made.column_names else np.zeros(len(made), np.int32)
        edges = [*np.flatnonzero(np.diff(rank, prepend=-1)).tolist(), len(made)]
        for start, end in zip(edges, edges[1:], strict=False):
            if rank[start] != last:
                shards.cut()
                block = 0
            last, block = int(rank[start]), block + end - start
            longest = max(longest, block)
            ranks.add(last)
            shards.table(made.slice(start, end - start))
    if len(ranks) > 1 and longest > p.shard_rows:
        raise InputError(f"shard_rows is {p.shard_rows}, but {len(ranks)} ranks share the set in files of {longest} rows in turn;"
                         f" give {longest} or more")  # fmt: skip


def usage(p: HfDatasets) -> str:
    """How to load it."""
    return """Every column of the set, for `datasets`: `load_dataset(folder, split="train")`, or with `streaming=True`. A trainer
that takes every column for a text needs `select_columns`. `push_to_hub` keeps the card.
"""


CARRIES = frozenset({
    "position", "batch", "cluster", "masked_ids", "weight", "licence", "generator", "query_type", "stage", "epoch", "rank",
})  # fmt: skip
EXPORTER = Exporter("parquet of every column, ids in hex, with a card, for load_dataset", HfDatasets, write, usage,
                    lambda p: {"default": "data/train-*.parquet"}, CARRIES, dealt=True)  # fmt: skip
