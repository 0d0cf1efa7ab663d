"""Write the shards of a training set in batch order; here the texts join, by id."""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.columns import content_ids, flat, lists, put
from operators.contract import ROW, Columns, Example, InputError, Params, ids, operator, row_id, score, scores, text, texts
from operators.index_texts import Texts

CHARACTERS = 1 << 28  # a chunk of texts: UTF-8 takes at most four times that, a string array 2 GiB
ORDER = (
    "position", "batch", "query_id", "query", "query_type", "instruction", "positives", "negatives", "positive_scores",
    "negative_scores", "positive_ids", "negative_ids", "masked_ids", "weight", "source", "licence", "generator", "cluster",
    "stage", "epoch", "rank",
)  # fmt: skip
TEXTS = ("query", "query_type", "instruction", "generator", "source", "licence")


class WriteTrainingSet(Params):
    """How many rows a shard, and what the rows carry."""

    shard_rows: int = Field(default=65536, ge=1)
    negatives: bool = True
    scores: bool = True
    masks: bool = Field(default=False, description="carry masked_ids, of mask_negatives")
    weights: bool = Field(default=False, description="carry weight, of weigh_difficulty")
    schedule: bool = Field(default=False, description="carry stage, epoch and rank, of assign_batches; a shard is of one rank")


def _reads(p: WriteTrainingSet) -> Columns:
    negative = {"negative_ids": ids, **({"negative_scores": scores} if p.scores else {})} if p.negatives else {}
    return {
        "query_id": row_id, **dict.fromkeys(TEXTS, text), "positive_ids": ids,
        **({"positive_scores": scores} if p.scores else {}), **negative,
        **({"masked_ids": ids} if p.masks else {}), **({"weight": score} if p.weights else {}),
        "cluster": pa.int32(), "batch": pa.int64(), "position": pa.int64(),
        **(dict.fromkeys(("stage", "epoch", "rank"), pa.int32()) if p.schedule else {}),
    }  # fmt: skip


def _writes(p: WriteTrainingSet) -> Columns:
    columns = {**_reads(p), "positives": texts, **({"negatives": texts} if p.negatives else {})}
    return {name: columns[name] for name in ORDER if name in columns}


@operator("group", version="2", reads=_reads, writes=_writes, key="position", width=lambda p: p.shard_rows, rows="same",
          publishes=True, closed=True)  # fmt: skip
def write_training_set(table: pa.Table, p: WriteTrainingSet, *, texts: Texts) -> pa.Table:
    """One shard, sorted by its place in batch order, with ``positives`` and ``negatives`` as texts."""
    if p.schedule:
        _one_rank_a_shard(table, p)
    for name, source in (("positives", "positive_ids"), *((("negatives", "negative_ids"),) if p.negatives else ())):
        table = put(table, name, _joined(table[source], texts))
    return table.select([*_writes(p), *(c for c in table.column_names if c == ROW)])


def _one_rank_a_shard(table: pa.Table, p: WriteTrainingSet) -> None:
    shard, rank = table["position"].to_numpy() // p.shard_rows, table["rank"].to_numpy()
    if len(set(zip(shard.tolist(), rank.tolist(), strict=True))) > len(np.unique(shard)):
        told = f"shard_rows is {p.shard_rows}, and a shard of so many rows has rows of several ranks"
        raise InputError(f"write_training_set: {told}; give compose_batches, which dealt them out, the same shard_rows")


def _joined(column: pa.ChunkedArray, known: Texts) -> pa.ChunkedArray:
    """The texts of a list column of ids, in chunks that a string array's 32-bit offsets can address."""
    offsets, values = flat(column)
    ends = np.concatenate([[0], np.cumsum(known.lengths(values).astype(np.int64))])[offsets]
    cuts = [0]
    while cuts[-1] < len(column):  # a row at least, else as many as stay below the limit
        cuts.append(max(cuts[-1] + 1, int(np.searchsorted(ends, ends[cuts[-1]] + CHARACTERS, side="right")) - 1))
    parts = []
    for a, b in zip(cuts, cuts[1:], strict=False):
        inner = values.slice(offsets[a], offsets[b] - offsets[a])
        parts.append(lists(offsets[a : b + 1] - offsets[a], known.take(inner).cast(text)))
    return pa.chunked_array(parts, texts)


def example() -> Example:
    """Two rows."""
    from operators.index_texts import IndexTexts, index_texts

    names = sorted(content_ids(["", "", ""], list("xyz")).to_pylist())
    fold = index_texts(IndexTexts())
    fold.add(pa.table({"passage_id": pa.array(names, row_id), "title": pa.array([""] * 3, text),
                       "passage": pa.array(list("xyz"), text)}), 0)  # fmt: skip
    table = pa.table({
        "query_id": content_ids(["a", "b"]), **{c: pa.array(["t", "u"], text) for c in TEXTS},
        "positive_ids": pa.array([[names[0]], [names[1]]], ids), "positive_scores": pa.array([[0.9], [0.8]], scores),
        "negative_ids": pa.array([[names[1], names[2]], []], ids), "negative_scores": pa.array([[0.3, 0.2], []], scores),
        "cluster": pa.array([0, 1], pa.int32()), "batch": pa.array([0, 0], pa.int64()), "position": pa.array([0, 1], pa.int64()),
    })  # fmt: skip
    return Example(table, WriteTrainingSet(), {"texts": fold.finish()})
