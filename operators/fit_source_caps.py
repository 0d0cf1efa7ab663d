"""Find what may stay of each source when none may have more than so many rows (CASPER, arXiv:2508.13394: 1.5 million)."""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Example, Params, operator, row_id, text
from operators.json_artifact import JsonArtifact
from operators.shingles import mixed

Array = np.ndarray[Any, Any]


class FitSourceCaps(Params):
    """How many rows a source may have."""

    most: int = Field(default=1_500_000, ge=1)
    seed: int = Field(default=0, ge=0)


class SourceCaps(JsonArtifact):
    """The hash up to which a source's rows stay; a source that is not here keeps all of them."""

    file: ClassVar[str] = "limits.json"

    def __init__(self, seed: int, limits: dict[str, int]) -> None:
        self.seed, self.limits = seed, limits

    def above(self, table: pa.Table) -> Array:
        """Which rows are above the cap of their source: (N,) bool."""
        coded = table["source"].combine_chunks().dictionary_encode()
        edge = np.array([self.limits.get(one, 2**64 - 1) for one in coded.dictionary.to_pylist()] or [0], np.uint64)
        above: Array = marks(table["pair_id"], self.seed) > edge[coded.indices.to_numpy()]
        return above


def marks(ids: pa.Array | pa.ChunkedArray, seed: int) -> Array:
    """A hash of each id: (N,) uint64."""
    pairs = columns.id_pairs(ids)
    return mixed([pairs["hi"], pairs["lo"]], columns.row_seed(seed, "source"))


class _Fold:
    """The least hashes of each source: at most 16 bytes a row that stays, 24 MB a source at its default."""

    def __init__(self, p: FitSourceCaps) -> None:
        self.p = p
        self.least: dict[str, Array] = {}

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        coded = table["source"].combine_chunks().dictionary_encode()
        found, of = marks(table["pair_id"], self.p.seed), coded.indices.to_numpy()
        for i, source in enumerate(coded.dictionary.to_pylist()):
            self._take(source, found[of == i])

    def merge(self, later: "_Fold") -> None:
        """Take in the fold of later parts."""
        for source, found in later.least.items():
            self._take(source, found)

    def _take(self, source: str, found: Array) -> None:
        every = np.concatenate([self.least.get(source, np.empty(0, np.uint64)), found])
        if len(every) > 2 * self.p.most:
            every = np.partition(every, self.p.most)[: self.p.most + 1]
        self.least[source] = every

    def finish(self) -> SourceCaps:
        """The last hash that stays, of each source with more rows than may."""
        full = {source: found for source, found in self.least.items() if len(found) > self.p.most}
        return SourceCaps(self.p.seed, {source: int(np.sort(found)[self.p.most - 1]) for source, found in sorted(full.items())})


@operator("build", version="1", reads={"pair_id": row_id, "source": text})
def fit_source_caps(p: FitSourceCaps) -> _Fold:
    """Count the rows of each source and find the hash of the last that may stay."""
    return _Fold(p)


def example() -> Example:
    """Five pairs, three of one source."""
    table = pa.table({"pair_id": columns.content_ids(list("vwxyz")), "source": pa.array(["a", "a", "a", "b", "b"], text)})
    return Example(table, FitSourceCaps(most=2))
