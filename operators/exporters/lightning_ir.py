"""lightning-ir: runs as parquet, a line a query and document, with texts, ranks, scores and relevance."""

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.columns import flat, hexed
from operators.content import parents
from operators.contract import text
from operators.exporters.collection import queries
from operators.exporters.examples import Examples
from operators.exporters.files import Sink
from operators.exporters.lists import beside, both
from operators.exporters.options import Count, Exporter, Rendered


class LightningIr(Rendered):
    """A run is held in memory whole, so it is cut by queries."""

    least: ClassVar[int] = 1
    positives: Literal["first", "all"] = Field("all", description="explode is not for it: a run has a query once")
    negatives: Count = Field("all", description="all, most or a number; the trainer drops queries with fewer than sample_size")
    shard_queries: int = Field(10_000, ge=1, description="queries a run")


def write(examples: Examples, p: LightningIr, sink: Sink) -> None:
    """``runs/run-00000.parquet`` and so on: ranks by score, or positives first where no scores are asked for."""
    done = 0
    for table in examples.tables():
        while len(table):
            number, room = done // p.shard_queries, p.shard_queries - done % p.shard_queries
            made = _lines(table.slice(0, room), p)
            sink.parquet(f"runs/run-{number:05d}.parquet", made.schema).write(made)
            done += min(room, len(table))
            table = table.slice(room)
            if not done % p.shard_queries:
                sink.close(f"runs/run-{number:05d}.parquet")


def _lines(table: pa.Table, p: LightningIr) -> pa.Table:
    offsets, ids = both(table, "_ids")
    row = parents(offsets)
    relevance = flat(beside(table, "labels"))[1].to_numpy().astype(np.int32)
    score = flat(beside(table, "scores"))[1].to_numpy() if p.scores else relevance.astype(np.float32)
    order = np.lexsort((-score, row))  # stable: of equals the earlier
    rank = np.arange(len(row)) - offsets[row[order]] + 1  # rows stay together, so this counts within each
    said = pa.array(queries(table, p.template if p.prompts == "text" else None), text)
    made = {
        "query_id": hexed(table["query_id"]).take(pa.array(row)), "doc_id": hexed(ids), "score": pa.array(score),
        "query": said.take(pa.array(row)), "text": both(table, "s")[1], "relevance": pa.array(relevance),
    }  # fmt: skip
    whole = pa.table(made).take(pa.array(order))
    return whole.add_column(2, "rank", pa.array(rank.astype(np.int32)))


def usage(p: LightningIr) -> str:
    """How to load it."""
    targets = "score" if p.scores else "relevance"
    return f"""For lightning-ir, whose data module takes several of them, a file each:
`RunDataset("runs/run-00000.parquet", depth=…, sample_size=…, targets="{targets}")`.
"""


EXPORTER = Exporter("runs as parquet, with texts, ranks, scores and relevance", LightningIr, write, usage)
