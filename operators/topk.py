"""Partial top-k tables and their merge: order is (−score, id), whatever was searched first."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from operators.columns import flat, id_pairs, lists
from operators.contract import ROW, row_id, score

Array = np.ndarray[Any, Any]
FLOOR = "_floor"  # a column of the left of a search: the least score that a row's top k may still have
SLICE = 4096  # rows of float64 products held at a time


def dots(left: Array, right: Array) -> Array:
    """The float64 dot products over the last axis of two broadcastable float32 arrays.

    Products of float32 are exact in float64, and halves are added in one fixed order, so a result hangs on
    its two vectors alone: not on the batch, on how BLAS blocks it, nor on the processor's vector width.
    """
    terms = left.astype(np.float64) * right.astype(np.float64)
    while terms.shape[-1] > 1:
        half = (terms.shape[-1] + 1) // 2
        terms[..., : terms.shape[-1] - half] += terms[..., half:]
        terms = terms[..., :half]
    total: Array = terms.sum(axis=-1)
    return total


def again(ids: pa.Array) -> Array:
    """Whether a row's id stands above already: (N,) bool; for ids that do not repeat it costs one sort of halves."""
    pairs = id_pairs(ids) if len(ids) else np.empty(0, [("hi", "u8"), ("lo", "u8")])
    found = np.zeros(len(pairs), bool)
    high = np.sort(pairs["hi"])
    if (high[1:] != high[:-1]).all():
        return found
    order = np.lexsort((pairs["lo"], pairs["hi"]))
    found[order[1:]] = pairs[order][1:] == pairs[order][:-1]
    return found


def exact(queries: Array, passages: Array, rows: Array, places: Array) -> Array:
    """`dots` of the pairs (``rows``, ``places``) (M,) of queries (Q, d) and passages (P, d), as (M,) float32.

    BLAS takes a fifth of the time for the pairs of one query, behind each other, and sums in an order of its own. Where that
    could reach the rounding to float32, of one in a million, `dots` decides.
    """
    wide, found, most = queries.astype(np.float64), np.empty(len(rows)), np.empty(len(rows))
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=False):
        for first in range(start, end, SLICE):
            cut = slice(first, min(first + SLICE, end))
            told = passages[places[cut]].astype(np.float64)
            found[cut] = told @ wide[rows[start]]
            most[cut] = max(told.max(initial=0), -told.min(initial=0))
    lengths = np.sqrt(np.einsum("qd,qd->q", wide, wide))
    error = queries.shape[1] ** 1.5 * 2.0**-51 * most * lengths[rows]  # of a sum of d terms d · 2⁻⁵³ · Σ|x·y| ≤ |x| · √d · most
    out = found.astype(np.float32)
    doubt = np.flatnonzero((found - error).astype(np.float32) != (found + error).astype(np.float32))
    for first in range(0, len(doubt), SLICE):
        some = doubt[first : first + SLICE]
        out[some] = dots(queries[rows[some]], passages[places[some]])
    return out


def ranked(rows: Array, scores: Array, ids: pa.Array, count: int, top_k: int) -> tuple[Array, Array]:
    """Rank (M,) candidates of ``count`` rows: (offsets (count+1,), positions of those kept).

    Each row keeps its ``top_k`` best by (−score, id); an id that is there twice counts once, at its best.
    """
    pairs = id_pairs(ids) if len(ids) else np.empty(0, [("hi", "u8"), ("lo", "u8")])
    order = by_score(rows, scores)
    alike = (rows[order[1:]] == rows[order[:-1]]) & (scores[order[1:]] == scores[order[:-1]])
    tied = np.flatnonzero(np.append(alike, False) | np.insert(alike, 0, False)) if len(order) else order
    among = order[tied]
    order[tied] = among[np.lexsort((pairs["lo"][among], pairs["hi"][among], -scores[among], rows[among]))]
    order = order[~_repeated(rows[order], pairs[order])]
    order = order[place_in(rows[order]) < top_k]
    return np.concatenate([[0], np.cumsum(np.bincount(rows[order], minlength=count))]).astype(np.int64), order


def place_in(rows: Array) -> Array:
    """Of sorted rows (M,) the place of each among its equals, from 0: (M,) int64."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    place: Array = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return place


def by_score(rows: Array, scores: Array) -> Array:
    """Positions by row, then from the highest score down; ties as they come. One sort of one number takes a tenth of two."""
    if scores.dtype != np.float32:
        return np.lexsort((-scores, rows))
    bits = (scores + np.float32(0)).view(np.uint32)  # and −0 is 0
    falling = np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF))
    return np.argsort((rows.astype(np.uint64) << np.uint64(32)) | falling)


def _repeated(rows: Array, pairs: Array) -> Array:
    """Whether a row has met an id before, of (M,) rows and ids: (M,) bool."""
    out = np.zeros(len(rows), bool)
    mixed = pairs["lo"] ^ (rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    inorder = np.sort(mixed)
    if (inorder[1:] != inorder[:-1]).all():
        return out
    at = np.flatnonzero(np.isin(mixed, inorder[1:][inorder[1:] == inorder[:-1]]))
    order = at[np.lexsort((at, pairs["lo"][at], pairs["hi"][at], rows[at]))]
    out[order[1:]] = (rows[order[1:]] == rows[order[:-1]]) & (pairs[order[1:]] == pairs[order[:-1]])
    return out


def partial(names: tuple[str, str], row: Any, rows: Array, scores: Array, ids: pa.Array, top_k: int) -> pa.Table:
    """A partial: ``_row`` and the two list columns ``names`` (ids, scores), a row a left row.

    ``row`` (N,) is the left side's `_row`; ``rows`` (M,) are positions in it.
    """
    offsets, order = ranked(rows, scores, ids, len(row), top_k)
    chosen = ids.take(pa.array(order))
    found = [lists(offsets, chosen), lists(offsets, pa.array(scores[order].astype(np.float32), score))]
    return pa.table([row, *found], names=[ROW, *names])


def merge(names: tuple[str, str], partials: Sequence[pa.Table], top_k: int) -> pa.Table:
    """The partial of everything that ``partials`` searched; associative and commutative."""
    every = pa.concat_tables(partials)
    left = every[ROW].to_numpy()
    labels, where = np.unique(left, return_inverse=True)
    offsets, ids = flat(every[names[0]])
    _, values = flat(every[names[1]])
    rows = np.repeat(where, np.diff(offsets))
    found = values.to_numpy(zero_copy_only=False).astype(np.float32)
    return partial(names, pa.array(labels, pa.int32()), rows, found, ids.cast(row_id), top_k)
