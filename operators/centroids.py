"""Centroids as an artifact, and the vectors that are compared to them: of queries, of passages, or of both."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from operators import columns
from operators.contract import InputError
from operators.engines.encoder import unit

Array = np.ndarray[Any, Any]
BLOCK = 512  # rows a matrix product; 512 × 10k centroids in float64 are 40 MB


class Centroids:
    """(K, d) float32 unit vectors; of several values each has a range of them.

    ``ranges`` (value → first, end) is {"": (0, K)} where they were not fitted by value, which is not told by that: a value may
    be "". ``quality`` tells how good the fit was.
    """

    def __init__(
        self, matrix: Any, ranges: Mapping[str, tuple[int, int]] | None = None, quality: Mapping[str, Any] | None = None
    ) -> None:
        self.matrix, self.ranges, self.by_value = matrix, dict(ranges or {"": (0, len(matrix))}), bool(ranges)
        self.quality = dict(quality or {})

    def save(self, folder: Path) -> None:
        """One .npy file and one of JSON."""
        np.save(folder / "centroids.npy", self.matrix, allow_pickle=False)
        told = {"by_value": self.by_value, "ranges": self.ranges, "quality": self.quality}
        (folder / "centroids.json").write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        told = json.loads((folder / "centroids.json").read_text(encoding="utf-8"))
        ranges = {value: (first, end) for value, (first, end) in told["ranges"].items()} if told["by_value"] else None
        return cls(np.load(folder / "centroids.npy", allow_pickle=False), ranges, told["quality"])

    def check(self, rows: Array, by: str, whose: str) -> None:
        """Raise unless these vectors (N, d) are of the fit's encoder, and the fit was by value where ``by`` is."""
        if len(rows) and rows.shape[1] != self.matrix.shape[1]:
            raise InputError(
                f"{whose}: vectors have {rows.shape[1]} dimensions, centroids {self.matrix.shape[1]}; "
                "fit the centroids on vectors of the same encoder, of the same columns"
            )
        if bool(by) != self.by_value:
            told = f"by is {by!r}, but the centroids are of all" if by else "each centroid is of one value, by names no column"
            raise InputError(f"{whose}: {told}; give it and its fit_clusters the same by")


def joined(table: pa.Table, names: Sequence[str]) -> Array:
    """(N, d) float32: a column of vectors as it is; of several, the unit vectors side by side, of length 1 together.

    A dot product of two rows is then the mean of the cosines: [q; d] as in cde (arXiv:2410.02525).
    """
    if len(names) == 1:
        return columns.vectors(table[names[0]])
    parts = [unit(columns.vectors(table[name])) / np.float32(len(names) ** 0.5) for name in names]
    return np.concatenate(parts, axis=1).astype(np.float32)


def values_of(table: pa.Table, by: str) -> dict[str, Array]:
    """The rows of each value of a text column, by value; all under "" where there is none."""
    if not by:
        return {"": np.arange(len(table))} if len(table) else {}
    coded = columns.one_array(table[by]).dictionary_encode()
    code = coded.indices.to_numpy()
    return {value: np.flatnonzero(code == i) for i, value in enumerate(coded.dictionary.to_pylist())}
