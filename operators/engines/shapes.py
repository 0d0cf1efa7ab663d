"""Canonical shapes: what a model returns for a row depends on that row alone.

A matrix product in another shape sums in another order, so the last bits of a vector would tell
who its neighbours were. Here the length of a row alone fixes the shape that it is computed in:
tokens padded to a multiple of 16, a fixed count of rows for that length, blanks where rows lack.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
STEP = 16  # tokens are padded to a multiple of it
BUDGET = 256  # tokens of a batch, pads included: 2048 was 0.7 as fast on 342 texts and took 8 times as long on 15
HALF_BUDGET = 1024  # in bfloat16, which AMX multiplies in tiles: 4 rows of 256 tokens gave 15,700 tokens/s, 1 row 12,100


def budget_of(dtype: str) -> int:
    """The tokens of a batch of a model in this dtype."""
    return HALF_BUDGET if dtype == "bfloat16" else BUDGET


def padded(tokens: int, step: int = STEP) -> int:
    """The length that a row of so many tokens is computed at."""
    return max(step, -(-tokens // step) * step)


def rows_at(length: int, budget: int = BUDGET) -> int:
    """The rows of every batch at a padded length: one, or a multiple of four.

    A product with a single output column (a cross-encoder's head) gave two, three or five rows
    bits that depend on a row's place; one, four, eight and sixteen rows never.
    """
    return max(1, budget // length // 4 * 4)


def batches(lengths: Sequence[int], budget: int = BUDGET) -> Iterator[tuple[int, int, Array]]:
    """Cut rows by length: (padded length, rows of the shape, positions; fewer than rows in the last)."""
    wide = np.array([padded(n) for n in lengths], np.int64)
    order = np.argsort(wide, kind="stable")
    edges = np.flatnonzero(np.diff(wide[order])) + 1
    for group in np.split(order, edges) if len(order) else []:
        length = int(wide[group[0]])
        rows = rows_at(length, budget)
        for i in range(0, len(group), rows):
            yield length, rows, group[i : i + rows]


def token_batch(ids: Sequence[Sequence[int]], length: int, rows: int, pad: int) -> tuple[Array, Array]:
    """Token ids and mask (rows, length); a row that lacks is one pad token, so that its mean exists."""
    tokens, mask = np.full((rows, length), pad, np.int64), np.zeros((rows, length), np.int64)
    mask[:, 0] = 1
    for i, row in enumerate(ids):
        tokens[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return tokens, mask


def run_rows(
    ids: Sequence[Sequence[int]], pad: int, forward: Callable[[Array, Array], Array], budget: int = BUDGET
) -> Iterator[tuple[Array, Array]]:
    """Call ``forward(tokens, mask)`` in canonical shapes: yields (positions, its rows for them)."""
    for length, rows, where in batches([len(row) for row in ids], budget):
        tokens, mask = token_batch([ids[i] for i in where], length, rows, pad)
        yield where, forward(tokens, mask)[: len(where)]


def one_thread() -> None:
    """Torch on one thread: bytes must not depend on the count, and the workers are the parallelism.

    And no bars while loading: progress is shown by whoever runs the work.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()

    torch.set_num_threads(1)
    with contextlib.suppress(RuntimeError):  # it may be set only before the first parallel work
        torch.set_num_interop_threads(1)
