"""Let the judges choose: the passage that all scorers together rank first becomes the positive (Gecko, arXiv:2403.20327 §3.2).

A query that was written from one passage is often answered better by another. Gecko has an LLM score the retrieved ones in
two ways, fuses the ranks and takes the first as positive, a low one as hard negative; about 15 % of its positives move.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns, picks, topk
from operators.content import Array, aligned, both_codes, indexed, near, parents
from operators.contract import Columns, Example, Outcome, Params, flag, ids, operator, outcome_of, score, scores
from operators.index_documents import Documents
from operators.index_texts import Texts


class Judge(Params):
    """One scorer's two columns, as `score_teacher` writes them."""

    scores: str = Field(min_length=1, description="of the candidates")
    positives: str = Field(min_length=1, description="of the positives, the seed passages")


GECKO = (
    Judge(scores="likelihood_scores", positives="likelihood_positives"),
    Judge(scores="relevance_scores", positives="relevance_positives"),
)


class RelabelPositives(Params):
    """Who judges, and which place of the fused ranking is the negative.

    That is no seed, which answers, too, nor nearly one, nor nearly the positive; with ``documents`` none of their documents'.
    """

    judges: tuple[Judge, ...] = Field(default=GECKO, min_length=1)
    k: int = Field(default=60, ge=1, description="of the reciprocal ranks 1 / (k + rank)")
    negative_rank: int | None = Field(default=20, ge=2, description="null, or fewer passages than this: the lowest")
    near_duplicate: float | None = Field(default=0.8, gt=0, le=1, description="as of select_negatives")


WRITES: Columns = {
    "positive_ids": ids, "positive_scores": scores, "negative_ids": ids, "negative_scores": scores,
    "seed_ids": ids, "seed_rank": pa.int32(), "relabelled": flag,
}  # fmt: skip


def _reads(p: RelabelPositives) -> Columns:
    told = {name: scores for judge in p.judges for name in (judge.scores, judge.positives)}
    return {"positive_ids": ids, "candidate_ids": ids, **told}


@operator("map", version="3", reads=_reads, writes=WRITES, rows="fewer")
def relabel_positives(table: pa.Table, p: RelabelPositives, *, texts: Texts, documents: Documents | None = None) -> Outcome:
    """One positive and one negative a row, with their fused scores; the seed stays as ``seed_ids``, with its place.

    Judged are the seed passages and the candidates, each text once, that every judge has a score of; a row without one that
    may be the negative is a reject.
    """
    rows, passages, judged, seeds = _judged(table, p, texts)
    fused = _fused(p, rows, passages, judged)
    order = picks.best_first(rows, passages, fused, np.ones(len(rows), bool))
    counts = np.bincount(rows, minlength=len(table))
    first = np.cumsum(counts) - counts
    place_of = np.arange(len(order)) - np.repeat(first, counts) + 1
    may = (place_of > 1) & ~seeds[order]
    answers = _answers(table, np.flatnonzero(counts), passages.take(pa.array(order[first[counts > 0]])))
    may[may] = ~_close(p, rows[order[may]], passages.take(pa.array(order[may])), *answers, texts, documents)
    few = np.bincount(rows[order[may]], minlength=len(table)) == 0
    # The place that is asked for, else the nearest above it, else the nearest below.
    within = may & (place_of <= (p.negative_rank or len(order) + 1))
    at = np.full(len(table), len(order), np.int64)
    np.minimum.at(at, rows[order[may]], np.flatnonzero(may))
    np.maximum.at(at, rows[order[within]], np.flatnonzero(within))
    low = order[at[~few]]
    best = order[first[~few]]
    seed = np.full(len(table), np.iinfo(np.int32).max)
    rank_of = np.empty(len(order), np.int64)
    rank_of[order] = place_of
    np.minimum.at(seed, rows[seeds], rank_of[seeds])
    kept = table.filter(pa.array(~few))
    one = np.arange(len(kept) + 1)
    values: dict[str, Any] = {
        "seed_ids": kept["positive_ids"], "positive_ids": columns.lists(one, passages.take(pa.array(best))),
        "positive_scores": columns.lists(one, pa.array(fused[best].astype(np.float32), score)),
        "negative_ids": columns.lists(one, passages.take(pa.array(low))),
        "negative_scores": columns.lists(one, pa.array(fused[low].astype(np.float32), score)),
        "seed_rank": pa.array(seed[~few].astype(np.int32)), "relabelled": pa.array(~seeds[best], flag),
    }  # fmt: skip
    for name, value in values.items():
        kept = columns.put(kept, name, value)
    reasons = {int(i): ("no passage to be the negative", f"{counts[i]} judged") for i in np.flatnonzero(few)}
    return outcome_of(table, kept, reasons)


def _fused(p: RelabelPositives, rows: Array, passages: pa.Array, judged: Array) -> Array:
    """(M,) the reciprocal ranks by all judges, added."""
    fused = np.zeros(len(rows))
    for scored in judged.T:
        order = picks.best_first(rows, passages, scored, np.ones(len(rows), bool))
        rank = np.empty(len(rows), np.int64)
        rank[order] = topk.place_in(rows[order]) + 1
        fused += 1 / (p.k + rank)
    return fused


def _answers(table: pa.Table, rows: Array, best: pa.Array) -> tuple[Array, pa.Array]:
    """(rows, ids) of the seeds and of each row's positive, by row."""
    owners, seeds = columns.flat(table["positive_ids"])
    every = np.concatenate([parents(owners), rows])
    order = np.argsort(every, kind="stable")
    return every[order], pa.concat_arrays([seeds, best]).take(pa.array(order))


def _close(
    p: RelabelPositives, rows: Array, found: pa.Array, of_rows: Array, answers: pa.Array, texts: Texts,
    documents: Documents | None,
) -> Array:  # fmt: skip
    """Whether a passage is nearly an answer of its row, or of the document of one: (M,) bool."""
    close = np.zeros(len(rows), bool) if documents is None else documents.own(rows, found, of_rows, answers)
    if p.near_duplicate is not None:
        left = np.flatnonzero(~close)
        close[left] = near(texts, rows[left], found.take(pa.array(left)), of_rows, answers, p.near_duplicate)
    return close


def _judged(table: pa.Table, p: RelabelPositives, texts: Texts) -> tuple[Array, pa.Array, Array, Array]:
    """(rows, ids, scores (M, judges), whether it is a seed) of each row's distinct texts; a seed stands for its copies."""
    (owners, seeds), (offsets, found) = (columns.flat(table[name]) for name in ("positive_ids", "candidate_ids"))
    rows = np.concatenate([parents(owners), parents(offsets)])
    told = []
    for judge in p.judges:
        told.append(np.concatenate([aligned(table, judge.positives, owners), aligned(table, judge.scores, offsets)]))
    passages, scored = pa.concat_arrays([seeds, found]), np.stack(told, axis=1)
    [of_id], [number] = both_codes(texts, [passages])
    seed = np.arange(len(rows)) < len(seeds)
    known = np.flatnonzero(~np.isnan(scored).any(axis=1))
    order = known[np.lexsort((of_id[known], ~seed[known], number[known], rows[known]))]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(rows[order]) != 0) | (np.diff(number[order]) != 0)
    chosen = order[fresh]
    return rows[chosen], passages.take(pa.array(chosen)), scored[chosen], seed[chosen]


def example() -> Example:
    """Three queries: one whose seed is beaten, one whose seed is best, one with the seed alone."""
    words = ["oak", "birch", "elm", "ash"]
    key, texts = indexed(words)
    a, b, c, d = key
    table = {
        "positive_ids": pa.array([[a], [b], [c]], ids), "candidate_ids": pa.array([[b, a, c], [d], []], ids),
        "likelihood_scores": pa.array([[-1.0, -2.0, -3.0], [-3.0], []], scores),
        "likelihood_positives": pa.array([[-2.0], [-1.0], [-1.0]], scores),
        "relevance_scores": pa.array([[0.9, 0.5, 0.1], [0.2], []], scores),
        "relevance_positives": pa.array([[0.5], [0.9], [0.5]], scores),
    }  # fmt: skip
    return Example(pa.table(table), RelabelPositives(), {"texts": texts})
