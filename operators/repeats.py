"""N-grams of many texts at once: whole numbers that are equal where the n-grams of one text are."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Array = np.ndarray[Any, Any]


def repeats(words: Array, rows: Array, longest: int) -> Iterator[tuple[int, Array, Array]]:
    """For n from 1 to ``longest``: n, and of the n-grams that occur twice in their text the codes (M,) and places (M,), in order.

    ``words`` (T,) are numbers, ``rows`` (T,) the text of each, in order. Codes are numbered as they first occur, so that one
    which is not above all before it stood in its text before. Exact: an n-gram is a pair of the shorter one and the word behind
    it; of one that occurs once no longer one is looked at.
    """
    if not len(words):
        return
    ends = np.searchsorted(rows, rows, side="right")  # where each word's text ends
    width = int(words.max()) + 1
    at, code = np.arange(len(words)), _codes(rows * width + words)
    for n in range(1, longest + 1):
        if n > 1:
            alive = np.zeros(len(words) + 1, bool)
            alive[at] = True
            whole = (at + n <= ends[at]) & alive[at + 1]
            at, code = at[whole], _codes(code[whole] * width + words[at[whole] + n - 1])
        twice = np.bincount(code)[code] > 1 if len(code) else np.zeros(0, bool)
        at, code = at[twice], _codes(code[twice])
        if not len(at):
            return
        yield n, code, at


def _codes(values: Array) -> Array:
    codes: Array = pc.dictionary_encode(pa.array(values)).indices.to_numpy().astype(np.int64)
    return codes


def duplicate_share(n: int, code: Array, at: Array, rows: Array, length: Array, count: int) -> Array:
    """The share of each text's characters in n-grams that stood in it before, each character once: (count,)."""
    before = np.concatenate([[-1], np.maximum.accumulate(code)[:-1]])
    return _covered(at[code <= before], n, rows, length, count)


def top_share(n: int, code: Array, at: Array, rows: Array, length: Array, count: int) -> Array:
    """The share of each text's characters in its most frequent n-gram, of equals the one of most characters, then the first."""
    often = np.bincount(code)
    first = np.flatnonzero(code > np.concatenate([[-1], np.maximum.accumulate(code)[:-1]]))
    ends = np.concatenate([[0], np.cumsum(length)])
    size = ends[at[first] + n] - ends[at[first]]
    text_of = rows[at[first]]
    order = np.lexsort((-size, -often, text_of))  # stable: codes are in the order of their first places
    best = order[np.concatenate([[True], np.diff(text_of[order]) != 0])]
    chosen = np.zeros(len(often), bool)
    chosen[best] = True
    return _covered(at[chosen[code]], n, rows, length, count)


def _covered(starts: Array, n: int, rows: Array, length: Array, count: int) -> Array:
    """The share of characters in the words that runs of n from these places cover."""
    edges = np.zeros(len(rows) + n + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + n, -1)
    inside = np.cumsum(edges[: len(rows)]) > 0
    part = np.bincount(rows, weights=length * inside, minlength=count)
    whole = np.bincount(rows, weights=length, minlength=count)
    share: Array = np.divide(part, whole, out=np.zeros(count), where=whole > 0)
    return share
