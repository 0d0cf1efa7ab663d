"""The nearest passages by numpy's BLAS: of float32 on the CPU, so that a worker that needs torch for nothing else never loads it.

Blocks of passages are met one after the other; what does not pass a query's last proposal so far is not looked at, and what
passes is sorted when there is as much of it as there are proposals, so some ten times, whatever the blocks. On an EPYC numpy's
products took a fifth less time than torch's.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
QUERIES, BLOCK = 512, 2048  # whose products are held at a time, 4 MiB


def by_numpy(
    queries: Array, passages: Array, wide: int, block: int = BLOCK, start: Array | None = None
) -> tuple[Array, Array]:
    """Scores (Q, wide) float32 and places of the highest products, in no order.

    Of products not above ``start`` (Q,) none need be found: in their stead stands ``start``, at -1.
    """
    cuts = [slice(i, i + QUERIES) for i in range(0, len(queries), QUERIES)]
    found = [_best(queries[c], passages, wide, block, None if start is None else start[c]) for c in cuts]
    scores, places = (np.concatenate(x) for x in zip(*found, strict=True))
    return scores, places


def _best(queries: Array, passages: Array, wide: int, block: int, start: Array | None) -> tuple[Array, Array]:
    first = 0 if start is not None else min(max(block, wide), len(passages))
    scores = queries @ passages[:first].T if start is None else np.repeat(start[:, None], wide, axis=1)
    places = np.broadcast_to(np.arange(first) if start is None else np.int64(-1), scores.shape)
    scores, places = _highest(scores, places, wide)
    last = scores.min(axis=1)
    waiting: list[tuple[Array, Array, Array]] = []
    for at in range(first, len(passages), block):
        found = queries @ passages[at : at + block].T
        row, column = np.divmod(np.flatnonzero(found > last[:, None]), found.shape[1])
        waiting.append((row, column + at, found[row, column]))
        if sum(len(r) for r, _, _ in waiting) >= scores.size:
            scores, places = _taken(scores, places, waiting)
            last, waiting = scores.min(axis=1), []
    return _taken(scores, places, waiting) if waiting else (scores, places)


def _highest(scores: Array, places: Array, wide: int) -> tuple[Array, Array]:
    if scores.shape[1] <= wide:
        return scores, places
    best = np.argpartition(scores, scores.shape[1] - wide, axis=1)[:, scores.shape[1] - wide :]
    return np.take_along_axis(scores, best, 1), np.take_along_axis(places, best, 1)


def _taken(scores: Array, places: Array, waiting: list[tuple[Array, Array, Array]]) -> tuple[Array, Array]:
    """The proposals, and what passed them, filled up with −∞: the best of both."""
    row, at, found = (np.concatenate(x) for x in zip(*waiting, strict=True))
    order = np.argsort(row.astype(np.uint16), kind="stable")  # by radix
    sizes = np.bincount(row, minlength=len(scores))
    slot = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    more = np.full((len(scores), int(sizes.max(initial=0))), -np.inf, np.float32)
    where = np.zeros(more.shape, np.int64)
    more[row[order], slot], where[row[order], slot] = found[order], at[order]
    return _highest(np.concatenate([scores, more], 1), np.concatenate([places, where], 1), scores.shape[1])
