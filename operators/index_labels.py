"""Index the texts of each label, so that a row can draw texts of its own label and of others, by ids alone."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from operators import columns
from operators.contract import Example, Params, operator, row_id, text
from operators.mapped import Mapped, mapped
from operators.spill import Spill

Array = np.ndarray[Any, Any]
_LABELS, _NUMBERS = "labels.json", {"hi.bin": "<u8", "lo.bin": "<u8"}


class IndexLabels(Params):
    """Nothing to choose."""


class LabelIndex(Mapped):
    """The ids of the texts of each label, by label and id; memory-mapped. A text that has several labels stands in none.

    An id is a hash, so a draw by place is a fair one.
    """

    files = (_LABELS, *_NUMBERS)

    def __init__(self, folder: Path, owner: object = None) -> None:
        """Map the files of ``folder``; ``owner`` keeps a temporary folder alive."""
        super().__init__(folder, owner)
        said: dict[str, int] = json.loads((folder / _LABELS).read_text(encoding="utf-8"))
        self.labels = list(said)
        self._starts = np.concatenate([[0], np.cumsum(list(said.values()), dtype=np.int64)])
        self._number = {label: i for i, label in enumerate(said)}
        self._hi, self._lo = (mapped(folder / name, kind) for name, kind in _NUMBERS.items())

    def __len__(self) -> int:
        """How many texts have one label."""
        return len(self._hi)

    def spans(self, labels: Sequence[str]) -> tuple[Array, Array]:
        """Where the texts of each label begin and end: two (N,) int64; an unknown label has none."""
        number = np.array([self._number.get(label, -1) for label in labels], np.int64)
        known = number >= 0
        begin, end = np.zeros(len(number), np.int64), np.zeros(len(number), np.int64)
        begin[known], end[known] = self._starts[number[known]], self._starts[number[known] + 1]
        return begin, end

    def places(self, ids: pa.Array | pa.ChunkedArray, labels: Sequence[str]) -> Array:
        """Where each text stands among those of its label: (N,) int64 over all, -1 where it does not."""
        begin, end = self.spans(labels)
        wanted, found = columns.id_pairs(ids), np.full(len(begin), -1, np.int64)
        order = np.argsort(begin, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(begin[order])) + 1):
            if len(rows):
                span = slice(int(begin[rows[0]]), int(end[rows].max()))
                at = columns.places(self._hi[span], self._lo[span], wanted[rows])
                found[rows] = np.where((at >= 0) & (end[rows] > begin[rows]), at + span.start, -1)
        return found

    def ids(self, at: Array) -> pa.Array:
        """The ids at these places: (N,) binary(16)."""
        wide = np.stack([self._hi[at], self._lo[at]], axis=1).astype(">u8")
        return pa.Array.from_buffers(row_id, len(wide), [None, pa.py_buffer(np.ascontiguousarray(wide))])


class LabelsFold:
    """Labels under way: rows wait on disk, cut by their text's id."""

    def __init__(self) -> None:
        """Start with no text."""
        self._spill = Spill("passage_id")

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in texts."""
        self._spill.add(table.select(["passage_id", "class_id"]))

    def merge(self, later: "LabelsFold") -> None:
        """Take in the fold of later texts."""
        for table in later._spill.tables():
            self._spill.add(table)

    def finish(self) -> LabelIndex:
        """Sort by label and id, in two passes over the disk, and map the files."""
        temporary = tempfile.TemporaryDirectory(prefix="pithead-labels-")
        folder, number, counts = Path(temporary.name), dict[str, int](), dict[str, int]()
        with (folder / "rows.bin").open("wb") as file:
            for table in self._spill.tables():
                kept = _single(table)
                labels = kept["class_id"].to_pylist()
                for label in labels:
                    counts[label] = counts.get(label, 0) + 1
                    number.setdefault(label, len(number))
                ids = columns.id_pairs(kept["passage_id"])
                code = np.array([number[label] for label in labels], "<u8")
                file.write(np.stack([ids["hi"], ids["lo"], code], axis=1).astype("<u8").tobytes())
        order = sorted(counts)
        (folder / _LABELS).write_text(json.dumps({label: counts[label] for label in order}, ensure_ascii=False), encoding="utf-8")
        _scatter(folder, [number[label] for label in order], [counts[label] for label in order])
        (folder / "rows.bin").unlink()
        return LabelIndex(folder, temporary)


def _single(table: pa.Table) -> pa.Table:
    """Of rows by id each text once, without those of several labels."""
    ids = columns.id_pairs(table["passage_id"])
    first = np.append(True, ids[1:] != ids[:-1])[: len(ids)]
    owner = np.cumsum(first) - 1
    label = table["class_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    other = np.zeros(int(first.sum()), bool)
    other[owner[label != label[np.flatnonzero(first)][owner]]] = True
    return table.filter(pa.array(first & ~other[owner]))


def _scatter(folder: Path, numbers: list[int], counts: list[int]) -> None:
    """Write the halves of the ids label by label; within one they come by id, as they came."""
    total = sum(counts)
    rows = mapped(folder / "rows.bin", "<u8").reshape(-1, 3)
    following = np.zeros(len(numbers), np.int64)
    following[numbers] = np.cumsum([0, *counts])[:-1]
    for name in _NUMBERS:
        (folder / name).write_bytes(b"")
    if not total:
        return
    halves = [np.memmap(folder / name, kind, "w+", shape=(total,)) for name, kind in _NUMBERS.items()]
    for start in range(0, total, columns.SLICE):
        part = rows[start : start + columns.SLICE]
        code = part[:, 2].astype(np.int64)
        order = np.argsort(code, kind="stable")
        found, first, sizes = np.unique(code[order], return_index=True, return_counts=True)
        at = np.empty(len(part), np.int64)
        at[order] = np.repeat(following[found] - first, sizes) + np.arange(len(part))
        following[found] += sizes
        for column, half in enumerate(halves):
            half[at] = part[:, column]
    for half in halves:
        half.flush()


@operator("build", version="1", reads={"passage_id": row_id, "class_id": text})
def index_labels(p: IndexLabels) -> LabelsFold:
    """Index the texts of each label."""
    return LabelsFold()


def example() -> Example:
    """Five texts of two labels, one text of both."""
    said, labels = ["iron", "tin", "owl", "bat", "bat"], ["metal", "metal", "bird", "bird", "metal"]
    table = pa.table({"passage_id": columns.content_ids([""] * 5, said), "class_id": pa.array(labels, text)})
    return Example(table.sort_by("passage_id"), IndexLabels())
