"""Draws by hash that are folded over a set: the same rows whatever the shards are, and no more memory for a longer set."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators import columns
from operators.content import Array

CHARACTERS = 2000  # of a text that a sample holds; a row may be a megabyte
ELEMENTS = 8  # of a list that a sample holds


class RowSample:
    """The rows whose place has the lowest hash, texts and lists cut: a fair draw of ``count`` rows, kept while shards pass."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.count, self.seed, self._seen = count, np.uint64(seed), 0
        self._kept: list[tuple[Array, pa.Table]] = []
        self._limit = np.iinfo(np.uint64).max

    def add(self, table: pa.Table) -> None:
        """Take the next rows of the set."""
        places = np.arange(self._seen, self._seen + len(table), dtype=np.uint64)
        drawn = columns.mix(places ^ columns.mix(np.array([self.seed])))
        self._seen += len(table)
        chosen = np.flatnonzero(drawn <= self._limit)
        if len(chosen):
            self._kept.append((drawn[chosen], _cut(table.take(pa.array(chosen)))))
        if sum(len(one) for one, _ in self._kept) > 2 * self.count:
            self._shrink()

    def finish(self) -> pa.Table | None:
        """The rows, those of the lowest hash first, so that the first n are a fair draw too; None of no row."""
        self._shrink()
        return self._kept[0][1] if self._kept else None

    def _shrink(self) -> None:
        if not self._kept:
            return
        drawn = np.concatenate([one for one, _ in self._kept])
        order = np.argsort(drawn, kind="stable")[: self.count]
        rows = pa.concat_tables([rows for _, rows in self._kept]).take(pa.array(order)).combine_chunks()
        self._kept = [(drawn[order], rows)]
        if len(order) == self.count:
            self._limit = drawn[order[-1]]


def _cut(table: pa.Table) -> pa.Table:
    """The rows with the starts of their texts and lists: a view into a shard would hold all of it."""
    for name in table.column_names:
        kind = table.schema.field(name).type
        if pa.types.is_list(kind):
            table = columns.put(table, name, _cut_list(table[name]))
        elif pa.types.is_string(kind):
            table = columns.put(table, name, pc.utf8_slice_codeunits(table[name], 0, CHARACTERS))
    return table.combine_chunks()


def _cut_list(column: pa.ChunkedArray) -> pa.Array:
    offsets, values = columns.flat(column)
    places, inner = columns.ragged(offsets[:-1], np.minimum(np.diff(offsets), ELEMENTS))
    values = values.take(pa.array(inner))
    if pa.types.is_string(values.type):
        values = pc.utf8_slice_codeunits(values, 0, CHARACTERS)
    return pa.ListArray.from_arrays(pa.array(places, pa.int32()), values)


class Repeats:
    """How often queries occur: those whose id has the lowest hash, with all their rows (a bottom-k sketch)."""

    def __init__(self, count: int = 4096) -> None:
        self.count, self._limit = count, np.iinfo(np.uint64).max
        self._drawn, self._rows = np.empty(0, np.uint64), np.empty(0, np.int64)

    def add(self, column: pa.ChunkedArray) -> None:
        """Take the ids of the next rows."""
        drawn = columns.draws(column, 1)
        drawn, rows = np.unique(drawn[drawn <= self._limit], return_counts=True)
        both, where = np.unique(np.concatenate([self._drawn, drawn]), return_inverse=True)
        counts = np.bincount(where, np.concatenate([self._rows, rows]), len(both)).astype(np.int64)
        # A query that falls out never comes back, as the limit only falls; those that stay have all their rows.
        self._drawn, self._rows = both[: self.count], counts[: self.count]
        if len(self._drawn) == self.count:
            self._limit = self._drawn[-1]

    def share(self) -> float:
        """The share of rows whose query stands in the set before; exact up to ``count`` queries, else of a fair draw of them."""
        return 1 - len(self._rows) / int(self._rows.sum()) if len(self._rows) else 0.0
