"""Rows by id that arrive in any order, given back sorted: cut by their ids' first byte, on disk, a cut at a time in memory.

Ids are hashes, so a cut holds about 1/256 of the rows (distribution sort; Knuth, The Art of Computer Programming 3, 5.2.5).
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from operators import columns

_HELD = 32 << 20  # bytes of rows that wait before they are cut
_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")


class Spill:
    """Tables of one schema with a binary(16) column ``key``."""

    def __init__(self, key: str) -> None:
        """Start with no row."""
        self._key = key
        self._temporary = tempfile.TemporaryDirectory(prefix="pithead-spill-")
        self._cuts: set[int] = set()
        self._held: list[pa.Table] = []
        self._size = 0

    def add(self, table: pa.Table) -> None:
        """Take in rows; no row is nothing to cut."""
        if not len(table):
            return
        self._held.append(table)
        self._size += table.nbytes
        if self._size >= _HELD:
            self._cut()

    def tables(self) -> Iterator[pa.Table]:
        """Every row by id; rows of one id as they arrived."""
        self._cut()
        for cut in sorted(self._cuts):
            with pa.OSFile(str(self._path(cut))) as file:
                streams = []
                while file.tell() < file.size():
                    streams.append(pa.ipc.open_stream(file).read_all())
            table = pa.concat_tables(streams).combine_chunks()
            pairs = columns.id_pairs(table[self._key])
            yield table.take(pa.array(np.argsort(pairs, order=("hi", "lo"), kind="stable")))
        self._temporary.cleanup()

    def _cut(self) -> None:
        if not self._held:
            return
        table = pa.concat_tables(self._held).combine_chunks()
        self._held, self._size = [], 0
        where = (columns.id_pairs(table[self._key])["hi"] >> np.uint64(56)).astype(np.int64)
        order = np.argsort(where, kind="stable")
        table, where = table.take(pa.array(order)), where[order]
        found, starts = np.unique(where, return_index=True)
        for cut, part in zip(found.tolist(), np.split(np.arange(len(table)), starts[1:]), strict=True):
            self._cuts.add(cut)
            # A stream a lot, and no file stays open: a laptop allows a process 256.
            with self._path(cut).open("ab") as file, pa.ipc.new_stream(file, table.schema, options=_LZ4) as stream:
                stream.write_table(table.slice(int(part[0]), len(part)))

    def _path(self, cut: int) -> Path:
        return Path(self._temporary.name) / f"{cut:03d}.arrows"
