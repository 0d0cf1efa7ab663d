"""Keep a query only where its source passage comes back among the best: the consistency filter.

E5 (arXiv:2212.03533) keeps the top 2 of a million, Arctic-Embed 2.0 (arXiv:2412.04506) the top 20.
Beside a floor on the cosine (`drop_below_floor`), on vaswani with MiniLM and half of the pairs shuffled: both remove 95 % of
the wrong ones, the top 20 of a quarter of 2,000 passages loses 15 % of the good ones, the floor 28 %. With the
best of ten ranks and pools, known only afterwards, it loses fewer than the floor in 26 of 30 cells of BENCH=curate and removes
no fewer; with one rank for all it is now the better and now the worse.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import Array, best_of_each, codes, floats, in_row, indexed, parents, text_codes
from operators.contract import Columns, Example, InputError, Outcome, Params, ids, operator, outcome_of, score, scores
from operators.index_texts import Texts

NEAR = 0.01  # between two cosines of one pair by one encoder; float16 vectors move them by 0.0003


class RoundTrip(Params):
    """How far down the source passage may stand, by place in the list or by a column of scores.

    By ``scores`` it passes with at least the score at rank ``top_k``, so that ties pass. Of several
    positives the best placed one counts. With ``own`` its own score is a column, and it need not be among what was
    searched: E5's million passages are drawn from all. Search deeper than ``top_k``, for equal texts count once;
    a list that is shorter is all that there was to search.
    """

    top_k: int = Field(default=20, ge=1)
    scores: str | None = Field(default=None, min_length=1)
    own: str | None = Field(default=None, min_length=1, description="the positive's own score, by the encoder of `scores`")
    tie: float = Field(default=0, ge=0, description="how far above the positive a score still counts as equal")

    @model_validator(mode="after")
    def _scored(self) -> Self:
        if self.scores is None and (self.own or self.tie):
            raise ValueError("own and tie compare scores; name the column of the candidates' in scores")
        return self


def _reads(p: RoundTrip) -> Columns:
    listed = {p.scores: scores} if p.scores else {}
    return {"positive_ids": ids, "candidate_ids": ids, **listed, **({p.own: score} if p.own else {})}


def _check(p: RoundTrip, using: Mapping[str, Any]) -> list[str]:
    if (depth := using.get("depth")) is not None and depth < p.top_k:
        return [f"round_trip: top_k is {p.top_k}, the search above keeps {depth}; let it keep as many at least"]
    return []


@operator("map", version="2", reads=_reads, writes={"round_trip_rank": pa.int32()}, rows="fewer", check=_check)
def round_trip(table: pa.Table, p: RoundTrip, *, texts: Texts) -> Outcome:
    """Rank each source passage among distinct texts; a row ranked below ``top_k`` is rejected.

    Raises `InputError` where ``own`` and the passage's score in the list differ: two encoders scored them.
    """
    offsets, candidates = columns.flat(table["candidate_ids"])
    positive_offsets, positives = columns.flat(table["positive_ids"])
    rows = parents(offsets)
    number, wanted = text_codes(texts, [candidates, positives])
    # Without scores the place is the score: none is shared, and the first is the highest.
    value = floats(columns.flat(table[p.scores])[1]) if p.scores else -np.arange(len(rows), dtype=np.float64)
    if p.own:
        _check_encoder(table, p, candidates, value, rows)
    seen = np.flatnonzero(~np.isnan(value))
    seen = seen[best_of_each(rows[seen], number[seen], value[seen])]
    rows, number, value = rows[seen], number[seen], value[seen]
    source = in_row(rows, number, parents(positive_offsets), wanted)
    best = _standing(table, p, rows[source], value[source])
    rank = 1 + np.bincount(rows[value > best[rows] + p.tie], minlength=len(table))
    last = np.full(len(table), np.inf)
    np.minimum.at(last, rows, value)
    absent = best + p.tie < last  # the list ends above it: how far down it stands is not known,
    if p.own:  # but where the list is all that there was
        absent &= ~((np.diff(offsets) < p.top_k) & np.isfinite(best))
    bad = absent | (rank > p.top_k)
    reasons = {
        int(i): (f"source passage not in the top {p.top_k}", "absent" if absent[i] else str(rank[i]))
        for i in np.flatnonzero(bad)
    }
    kept = table.filter(pa.array(~bad))
    return outcome_of(table, columns.put(kept, "round_trip_rank", pa.array(rank[~bad], pa.int32())), reasons)


def _check_encoder(table: pa.Table, p: RoundTrip, candidates: pa.Array, value: Array, rows: Array) -> None:
    """Of rows with one positive, which ``own`` is then the score of."""
    offsets, positives = columns.flat(table["positive_ids"])
    alone = np.flatnonzero(np.diff(offsets) == 1)
    wanted = np.full(len(table), -1)
    found, one = codes([candidates, positives])
    wanted[alone] = one[offsets[alone]]
    own = floats(columns.one_array(table[p.own]))
    for i in np.flatnonzero((found == wanted[rows]) & (np.abs(value - own[rows]) > NEAR))[:1]:
        raise InputError(
            f"round_trip: {p.own} of a passage is {own[rows[i]]:.4g} and its {p.scores} {value[i]:.4g}; "
            "name one encoder in score_pairs and in the embed steps of the search"
        )


def _standing(table: pa.Table, p: RoundTrip, rows: Array, value: Array) -> Array:
    """The score of each row's best positive, listed or its own: (N,) float64, −∞ where there is none."""
    best = np.full(len(table), -np.inf)
    if p.own:
        own = floats(table[p.own].combine_chunks())
        best = np.where(np.isnan(own), -np.inf, own)
    np.maximum.at(best, rows, value)
    return best


def example() -> Example:
    """Three queries: found first, found behind one text that stands there twice, not found."""
    words = ["oak", "birch", "Birch", "elm", "ash"]
    key, texts = indexed(words)
    of = dict(zip(words, key, strict=True))
    lists = [["oak", "elm"], ["birch", "Birch", "oak"], ["elm", "birch"]]
    table = pa.table(
        {
            "positive_ids": pa.array([[of["oak"]], [of["oak"]], [of["ash"]]], ids),
            "candidate_ids": pa.array([[of[word] for word in one] for one in lists], ids),
        }
    )
    return Example(table, RoundTrip(top_k=2), {"texts": texts})
