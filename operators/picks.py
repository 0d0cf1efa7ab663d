"""Take some of each row's candidates: the best, or by a draw that hangs on the query and the candidate alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from operators import columns, topk

Array = np.ndarray[Any, Any]


def best(rows: Array, candidates: pa.Array, value: Array, left: Array, count: int) -> Array:
    """Where the ``count`` best of each row stand among those ``left`` (M,), by row, then by (−value, id)."""
    order = best_first(rows, candidates, value, left)
    return order[topk.place_in(rows[order]) < count]


def drawn(rows: Array, candidates: pa.Array, value: Array, left: Array, count: int, seeds: Sequence[int]) -> Array:
    """As `best`, of ``count`` drawn ones; ``seeds`` has one number a row."""
    order = best_first(rows, candidates, value, left)
    wide = columns.id_pairs(candidates)[order]
    draw = columns.mix(np.array(seeds, np.uint64)[rows[order]] ^ columns.mix(wide["hi"]) ^ wide["lo"])
    shuffled = np.lexsort((wide["lo"], wide["hi"], draw, rows[order]))
    mask = np.zeros(len(order), bool)
    mask[shuffled[topk.place_in(rows[order][shuffled]) < count]] = True
    return order[mask]


def best_first(rows: Array, candidates: pa.Array, value: Array, left: Array) -> Array:
    """Where those ``left`` (M,) stand, by row, then by (−value, id)."""
    where = np.flatnonzero(left)
    single = value[where].astype(np.float32)
    order: Array = where[topk.by_score(rows[where], single if (single == value[where]).all() else value[where])]
    told = value[order]
    equal = np.flatnonzero((np.diff(rows[order]) == 0) & (told[1:] == told[:-1]))
    if len(equal):  # equals by id: sorted alone, since the two halves of an id cost as much as the rest
        at = np.unique(np.concatenate([equal, equal + 1]))
        tied = order[at]
        wide = columns.id_pairs(candidates.take(pa.array(tied)))
        order[at] = tied[np.lexsort((wide["lo"], wide["hi"], -value[tied], rows[tied]))]
    return order
