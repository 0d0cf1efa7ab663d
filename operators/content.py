"""Compare listed passages by what they say: whole numbers that are equal where the texts are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from operators import columns
from operators.index_texts import Texts

Array = np.ndarray[Any, Any]


def parents(offsets: Array) -> Array:
    """The row that each value of a flattened list column stands in: (M,) int64."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def codes(arrays: Sequence[pa.Array]) -> list[Array]:
    """The ids of all arrays as numbers from 0, equal where the ids are: one (M,) int64 an array."""
    pairs = np.concatenate([columns.id_pairs(one) for one in arrays])
    order = np.lexsort((pairs["lo"], pairs["hi"]))  # ten times as fast as np.unique of pairs
    fresh = np.zeros(len(pairs), np.int64)
    fresh[1:] = pairs[order][1:] != pairs[order][:-1]
    number = np.empty(len(pairs), np.int64)
    number[order] = np.cumsum(fresh)
    return np.split(number, np.cumsum([len(one) for one in arrays])[:-1])


def text_codes(texts: Texts, arrays: Sequence[pa.Array]) -> list[Array]:
    """`codes` of the passages' content, so that two ids of one text count as one."""
    return codes([texts.keys(one) for one in arrays])


def in_row(rows: Array, number: Array, of_rows: Array, of_number: Array) -> Array:
    """Whether each (row, number) is among the others: (M,) bool."""
    width = max(int(number.max(initial=0)), int(of_number.max(initial=0))) + 1
    return np.isin(rows * width + number, of_rows * width + of_number)


def best_of_each(rows: Array, number: Array, value: Array) -> Array:
    """Where the highest value of each (row, number) stands, the earliest of equals: a mask (M,)."""
    order = np.lexsort((np.arange(len(rows)), -value, number, rows))
    first = np.ones(len(rows), bool)
    first[1:] = (np.diff(rows[order]) != 0) | (np.diff(number[order]) != 0)
    mask = np.zeros(len(rows), bool)
    mask[order[first]] = True
    return mask


def floats(values: pa.Array) -> Array:
    """Scores as float64, null as NaN."""
    numbers: Array = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers
