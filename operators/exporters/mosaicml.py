"""MosaicML streaming: MDS shards and their index.

The format is written here (its package brings the clients of seven clouds): a shard is the number of its rows, where each
starts, the columns as JSON, and the rows; a row is the sizes of its values and the values (streaming 0.13, base/format/mds).
"""

import json
from typing import Any

import numpy as np
from pydantic import Field

from operators.columns import slices
from operators.exporters.examples import Examples
from operators.exporters.files import Sink
from operators.exporters.hf_datasets import CARRIES, Everything, plain
from operators.exporters.options import Exporter


class MosaicMl(Everything):
    """Every column of the set; lists as JSON."""

    shard_bytes: int = Field(1 << 26, ge=1024, lt=1 << 32, description="bytes a shard, but for a row that is larger")


class _Shards:
    def __init__(self, sink: Sink, encodings: dict[str, str], limit: int) -> None:
        self._sink, self._encodings, self._limit = sink, encodings, limit
        told = {"column_encodings": [*encodings.values()], "column_names": [*encodings], "column_sizes": [None] * len(encodings),
                "compression": None, "format": "mds", "hashes": [], "size_limit": limit, "version": 2}  # fmt: skip
        self._told, self._head = told, json.dumps(told, sort_keys=True).encode()
        self._rows: list[bytes] = []
        self._size = self._empty = 8 + len(self._head)
        self._index: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """One row; a full shard is written first."""
        values = [_encoded(row[name], kind) for name, kind in self._encodings.items()]
        made = np.array([len(v) for v in values], np.uint32).tobytes() + b"".join(values)
        if self._rows and self._size + len(made) + 4 > self._limit:
            self._write()
        self._rows.append(made)
        self._size += len(made) + 4

    def _write(self) -> None:
        name = f"shard.{len(self._index):05d}.mds"
        starts = np.cumsum([0, *map(len, self._rows)], dtype=np.int64) + 4 + 4 * (len(self._rows) + 1) + len(self._head)
        data = b"".join([np.uint32(len(self._rows)).tobytes(), starts.astype(np.uint32).tobytes(), self._head, *self._rows])
        self._sink.bytes(name, data, len(self._rows))
        said = {"basename": name, "bytes": len(data), "hashes": {}}
        self._index.append({**self._told, "raw_data": said, "samples": len(self._rows), "zip_data": None})
        self._rows, self._size = [], self._empty

    def finish(self) -> None:
        """Write what is held, and the index."""
        if self._rows:
            self._write()
        self._sink.bytes("index.json", json.dumps({"shards": self._index, "version": 2}, sort_keys=True).encode())


def _encoded(value: Any, kind: str) -> bytes:
    return value.encode() if kind == "str" else json.dumps(value, allow_nan=False).encode()


def write(examples: Examples, p: MosaicMl, sink: Sink) -> None:
    """``shard.00000.mds`` and so on, ``index.json``."""
    shards = None
    for table in examples.tables():
        made = plain(table, p, examples.count)
        if shards is None:
            kinds = {field.name: "str" if str(field.type) == "string" else "json" for field in made.schema}
            shards = _Shards(sink, dict(sorted(kinds.items())), p.shard_bytes)
        for part in slices(made, 256):
            for row in part.to_pylist():
                shards.add({name: row[name] if row[name] is not None or kinds[name] != "str" else "" for name in row})
    if shards:
        shards.finish()


def usage(p: MosaicMl) -> str:
    """How to load it."""
    return "For MosaicML streaming: `StreamingDataset(local=folder, shuffle=False, batch_size=…)`, or `remote=` of a copy.\n"


EXPORTER = Exporter("MDS shards with their index, lists as JSON", MosaicMl, write, usage, carries=CARRIES)
