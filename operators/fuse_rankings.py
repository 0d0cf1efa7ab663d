"""Fuse any number of rankings into one: by reciprocal ranks, or by the weighted sum of their scores.

Cormack et al., SIGIR 2009: Σ w / (k + rank), k = 60. The sum of scores takes each list's between its lowest (0) and its
highest (1), as their scales have nothing in common.
"""

from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import topk
from operators.columns import content_ids, flat, id_pairs, lists, put
from operators.content import aligned, parents
from operators.contract import Columns, Example, InputError, Params, ids, operator, score, scores

Array = np.ndarray[Any, Any]
FUSED = "fused_scores"


class Ranking(Params):
    """One list: its two columns, best first, and its weight."""

    ids: str = Field(min_length=1)
    scores: str = Field(min_length=1)
    weight: float = Field(default=1.0, ge=0, description="0: its scores are told, its candidates come last")


DENSE, BM25 = Ranking(ids="candidate_ids", scores="dense_scores"), Ranking(ids="bm25_ids", scores="bm25_scores")


class FuseRankings(Params):
    """Which lists, and how they are fused."""

    rankings: tuple[Ranking, ...] = Field(default=(DENSE, BM25), min_length=2)
    method: Literal["reciprocal", "weighted"] = "reciprocal"
    k: int | None = Field(default=None, ge=1, description="of reciprocal; 60 where not said")
    top_k: int = Field(default=50, ge=1)

    @model_validator(mode="after")
    def _every_option_acts(self) -> Self:
        if self.k is not None and self.method != "reciprocal":
            raise ValueError("k does nothing under method weighted: leave it out")
        names = [name for r in self.rankings for name in (r.ids, r.scores)]
        if len(set(names)) < len(names) or FUSED in names:
            raise ValueError(f"rankings name columns of their own, each once, and not {FUSED}")
        if not any(r.weight for r in self.rankings):
            raise ValueError("rankings: every weight is 0: nothing would order the candidates")
        return self


def _reads(p: FuseRankings) -> Columns:
    return {name: kind for r in p.rankings for name, kind in ((r.ids, ids), (r.scores, scores))}


def _writes(p: FuseRankings) -> Columns:
    return {"candidate_ids": ids, **{r.scores: scores for r in p.rankings}, FUSED: scores}


@operator("map", version="2", reads=_reads, writes=_writes, rows="same")
def fuse_rankings(table: pa.Table, p: FuseRankings) -> pa.Table:
    """Candidates of all lists by fused score, then id; a scorer that did not see one leaves null. Other lists of ids end here.

    Raises `InputError` where ``candidate_ids`` is there and no ranking: the scores that belong to it would stand beside others.
    """
    if "candidate_ids" in table.column_names and "candidate_ids" not in {r.ids for r in p.rankings}:
        raise InputError("fuse_rankings: candidate_ids is there and none of the rankings; name it, or leave it out by keep")
    found, rows, parts, seen = [], [], [], []
    for ranking in p.rankings:
        offsets, values = flat(table[ranking.ids])
        number = aligned(table, ranking.scores, offsets).astype(np.float32)
        found.append(values)
        rows.append(parents(offsets))
        parts.append(ranking.weight * (_reciprocal(offsets, p.k or 60) if p.method == "reciprocal" else _spread(offsets, number)))
        seen.append(number)
    every, row = pa.concat_arrays(found), np.concatenate(rows)
    group, inverse = _groups(row, every)
    total = np.bincount(inverse, np.concatenate(parts), minlength=len(group)).astype(np.float32)
    ids_of = every.take(pa.array(group))
    offsets, order = topk.ranked(row[group], total, ids_of, len(table), p.top_k)
    table = table.drop_columns([r.ids for r in p.rankings if r.ids in table.column_names and r.ids != "candidate_ids"])
    table = put(table, "candidate_ids", lists(offsets, ids_of.take(pa.array(order))))
    for ranking, number, place in zip(p.rankings, seen, np.split(inverse, np.cumsum([len(x) for x in found])[:-1]), strict=True):
        mark = np.full(len(group), np.nan, np.float32)
        mark[place] = number
        table = put(table, ranking.scores, lists(offsets, pa.array(mark[order], score, from_pandas=True)))
    return put(table, FUSED, lists(offsets, pa.array(total[order], score)))


def _reciprocal(offsets: Array, k: int) -> Array:
    places: Array = np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets)) + 1
    return 1 / (k + places)


def _spread(offsets: Array, number: Array) -> Array:
    """Each list's scores between 0 and 1; of a list of equal ones all are 1. A null counts as the lowest."""
    rows, value, count = parents(offsets), number.astype(np.float64), len(offsets) - 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    known = ~np.isnan(value)
    np.minimum.at(low, rows[known], value[known])
    np.maximum.at(high, rows[known], value[known])
    width = np.where(high > low, high - low, 1.0)
    spread: Array = np.where(high > low, 0.0, 1.0)[rows] + (value - low[rows]) / width[rows]
    return np.where(known, spread, 0.0)


def _groups(row: Array, ids_of: pa.Array) -> tuple[Array, Array]:
    """(first place of each distinct (row, id), which of them each place is)."""
    pairs = id_pairs(ids_of) if len(ids_of) else np.empty(0, [("hi", "u8"), ("lo", "u8")])
    order = np.lexsort((pairs["lo"], pairs["hi"], row))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (row[order][1:] != row[order][:-1]) | (pairs[order][1:] != pairs[order][:-1])
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.cumsum(fresh) - 1
    return order[fresh], inverse


def example() -> Example:
    """Three queries: both lists, one alone, none."""
    a, b, c = content_ids(["a", "b", "c"]).to_pylist()
    columns = {
        "candidate_ids": pa.array([[a, b], [c], []], ids), "dense_scores": pa.array([[0.9, 0.5], [0.4], []], scores),
        "bm25_ids": pa.array([[b, c], [], []], ids), "bm25_scores": pa.array([[7.0, 2.0], [], []], scores),
    }  # fmt: skip
    return Example(pa.table(columns), FuseRankings(top_k=3))
