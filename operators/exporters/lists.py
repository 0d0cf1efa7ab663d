"""Positives and negatives of a row as one list, positives first."""

from typing import Any

import numpy as np
import pyarrow as pa

from operators.columns import flat, lists, ragged
from operators.contract import score

Array = np.ndarray[Any, Any]


def both(table: pa.Table, kind: str) -> tuple[Array, pa.Array]:
    """The values of ``positive<kind>`` and, behind each row's, of ``negative<kind>``: offsets (N+1,), values (M,)."""
    sides = [flat(table[name]) for name in (f"positive{kind}", f"negative{kind}") if name in table.column_names]
    sizes = [np.diff(ends) for ends, _ in sides]
    joined = pa.concat_arrays([values for _, values in sides])
    starts = [ends[:-1] + base for (ends, _), base in zip(sides, (0, len(sides[0][1])), strict=False)]
    _, places = ragged(np.stack(starts, 1).ravel(), np.stack(sizes, 1).ravel())
    offsets = np.concatenate([[0], np.cumsum(sum(sizes))]).astype(np.int64)
    return offsets, joined.take(pa.array(places))


def beside(table: pa.Table, kind: str) -> pa.Array:
    """The ``scores``, or as ``labels`` 1 and 0, of what `both` lists: a list column of float32."""
    if kind == "scores":
        return lists(*both(table, "_scores"))
    offsets, _ = both(table, "_ids")
    positive = np.diff(flat(table["positive_ids"])[0])
    places = np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))
    return lists(offsets, pa.array((places < np.repeat(positive, np.diff(offsets))).astype(np.float32), score))
