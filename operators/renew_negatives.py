"""Replace the negatives that went easy under a newer checkpoint, and say which (Conan-embedding, arXiv:2408.15710 §3.3).

A row holds what both checkpoints found: mine with the old one, as before, then embed and search with the new one into
columns of their own. All that the old one needs is stored, so only the new one costs. A negative went easy where
1.15 · s_now < s_then and |s_now| < 0.8; Conan asks every 100 steps, here it is asked once a checkpoint.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns, picks
from operators.content import Array, aligned, best_of_each, codes, in_row, indexed, looked_up, near, parents, text_codes
from operators.contract import Columns, Example, Params, ids, operator, score, scores
from operators.index_documents import Documents
from operators.index_texts import Texts


class RenewNegatives(Params):
    """What easy is, and from where the new ones come."""

    factor: float = Field(default=1.15, gt=0, description="easy where factor · s_now < s_then …")
    bound: float = Field(default=0.8, gt=0, description="… and |s_now| is below this; so is what is no longer found")
    skip: int = Field(default=10, ge=0, description="first ranks of the new search that give no negative: likely false ones")
    below: float | None = Field(
        default=None, ge=0, description="new ones score below the lowest positive by this share of it; null: they need not"
    )
    near_duplicate: float | None = Field(default=0.8, gt=0, le=1, description="as of select_negatives")
    then: str = Field(default="dense_scores", min_length=1, description="the old checkpoint's scores of candidate_ids")
    ids: str = Field(default="renewed_ids", min_length=1, description="what the new checkpoint found")
    scores: str = Field(default="renewed_scores", min_length=1, description="and its scores")


WRITES: Columns = {"negative_ids": ids, "negative_scores": scores, "dropped_ids": ids, "added_ids": ids}


def _reads(p: RenewNegatives) -> Columns:
    return {"positive_ids": ids, "negative_ids": ids, "candidate_ids": ids, p.then: scores, p.ids: ids, p.scores: scores}


@operator("map", version="2", reads=_reads, writes=WRITES, rows="same")
def renew_negatives(table: pa.Table, p: RenewNegatives, *, texts: Texts, documents: Documents | None = None) -> pa.Table:
    """As many negatives a row as before; ``negative_scores`` are the new checkpoint's, null of one that it did not find.

    ``dropped_ids`` went easy and were replaced by ``added_ids``, each by one that scores higher now; an easy one stays where
    nothing can take its place.
    """
    lists = {name: columns.flat(table[name]) for name in ("positive_ids", "negative_ids", "candidate_ids", p.ids)}
    rows = {name: parents(offsets) for name, (offsets, _) in lists.items()}
    numbers = dict(zip(lists, codes([ids_ for _, ids_ in lists.values()]), strict=True))
    old_scores = aligned(table, p.then, lists["candidate_ids"][0])
    negatives = rows["negative_ids"], numbers["negative_ids"]
    then = looked_up(*negatives, rows["candidate_ids"], numbers["candidate_ids"], old_scores)
    value = aligned(table, p.scores, lists[p.ids][0])
    now = looked_up(*negatives, rows[p.ids], numbers[p.ids], value)
    easy = np.isnan(now) | ((p.factor * now < then) & (np.abs(now) < p.bound))
    free = _free(p, lists, rows, value, texts, documents)
    if p.below is not None:
        free &= value < _limits(len(table), rows, numbers, value, p)[rows[p.ids]]
    old = rows["negative_ids"], np.nan_to_num(now, nan=-np.inf), easy
    chosen, gone = _matched(old, (rows[p.ids], value, free), lists[p.ids][1])
    dropped = np.isin(np.arange(len(now)), gone)
    return _written(table, p, lists, rows, (now, dropped), (value, chosen))


def _limits(count: int, rows: dict[str, Array], numbers: dict[str, Array], value: Array, p: RenewNegatives) -> Array:
    """Below what a row's new ones must score; −∞ where the new search found not every positive."""
    told = looked_up(rows["positive_ids"], numbers["positive_ids"], rows[p.ids], numbers[p.ids], value)
    lowest = np.full(count, np.inf)
    np.minimum.at(lowest, rows["positive_ids"], np.nan_to_num(told, nan=-np.inf))
    known = np.isfinite(lowest)
    lowest[~known] = -np.inf
    lowest[known] -= np.abs(lowest[known]) * (p.below or 0)
    return lowest


def _matched(old: tuple[Array, Array, Array], new: tuple[Array, Array, Array], found: pa.Array) -> tuple[Array, Array]:
    """(places of the new, places of the old): a row's best new one replaces its easiest, the next the next, while it is better.

    Both sides are told as rows, scores, and which of them may go or come.
    """
    (rows, now, easy), (found_rows, value, free) = old, new
    order = np.flatnonzero(easy)
    order = order[np.lexsort((-order, now[order], rows[order]))]
    sizes = np.bincount(rows[order], minlength=int(found_rows.max(initial=-1)) + 1)
    chosen = picks.best(found_rows, found, value, free, max(int(sizes.max(initial=0)), 1))
    place = np.arange(len(chosen)) - np.searchsorted(found_rows[chosen], found_rows[chosen])
    enough = place < sizes[found_rows[chosen]]
    chosen, place = chosen[enough], place[enough]
    gone = order[np.searchsorted(rows[order], found_rows[chosen]) + place]
    better = value[chosen] > now[gone]
    return chosen[better], gone[better]


def _free(
    p: RenewNegatives, lists: dict[str, Any], rows: dict[str, Array], value: Array, texts: Texts, documents: Documents | None
) -> Array:
    """Which finds of the new search may become negatives."""
    offsets, found = lists[p.ids]
    own, positives = rows["positive_ids"], lists["positive_ids"][1]
    said, known, told = text_codes(texts, [found, positives, lists["negative_ids"][1]])
    rank = np.arange(len(found)) - offsets[rows[p.ids]]
    free: Array = (rank >= p.skip) & ~np.isnan(value)
    free &= ~in_row(rows[p.ids], said, own, known) & ~in_row(rows[p.ids], said, rows["negative_ids"], told)
    free &= best_of_each(rows[p.ids], said, -rank)
    if documents is not None:
        free &= ~documents.own(rows[p.ids], found, own, positives)
    if p.near_duplicate is not None:
        left = np.flatnonzero(free)
        free[left[near(texts, rows[p.ids][left], found.take(pa.array(left)), own, positives, p.near_duplicate)]] = False
    return free


def _written(table: pa.Table, p: RenewNegatives, lists: dict[str, Any], rows: dict[str, Array], old: Any, new: Any) -> pa.Table:
    (now, dropped), (value, chosen) = old, new
    negatives, found = lists["negative_ids"][1], lists[p.ids][1]
    stays, gone = np.flatnonzero(~dropped), np.flatnonzero(dropped)
    both_rows = np.concatenate([rows["negative_ids"][stays], rows[p.ids][chosen]])
    both = pa.concat_arrays([negatives.take(pa.array(stays)), found.take(pa.array(chosen))])
    numbers = np.concatenate([now[stays], value[chosen]])
    order = np.argsort(both_rows, kind="stable")

    def listed(owner: Array, values: pa.Array) -> pa.Array:
        ends = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(table)))])
        return columns.lists(ends, values)

    told = numbers[order].astype(np.float32)
    out = columns.put(table, "negative_ids", listed(both_rows, both.take(pa.array(order))))
    out = columns.put(out, "negative_scores", listed(both_rows, pa.array(told, score, from_pandas=True)))
    out = columns.put(out, "dropped_ids", listed(rows["negative_ids"][gone], negatives.take(pa.array(gone))))
    return columns.put(out, "added_ids", listed(rows[p.ids][chosen], found.take(pa.array(chosen))))


def example() -> Example:
    """Three queries: one negative went easy, one still is hard, one has nothing to take its place."""
    words = ["oak", "birch", "elm", "ash"]
    key, texts = indexed(words)
    a, b, c, d = key
    table = {
        "positive_ids": pa.array([[a], [a], [b]], ids), "negative_ids": pa.array([[b, c], [b], [c]], ids),
        "candidate_ids": pa.array([[b, c], [b], [c]], ids), "dense_scores": pa.array([[0.7, 0.6], [0.7], [0.5]], scores),
        "renewed_ids": pa.array([[d, c, b], [b, d], [b]], ids),
        "renewed_scores": pa.array([[0.7, 0.65, 0.2], [0.69, 0.1], [0.9]], scores),
    }  # fmt: skip
    return Example(pa.table(table), RenewNegatives(skip=0), {"texts": texts})
