"""Batches as an artifact: where each query stands in the set, and how rows are laid out so that ranks read files in order."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from operators import columns
from operators.contract import InputError

Array = np.ndarray[Any, Any]
PAIR = [("hi", "u8"), ("lo", "u8")]
_KINDS = {"batch": np.int64, "position": np.int64, "stage": np.int32, "epoch": np.int32, "rank": np.int32}


class Batches:
    """Where each query stands; one that stands several times, as in several epochs, has as many places.

    ``keys`` (N,) are sorted (hi, lo); beside them are batch and position (N,) int64, stage, epoch and rank (N,) int32.
    """

    def __init__(self, keys: Any, batch: Any, position: Any, **more: Any) -> None:
        """``more``: stage, epoch, rank; all 0 where they are not said."""
        self.keys, self.batch, self.position = keys, batch, position
        self.stage, self.epoch, self.rank = (more.get(n, np.zeros(len(keys), np.int32)) for n in ("stage", "epoch", "rank"))

    def __len__(self) -> int:
        """How many rows are in a batch."""
        return len(self.keys)

    @property
    def count(self) -> int:
        """How many batches there are."""
        return int(self.batch.max(initial=-1)) + 1

    def find(self, ids: pa.Array | pa.ChunkedArray) -> tuple[Array, Array]:
        """The places of each query, by position: offsets (N+1,) into places (M,); one in no batch has none."""
        starts, sizes, hi, lo = self._distinct
        at = columns.places(hi, lo, columns.id_pairs(ids))
        if not len(starts):
            return np.zeros(len(at) + 1, np.int64), np.empty(0, np.int64)
        return columns.ragged(starts[at], np.where(at >= 0, sizes[at], 0))

    @cached_property
    def _distinct(self) -> tuple[Array, Array, Array, Array]:
        hi, lo = np.asarray(self.keys["hi"]), np.asarray(self.keys["lo"])
        first = np.ones(len(hi), bool)
        first[1:] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
        starts = np.flatnonzero(first)
        return starts, np.diff(np.append(starts, len(hi))), hi[starts], lo[starts]

    def save(self, folder: Path) -> None:
        """A .npy file a column."""
        for name in ("keys", *_KINDS):
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map what ``save`` wrote."""
        return cls(**{n: np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in ("keys", *_KINDS)})


def refuse_repeats(keys: Array, whose: str, key: str, mend: str) -> None:
    """Raise an `InputError` where an id stands twice among ``keys`` (N,), as of `columns.id_pairs`."""
    order = np.lexsort((keys["lo"], keys["hi"]))
    if len(twice := np.flatnonzero(keys[order][1:] == keys[order][:-1])):
        hi, lo = keys[order[twice[0]]].tolist()
        raise InputError(f"{whose}: {key} {hi:016x}{lo:016x} stands on more than one row; put {mend} before it")


def laid_out(batches: Sequence[Array], when: Sequence[tuple[int, int]], keys: Array, ranks: int, shard_rows: int) -> Batches:
    """Number the batches, each an array of places in ``keys`` (N,), of these stages and epochs, and their rows.

    Place i of a batch is rank i % ``ranks``, so each rank has the same share of every batch. A batch that does not divide
    loses its last rows. Each rank's rows stand together, ``shard_rows`` at a time: files of so many rows belong to the ranks
    in turn, which is how streaming loaders deal files out, and a rank that reads its files in order has its rows in batch
    order, as many as every other. With one rank the position is the place in batch order.
    """
    cut = [rows[: len(rows) // ranks * ranks] for rows in batches]
    sizes = np.array([len(rows) for rows in cut], np.int64)
    full = np.flatnonzero(sizes)
    row = np.concatenate([np.empty(0, np.int64), *(cut[int(i)] for i in full)]).astype(np.int64)
    batch = np.repeat(np.arange(len(full)), sizes[full])
    place = np.arange(len(row))
    # a batch begins at a multiple of the ranks, so its place in the set deals its rows as its place in the batch does
    rank, mine = place % ranks, place // ranks
    position = ((mine // shard_rows) * ranks + rank) * shard_rows + mine % shard_rows if ranks > 1 else place
    stage, epoch = (np.array([when[int(i)][n] for i in full], np.int64)[batch] for n in (0, 1))
    found = keys[row]
    order = np.lexsort((position, found["lo"], found["hi"]))
    told = {"batch": batch, "position": position, "stage": stage, "epoch": epoch, "rank": rank}
    return Batches(found[order], **{name: told[name][order].astype(kind) for name, kind in _KINDS.items()})
