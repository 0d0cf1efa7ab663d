"""Fill batches by first fit so that what must not meet in one never does.

A row holds numbers: of its labels, of the texts of its query and its positives. It refuses others: of its negatives. No
number is held twice in a batch, and none that a row of it refuses.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from operators import columns
from operators.content import codes, parents
from operators.fit_classes import DuplicateClasses
from operators.index_documents import Documents
from operators.index_texts import Texts

Array = np.ndarray[Any, Any]
OPEN = 32  # batches of a stratum that are filled side by side; a row that fits none closes the oldest
PASSES = 16  # over the rows of closed batches; two do unless a few texts are everywhere
Filled = tuple[list[Array], list[Array]]  # places of the full batches, and of the others


class Contents:
    """What each row holds and refuses, as whole numbers: eight bytes a number."""

    def __init__(self, held: Array, refused: Array, rows: int, width: int) -> None:
        """Each (M,) is row · ``width`` + number."""
        self._held, self._refused = _by_row(held, rows, width), _by_row(refused, rows, width)

    def of(self, row: int) -> tuple[list[int], list[int]]:
        """The numbers that a row holds, and those that it refuses."""
        (ends, held), (stops, refused) = self._held, self._refused
        return held[ends[row] : ends[row + 1]].tolist(), refused[stops[row] : stops[row + 1]].tolist()


def contents(
    alone: Sequence[Array], asked: pa.ChunkedArray, lists: Sequence[tuple[Array, pa.Array]], texts: Texts,
    classes: DuplicateClasses | None = None, documents: Documents | None = None,
) -> Contents:  # fmt: skip
    """Of N rows: numbers that may stand once in a batch, an array (N,) a kind, the key of what its query says (N,), and
    positives, perhaps negatives, as lists of ids.

    Two ids are one where their texts are; with ``classes`` where they are near-duplicates, with ``documents`` where a
    document has both.
    """  # noqa: D205
    count = len(asked)
    rows = [parents(offsets) for offsets, _ in lists]
    values = [ids for _, ids in lists]
    said, *keys = codes([asked, *(texts.keys(one) for one in values)])
    kinds = [list(zip(rows, keys, strict=True))]
    kinds[0][0] = (np.append(np.arange(count), rows[0]), np.append(said, keys[0]))
    if classes is not None:
        kinds.append(list(zip(rows, codes([classes.of(one) for one in values]), strict=True)))
    if documents is not None:
        found = [documents.of(one) for one in values]
        owner = [np.repeat(row, np.diff(offsets)) for row, (offsets, _) in zip(rows, found, strict=True)]
        kinds.append(list(zip(owner, codes([ids for _, ids in found]), strict=True)))
    kinds = [*([(np.arange(count), np.unique(one, return_inverse=True)[1])] for one in alone), *kinds]
    firsts = np.cumsum([0, *(1 + max(int(number.max(initial=0)) for _, number in of) for of in kinds)]).tolist()
    width = firsts[-1]
    told: list[list[Array]] = [[], []]
    for of, first in zip(kinds, firsts, strict=False):
        for side, (row, number) in zip(told, of, strict=False):
            side.append(row * width + number + first)
    held, refused = (np.concatenate([np.empty(0, np.int64), *side]) for side in told)
    return Contents(held, refused, count, width)


def _by_row(told: Array, rows: int, width: int) -> tuple[Array, Array]:
    told = np.unique(told)
    return np.searchsorted(told, np.arange(rows + 1) * width), told % width


class _Open:
    """A batch being filled: its places, and the numbers that stand in it."""

    __slots__ = ("held", "places", "refused")

    def __init__(self) -> None:
        self.places: list[int] = []
        self.held: set[int] = set()
        self.refused: set[int] = set()

    def fits(self, held: list[int], refused: list[int]) -> bool:
        return self.held.isdisjoint(held) and self.refused.isdisjoint(held) and self.held.isdisjoint(refused)

    def put(self, place: int, held: list[int], refused: list[int]) -> None:
        self.places.append(place)
        self.held.update(held)
        self.refused.update(refused)


def settle(order: Array, rows: Array, strata: Array, known: Contents, size: int) -> Filled:
    """Fill batches of ``size`` with the places in ``order``, each of a row and a stratum (S,); then again from what was left.

    Each turn takes what is left over from the last, as long as that makes full batches.
    """
    full, loose = _fill(order, rows, strata, known, size)
    for _ in range(PASSES):
        left = np.concatenate([np.empty(0, np.int64), *loose])
        more, rest = _fill(order[np.isin(order, left)], rows, strata, known, size)
        if not more:
            break
        full, loose = full + more, rest
    return full, loose


def _fill(order: Array, rows: Array, strata: Array, known: Contents, size: int) -> Filled:
    open_ones: dict[int, list[_Open]] = {}
    full, loose = [], []
    for part in range(0, len(order), columns.SLICE):
        here = order[part : part + columns.SLICE]
        for place, row, stratum in zip(here.tolist(), rows[here].tolist(), strata[here].tolist(), strict=True):
            held, refused = known.of(row)
            mine = open_ones.setdefault(stratum, [])
            fitting = next((b for b in mine if b.fits(held, refused)), None)
            if fitting is None:
                fitting = _Open()
                mine.append(fitting)
                if len(mine) > OPEN:
                    loose.append(np.array(mine.pop(0).places))
            fitting.put(place, held, refused)
            if len(fitting.places) == size:
                full.append(np.array(fitting.places))
                mine.remove(fitting)
    return full, loose + [np.array(b.places) for mine in open_ones.values() for b in mine]


def tour(matrix: Array, start: int) -> Array:
    """When each of K unit vectors is met on a walk that goes on to the nearest one not yet met (cde, arXiv:2410.02525): (K,).

    K² · d products; products are cut to 2^-20, so that no last bit of theirs turns the walk.
    """
    when = np.full(len(matrix), -1, np.int64)
    wide, at = matrix.astype(np.float64), start
    for turn in range(len(matrix)):
        when[at] = turn
        near = np.where(when < 0, np.round((wide @ wide[at]) * 2**20), -np.inf)
        at = int(near.argmax())
    return when
