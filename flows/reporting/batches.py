"""How batches are made up: sizes, and how pure each is in cluster, source, language and type, of a bounded draw of batches."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators import columns

COUNT = 1000  # batches that are looked at
BY = ("cluster", "source", "lang", "detected_lang", "query_type", "generator")


class Batches:
    """The batches whose number has the lowest hash, each with all its rows, wherever in the set they stand.

    The limit only falls, so a batch that falls out never comes back. Rows of a batch may be of several shards, one a rank.
    """

    def __init__(self, names: list[str], count: int = COUNT) -> None:
        self.count, self.by = count, [c for c in BY if c in names]
        self._limit = int(np.iinfo(np.uint64).max)
        self._last = -1
        self._values: dict[int, dict[str, Counter[Any]]] = {}
        self._rows = Counter[int]()

    def add(self, table: pa.Table) -> None:
        """Take the next rows."""
        numbers = table["batch"].to_numpy().astype(np.int64)
        self._last = max(self._last, int(numbers.max(initial=-1)))
        chosen = _drawn(numbers) <= np.uint64(self._limit)
        table = table.select(["batch", *self.by]).filter(pa.array(chosen))
        self._rows.update(numbers[chosen].tolist())
        for name in self.by:
            found = table.group_by(["batch", name]).aggregate([([], "count_all")])
            for batch, value, rows in zip(*(found[c].to_pylist() for c in ("batch", name, "count_all")), strict=True):
                self._values.setdefault(batch, {}).setdefault(name, Counter())[value] += rows
        if len(self._rows) > 2 * self.count:
            self._shrink()

    def _shrink(self) -> None:
        numbers = np.array(sorted(self._rows), np.int64)
        drawn = _drawn(numbers)
        kept = np.argsort(drawn, kind="stable")[: self.count]
        if len(kept) == self.count:
            self._limit = int(drawn[kept[-1]])
        stay = set(numbers[kept].tolist())
        self._rows = Counter({k: v for k, v in self._rows.items() if k in stay})
        self._values = {k: v for k, v in self._values.items() if k in stay}

    def finish(self) -> dict[str, Any]:
        """How many batches, their sizes, and by column: shares of pure batches and of the commonest value, values a batch."""
        self._shrink()
        batches = sorted(self._rows)
        purity = {}
        for name in self.by:
            most = [max(self._values[b][name].values()) / self._rows[b] for b in batches]
            kinds = [len(self._values[b][name]) for b in batches]
            if most:
                purity[name] = {
                    "pure": round(sum(k == 1 for k in kinds) / len(kinds), 4), "commonest": round(float(np.mean(most)), 4),
                    "values": round(float(np.mean(kinds)), 2), "shares": most,
                }  # fmt: skip
        return {"batches": self._last + 1, "looked_at": len(batches), "sizes": [self._rows[b] for b in batches], "purity": purity}


def _drawn(numbers: Any) -> Any:
    return columns.mix(numbers.astype(np.uint64))


def schedule(table: pa.Table, rows: Counter[tuple[int, ...]]) -> None:
    """Count rows by stage, epoch and rank, where a set is a plan."""
    names = [c for c in ("stage", "epoch", "rank") if c in table.column_names]
    if names:
        found = table.group_by(names).aggregate([([], "count_all")])
        for *key, count in zip(*(pc.fill_null(found[c], -1).to_pylist() for c in (*names, "count_all")), strict=True):
            rows[tuple(key)] += count
