"""Measure how much of each benchmark stands in the rows, by tier: the card states it, a "zero-shot" claim rests on it (C27)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pyarrow as pa

from operators import columns
from operators.contract import Example, Params, operator, row_id
from operators.drop_contaminated import DropContaminated, hits, named, reads
from operators.drop_contaminated import example as drop_example
from operators.index_evaluation import Evaluation

_FILE, ROWS, FOUND = "contamination.json", "rows", "found"


class MeasureContamination(DropContaminated):
    """As of the step that drops: from what score on a row is in an evaluation set."""


class Contamination:
    """Of each benchmark: its texts, how many of them were found, and how many by each tier."""

    def __init__(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Take the counts."""
        self.counts = counts

    def save(self, folder: Path) -> None:
        """One JSON file."""
        (folder / _FILE).write_text(json.dumps(self.counts, ensure_ascii=False, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(json.loads((folder / _FILE).read_text(encoding="utf-8")))


class ContaminationFold:
    """Ids of evaluation texts that were found, by tier: 16 bytes each, so memory grows with the evaluation alone."""

    def __init__(self, p: DropContaminated, evaluation: Evaluation) -> None:
        """Start with nothing found."""
        self._p, self._evaluation = p, evaluation
        self._found: dict[str, set[bytes]] = {tier: set() for tier in p.tiers}

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        for part in columns.slices(table):
            for tier, found in hits(part, self._p).items():
                self._found[tier].update(found.ids.unique().to_pylist())

    def merge(self, later: "ContaminationFold") -> None:
        """Take in the fold of later parts."""
        for tier, found in later._found.items():
            self._found[tier] |= found

    def finish(self) -> Contamination:
        """Count each place of a found text once."""
        none = dict.fromkeys([FOUND, *self._found], 0)
        counts = {name: {ROWS: size, **none} for name, size in self._evaluation.benchmarks.items()}
        for name, found in {**self._found, FOUND: set().union(*self._found.values())}.items():
            places = named(self._evaluation, pa.array(sorted(found), row_id))[1]
            for benchmark in places["source"].to_pylist():
                counts[benchmark][name] += 1
        return Contamination(counts)


def told(made: Contamination, p: Params) -> dict[str, int]:
    """The counts as the manifest has them: ``benchmark: count``."""
    return {f"{name}: {of}": count for name, counts in made.counts.items() for of, count in counts.items()}


@operator("build", version="1", reads=reads, measure=told)
def measure_contamination(p: MeasureContamination, *, evaluation: Evaluation) -> ContaminationFold:
    """One pass over rows that `drop_contaminated` would be given."""
    return ContaminationFold(p, evaluation)


def example() -> Example:
    """Four rows that hold one text of each of two benchmarks."""
    e = drop_example()
    return Example(e.table, MeasureContamination(), e.used)
