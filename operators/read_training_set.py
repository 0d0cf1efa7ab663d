"""Read a published training set again: its rows by id as they were composed, or the texts that they name.

What a step reads is known by the shards' checksums, so what is made of it is traced to the set.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from operators import columns, formats
from operators.contract import REJECTS, Columns, InputError, Item, Outcome, Params, ids, operator, row_id, scores, text

_BATCH = 8192
_MUST = {"query_id": row_id, "query": text, "positive_ids": ids}
_MAY = {"negative_ids": ids, "positive_scores": scores, "negative_scores": scores, "masked_ids": ids}  # empty lists where not
_PLACES = {"batch": pa.int64(), "position": pa.int64(), "stage": pa.int32()}  # without batches: one of all rows
_TEXTS = {"positive_ids": "positives", "negative_ids": "negatives"}


class ReadTrainingSet(Params):
    """The folder of one version of a set, and what of it."""

    path: str = Field(description="a folder with manifest.json and the shards that it names")
    rows: Literal["examples", "passages"] = Field(default="examples", description="passages: every text once a row that names it")


def _writes(p: ReadTrainingSet) -> Columns:
    return {**_MUST, **_MAY, **_PLACES} if p.rows == "examples" else {"passage_id": row_id, "title": text, "passage": text}


def shards(path: str) -> list[Path]:
    """The shards of a training set; `InputError` where the folder is no whole one."""
    folder = Path(path)
    try:
        said = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        names = [folder / one["file"] for one in said["shards"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: no published set; give the folder of one version, with its manifest.json") from error
    if lost := [p for p in names if not p.is_file()]:
        raise InputError(f"{lost[0]}: the set's manifest names this file, which is missing; run its flow again")
    if not names:
        raise InputError(f"{path}: the set has no rows")
    return names


def _check(p: ReadTrainingSet, using: Mapping[str, Any]) -> list[str]:
    try:
        have = pq.read_schema(shards(p.path)[0])
    except (InputError, pa.ArrowInvalid) as error:
        return [str(error)]
    lacks = [c for c in (*_MUST, "positives") if c not in have.names]
    return [f"{p.path}: it has no {', '.join(lacks)}; give a training set, as write_training_set makes it"] if lacks else []


def _key(p: ReadTrainingSet) -> str:
    return "query_id" if p.rows == "examples" else "passage_id"


def _items(p: ReadTrainingSet) -> list[Item]:
    return [item for shard in shards(p.path) for item in formats.file_items(str(shard), "parquet")]


@operator("source", version="1", key=_key, items=_items, writes=_writes, check=_check)
def read_training_set(item: Item, p: ReadTrainingSet) -> Iterator[Outcome]:
    """Rows of one shard; columns that the set does not carry are empty lists, or 0."""
    with pq.ParquetFile(item.name) as file:
        for batch in file.iter_batches(_BATCH):
            table = pa.Table.from_batches([batch])
            made = _examples(table) if p.rows == "examples" else _passages(table)
            yield Outcome(made, REJECTS.empty_table(), seen=len(made))


def _examples(table: pa.Table) -> pa.Table:
    none = columns.lists(np.zeros(len(table) + 1, np.int64), pa.array([], text))
    for name, kind in _MAY.items():
        if name not in table.column_names:
            table = table.append_column(name, none.cast(kind))
    for name, kind in _PLACES.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.array(np.zeros(len(table)), kind))
    return pa.table([table[name].cast(kind) for name, kind in (_MUST | _MAY | _PLACES).items()], names=[*_MUST, *_MAY, *_PLACES])


def _passages(table: pa.Table) -> pa.Table:
    """The title stands in the text already."""
    told = [columns.flat(table[name])[1] for pair in _TEXTS.items() if pair[1] in table.column_names for name in pair]
    keys, said = (pa.concat_arrays(told[n::2]).cast(kind) for n, kind in ((0, row_id), (1, text)))
    return pa.table({"passage_id": keys, "title": pa.array([""] * len(keys), text), "passage": said})


def example(folder: Path) -> ReadTrainingSet:
    """A set of two rows, one of them with a negative."""
    a, b = (bytes([n] * 16) for n in (1, 2))
    table = pa.table({
        "query_id": columns.content_ids(["x", "y"]), "query": pa.array(["x", "y"], text),
        "positive_ids": pa.array([[a], [b]], ids), "positives": pa.array([["oak"], ["elm"]], pa.list_(text)),
        "negative_ids": pa.array([[b], []], ids),
        "negatives": pa.array([["elm"], []], pa.list_(text)), "batch": pa.array([0, 0], pa.int64()),
        "position": pa.array([0, 1], pa.int64()),
    })  # fmt: skip
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
    (folder / "manifest.json").write_text(json.dumps({"shards": [{"file": "train-00000-of-00001.parquet"}]}))
    return ReadTrainingSet(path=str(folder))
