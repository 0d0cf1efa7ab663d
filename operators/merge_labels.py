"""Merge proposed labels into a taxonomy: equal and near ones become one, the most frequent are kept.

Text Clustering as Classification (arXiv:2410.00927): an LLM proposes labels, similar ones are merged, each text
is then classified into what is left. There an LLM merges too; here the words' stems do, the same way each time.
"""

import json
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pydantic import Field

from operators.columns import normalise
from operators.contract import Example, InputError, Params, operator, text

_WORD = re.compile(r"\w+")
_FILE = "labels.json"
_SMALL = frozenset(["the", "a", "an", "of", "and", "for", "in"])


class MergeLabels(Params):
    """How many labels stay."""

    column: str = Field(default="label", min_length=1, description="the column of the proposed labels")
    labels: int = Field(default=20, ge=1, description="the most frequent so many are kept")
    min_count: int = Field(default=2, ge=1, description="proposals that a label needs")
    other: str = Field(default="", description="a label for texts that fit none, added at the end; empty: none")


class Labels:
    """Label → how often it, or a near one, was proposed; in order of that."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts
        self._by_stems = {stems(name): name for name in reversed(list(counts))}

    def __len__(self) -> int:
        """How many labels there are."""
        return len(self.counts)

    def find(self, said: str) -> str:
        """The label that is meant: its stems are the same, or all among what is said; of several the longest; else ""."""
        mine = stems(said)
        if mine in self._by_stems:
            return self._by_stems[mine]
        inside = ((theirs, name) for theirs, name in self._by_stems.items() if theirs and set(theirs) <= set(mine))
        held = [(len(theirs), self.counts[name], name) for theirs, name in inside]
        return max(held)[2] if held else ""

    def save(self, folder: Path) -> None:
        """One JSON file."""
        (folder / _FILE).write_text(json.dumps(self.counts, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(json.loads((folder / _FILE).read_text(encoding="utf-8")))


class _Count:
    """Proposals by the text as written; what is near is merged at the end, so that no cut matters."""

    def __init__(self, p: MergeLabels) -> None:
        self.p, self.said = p, Counter[str]()

    def add(self, table: pa.Table, turn: int) -> None:
        """Count one part."""
        self.said.update(normalise(label).casefold() for label in table[self.p.column].to_pylist())

    def merge(self, later: "_Count") -> None:
        """Take in the counts of later parts."""
        self.said += later.said

    def finish(self) -> Labels:
        """The taxonomy."""
        merged: dict[tuple[str, ...], Counter[str]] = {}
        for label, count in self.said.items():
            if key := stems(label):
                merged.setdefault(key, Counter())[label] += count
        ranked = sorted(merged, key=lambda key: (-merged[key].total(), len(key), key))
        kept: dict[tuple[str, ...], int] = {}
        for key in ranked:  # "cooking tips" is near "cooking" if that is as frequent or more
            near = next((k for k in kept if set(k) <= set(key)), key)
            kept[near] = kept.get(near, 0) + merged[key].total()
        often = {k: n for k, n in kept.items() if n >= self.p.min_count}
        names = {min(merged[k].items(), key=lambda i: (-i[1], len(i[0]), i[0]))[0]: n for k, n in often.items()}
        best = sorted(names.items(), key=lambda item: (-item[1], item[0]))[: self.p.labels]
        if not best:
            raise InputError(f"merge_labels: no label came {self.p.min_count} times; lower min_count, or label more texts")
        found = dict(best)
        if self.p.other:
            found.setdefault(normalise(self.p.other).casefold(), 0)
        return Labels(found)


def stems(label: str) -> tuple[str, ...]:
    """The stems of its words in order of the alphabet, each once."""
    stem = _stemmer()
    return tuple(sorted({stem.stemWord(w) for w in _WORD.findall(label.casefold())} - _SMALL))


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english")


@operator("build", version="1", reads=lambda p: {p.column: text}, libraries=lambda p: ["PyStemmer"])
def merge_labels(p: MergeLabels) -> _Count:
    """One pass; memory is the distinct proposals."""
    return _Count(p)


def example() -> Example:
    """Seven proposals, of which three labels are left."""
    said = ["Cooking", "cooking tips", "trains", "Train", "the train", "owls", "Owl"]
    return Example(pa.table({"label": pa.array(said, text)}), MergeLabels(labels=3))
