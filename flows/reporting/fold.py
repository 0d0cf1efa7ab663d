"""What a set holds, counted in one pass over its shards: lengths, scores, values of columns. Memory stays, however long it is."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators import columns
from operators.content import Array, floats, parents

LONGEST = 1 << 16  # characters that are told apart; a longer text counts as of so many
VALUES = 20_000  # distinct values of a column that are counted by name
BINS = 4096  # of a histogram of scores: percentiles are that exact
OTHERS = "(others)"
TEXTS = ("query", "positives", "negatives", "title", "text", "passage")
VALUED = ("source", "licence", "lang", "detected_lang", "query_type", "generator", "cluster", "stage", "epoch", "rank")
SCORES = ("positive_scores", "negative_scores")


class Lengths:
    """Characters of the texts of a column."""

    def __init__(self) -> None:
        self.counts, self.texts, self.characters, self.longest = np.zeros(LONGEST + 1, np.int64), 0, 0, 0

    def add(self, column: pa.ChunkedArray) -> None:
        """Count a column of texts, or of lists of them."""
        values = columns.flat(column)[1] if pa.types.is_list(column.type) else column
        sizes = pc.fill_null(pc.utf8_length(values), 0).to_numpy().astype(np.int64)
        if len(sizes):
            self.counts += np.bincount(np.minimum(sizes, LONGEST), minlength=LONGEST + 1)
            self.texts, self.characters = self.texts + len(sizes), self.characters + int(sizes.sum())
            self.longest = max(self.longest, int(sizes.max()))

    def percentile(self, share: float) -> int:
        """The length that so many texts do not exceed."""
        return int(np.searchsorted(np.cumsum(self.counts), share * self.texts))


class Tally:
    """How many rows have each value of a column; of more than `VALUES`, those met first by name and the rest as `OTHERS`."""

    def __init__(self) -> None:
        self.rows = Counter[str]()

    def add(self, column: pa.ChunkedArray) -> None:
        """Count a column."""
        for one in pc.value_counts(column).to_pylist():
            name = "" if one["values"] is None else str(one["values"])
            self.rows[name if name in self.rows or len(self.rows) < VALUES else OTHERS] += one["counts"]

    def most(self, count: int) -> list[tuple[str, int]]:
        """The commonest values, by name where they are as common."""
        return sorted(self.rows.items(), key=lambda x: (-x[1], x[0]))[:count]


class Scores:
    """A histogram of `BINS` bins over a known range, with exact count, mean and ends."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high if high > low else low + 1e-6
        self.bins, self.count, self.total, self.ends = np.zeros(BINS, np.int64), 0, 0.0, (np.inf, -np.inf)

    def add(self, values: Array) -> None:
        """Count scores (N,); what is not finite is not told."""
        known = values[np.isfinite(values)]
        if len(known):
            self.bins += np.histogram(known, BINS, (self.low, self.high))[0]
            self.count, self.total = self.count + len(known), self.total + float(known.sum())
            self.ends = min(self.ends[0], float(known.min())), max(self.ends[1], float(known.max()))

    def percentile(self, share: float) -> float:
        """The score that so many do not exceed, to a bin."""
        at = int(np.searchsorted(np.cumsum(self.bins), share * self.count))
        return min(max(self.low + (self.high - self.low) * (at + 0.5) / BINS, self.ends[0]), self.ends[1])


class Fold:
    """All that is counted of a set."""

    def __init__(self, kinds: dict[str, pa.DataType], span: tuple[float, float]) -> None:
        self.rows, low, high = 0, *span
        self.lengths = {c: Lengths() for c in TEXTS if c in kinds and _is_text(kinds[c])}
        self.values = {c: Tally() for c in VALUED if c in kinds}
        self.scores = {c: Scores(low, high) for c in SCORES if c in kinds}
        self.gaps = Scores(low - high, high - low) if len(self.scores) == len(SCORES) else None
        self.above = 0  # rows with a negative that scores at least as high as the lowest positive
        self.compared = 0
        self.sizes = {c: Counter[int]() for c in ("positives", "negatives") if c in self.lengths}

    def add(self, table: pa.Table) -> None:
        """Count the next rows."""
        self.rows += len(table)
        for name, lengths in self.lengths.items():
            lengths.add(table[name])
        for name, tally in self.values.items():
            tally.add(table[name])
        for name, sizes in self.sizes.items():
            sizes.update(pc.fill_null(pc.list_value_length(table[name]), 0).to_pylist())
        flat = {name: columns.flat(table[name]) for name in self.scores}
        for name, (_, values) in flat.items():
            self.scores[name].add(floats(values))
        if self.gaps is not None:
            lowest, highest = (_ends(*flat[name], high=name == SCORES[1]) for name in SCORES)
            both = np.isfinite(lowest) & np.isfinite(highest)
            self.compared, self.above = self.compared + int(both.sum()), self.above + int((highest >= lowest)[both].sum())
            self.gaps.add((lowest - highest)[both])


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind.value_type if pa.types.is_list(kind) else kind))


def _ends(offsets: Array, values: pa.Array, *, high: bool) -> Array:
    """Each row's highest score, or its lowest; infinite where it has none."""
    found = np.full(len(offsets) - 1, -np.inf if high else np.inf)
    numbers = floats(values)
    known = ~np.isnan(numbers)
    (np.maximum if high else np.minimum).at(found, parents(offsets)[known], numbers[known])
    return found


def span_of(tables: Iterable[pa.Table]) -> tuple[float, float]:
    """The lowest and the highest score of a set."""
    low, high = np.inf, -np.inf
    for table in tables:
        for name in table.column_names:
            numbers = floats(columns.flat(table[name])[1])
            known = numbers[np.isfinite(numbers)]
            low, high = min(low, known.min(initial=np.inf)), max(high, known.max(initial=-np.inf))
    return (float(low), float(high)) if low <= high else (0.0, 1.0)


def summed(lengths: Lengths) -> dict[str, Any]:
    """A column's lengths as figures."""
    mean = lengths.characters / lengths.texts if lengths.texts else 0.0
    middle = {f"p{p}": lengths.percentile(p / 100) if lengths.texts else 0 for p in (5, 50, 95)}
    return {"texts": lengths.texts, "mean": round(mean, 1), **middle, "longest": lengths.longest}


def summed_scores(scores: Scores) -> dict[str, Any]:
    """Scores as figures."""
    if not scores.count:
        return {"count": 0}
    middle = {f"p{p}": round(scores.percentile(p / 100), 4) for p in (5, 50, 95)}
    ends = {"low": round(scores.ends[0], 4), "high": round(scores.ends[1], 4)}
    return {"count": scores.count, "mean": round(scores.total / scores.count, 4), **middle, **ends}
