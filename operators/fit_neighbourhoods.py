"""Find how near each text's nearest neighbours on the other side are: what a margin holds a cosine against.

A text that is near to everything, a hub, is no match of what it is near to (Artetxe & Schwenk, arXiv:1811.01136).
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import Array, aligned, codes, parents
from operators.contract import Example, Params, ids, operator, row_id, scores
from operators.mapped import Mapped, mapped
from operators.spill import Spill

_FILES = {"hi.bin": "<u8", "lo.bin": "<u8", "mean.bin": "<f8"}
_SAID = "k.json"


class FitNeighbourhoods(Params):
    """How many neighbours are looked at."""

    k: int = Field(default=4, ge=1, description="the search must keep one more: a copy of the text itself is no neighbour")


class Neighbourhoods(Mapped):
    """The mean cosine of each text's k nearest neighbours on the other side; sorted by id, memory-mapped."""

    files = (*_FILES, _SAID)

    def __init__(self, folder: Path, owner: object = None) -> None:
        """Map the files of ``folder``; ``owner`` keeps a temporary folder alive."""
        super().__init__(folder, owner)
        self.k: int = json.loads((folder / _SAID).read_text(encoding="utf-8"))["k"]
        self._hi, self._lo, self._mean = (mapped(folder / name, kind) for name, kind in _FILES.items())

    def of(self, ids: pa.Array | pa.ChunkedArray) -> Array:
        """The mean of each text: (N,) float64, NaN of one that has no neighbour."""
        at = columns.places(self._hi, self._lo, columns.id_pairs(ids))
        found = np.full(len(at), np.nan)
        found[at >= 0] = self._mean[at[at >= 0]]
        return found


def neighbours(table: pa.Table, k: int) -> tuple[Array, pa.Array, Array, Array]:
    """(row, id, cosine) of the M candidates, and whether each is of the k nearest others: (M,) bool."""
    offsets, found = columns.flat(table["candidate_ids"])
    rows, value = parents(offsets), aligned(table, "dense_scores", offsets)
    number, own = codes([found, table["passage_id"]])
    other = number != own[rows]
    before = np.concatenate([[0], np.cumsum(other)])
    place = before[:-1] - before[offsets[rows]]
    return rows, found, value, other & (place < k)


def means(table: pa.Table, k: int) -> Array:
    """The mean cosine of each row's k nearest others: (N,) float64, NaN where it has none."""
    rows, _, value, near = neighbours(table, k)
    count = np.bincount(rows[near], minlength=len(table))
    total = np.bincount(rows[near], value[near], minlength=len(table))
    mean: Array = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


class _Fold:
    """Means under way: rows wait on disk, cut by their text."""

    def __init__(self, p: FitNeighbourhoods) -> None:
        self.p = p
        self.spill = Spill("passage_id")

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part of a search."""
        mean = means(table, self.p.k)
        rows = pa.table({"passage_id": table["passage_id"].combine_chunks(), "mean": pa.array(mean)})
        self.spill.add(rows.filter(pa.array(~np.isnan(mean))))

    def merge(self, later: "_Fold") -> None:
        """Take in the fold of later parts."""
        for table in later.spill.tables():
            self.spill.add(table)

    def finish(self) -> Neighbourhoods:
        """Write each text once, and map the files."""
        temporary = tempfile.TemporaryDirectory(prefix="pithead-neighbourhoods-")
        folder = Path(temporary.name)
        files = [(folder / name).open("wb") for name in _FILES]
        for table in self.spill.tables():
            pairs = columns.id_pairs(table["passage_id"])
            fresh = np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]
            parts: tuple[Any, ...] = (pairs["hi"][fresh], pairs["lo"][fresh], table["mean"].to_numpy()[fresh])
            for file, part, kind in zip(files, parts, _FILES.values(), strict=True):
                file.write(np.ascontiguousarray(part.astype(kind)).tobytes())
        for file in files:
            file.close()
        (folder / _SAID).write_text(json.dumps({"k": self.p.k}), encoding="utf-8")
        return Neighbourhoods(folder, temporary)


def _check(p: FitNeighbourhoods, using: Mapping[str, Any]) -> list[str]:
    if (depth := using.get("depth")) is not None and depth <= p.k:
        return [f"fit_neighbourhoods: k is {p.k}, the search above keeps {depth}; let it keep {p.k + 1} at least"]
    return []


@operator("build", version="2", check=_check, reads={"passage_id": row_id, "candidate_ids": ids, "dense_scores": scores})
def fit_neighbourhoods(p: FitNeighbourhoods) -> _Fold:
    """The mean of each text's best ``dense_scores``, of a search for its neighbours in the other corpus."""
    return _Fold(p)


def example() -> Example:
    """Three texts: with two neighbours, with itself and one, with none."""
    own = columns.content_ids(list("abc"))
    a, b, c = own.to_pylist()
    table = pa.table({
        "passage_id": own, "candidate_ids": pa.array([[b, c], [b, a], []], ids),
        "dense_scores": pa.array([[0.9, 0.5], [1.0, 0.4], []], scores),
    })  # fmt: skip
    return Example(table.sort_by("passage_id"), FitNeighbourhoods())
