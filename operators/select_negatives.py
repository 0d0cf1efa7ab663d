"""Choose hard negatives that the scorer places safely below the positive.

NV-Retriever (arXiv:2407.15831): TopK-PercPos, TopK-MarginPos, TopK-Abs and rank windows. The product
``0.95 · p`` of the paper loosens the rule where p < 0; ``p − |p| · margin`` is safe for either sign.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import Array, best_of_each, codes, floats, in_row, parents, text_codes
from operators.contract import (
    Columns,
    ContractError,
    Example,
    Outcome,
    Params,
    ids,
    operator,
    outcome_of,
    row_id,
    score,
    scores,
    text,
)
from operators.index_texts import IndexTexts, Texts, index_texts

_RELATIVE = ("percentage", "margin")  # policies that need the positive's score
_RULES = (
    "positive",
    "text of a positive",
    "without score",
    "text again",
    "outside the ranks",
    "scored too high",
)


class SelectNegatives(Params):
    """The rule, and how many negatives to take of those it leaves; never filled up.

    ``rank_from``–``rank_to`` count places in the candidate list as it came, positives included, from 1.
    ``max_score`` and the ranks act beside every policy. ``quantile`` is over the query's own candidates.
    """

    policy: Literal["percentage", "margin", "absolute", "window", "quantile"] = "percentage"
    score: str = Field(default="teacher_scores", min_length=1)
    margin: float | None = Field(default=None, ge=0)  # percentage, margin; 0.05 where not given
    max_score: float | None = None  # keep below it
    rank_from: int | None = Field(default=None, ge=1)
    rank_to: int | None = Field(default=None, ge=1)
    quantile: float | None = Field(default=None, ge=0, le=1)
    negatives: int = Field(default=5, ge=1)
    min_negatives: int = Field(default=1, ge=1)
    pick: Literal["top", "random"] = "top"
    seed: int = Field(default=0, ge=0)  # pick: random

    @model_validator(mode="after")
    def _every_option_acts(self) -> Self:
        if self.margin is not None and self.policy not in _RELATIVE:
            raise ValueError(f"margin does nothing under policy {self.policy}: leave it out")
        if self.quantile is not None and self.policy != "quantile":
            raise ValueError(f"quantile does nothing under policy {self.policy}: leave it out")
        missing = {
            "absolute": self.max_score is None and "max_score",
            "quantile": self.quantile is None and "quantile",
            "window": self.rank_from is None and self.rank_to is None and "rank_from or rank_to",
        }.get(self.policy)
        if missing:
            raise ValueError(f"policy {self.policy} needs {missing}")
        if self.rank_from and self.rank_to and self.rank_from > self.rank_to:
            raise ValueError("rank_from is above rank_to: no candidate lies between them")
        if self.min_negatives > self.negatives:
            raise ValueError("min_negatives is above negatives: every query would be rejected")
        return self


def _reads(p: SelectNegatives) -> Columns:
    fixed = {"query_id": row_id, "positive_ids": ids, "candidate_ids": ids, p.score: scores}
    own = p.score == "teacher_scores" and p.policy in _RELATIVE
    return {**fixed, "positive_scores": scores} if own else fixed


def _check(p: SelectNegatives, using: Mapping[str, Any]) -> Sequence[str]:
    space = using.get("teacher_space")
    if p.policy != "percentage" or p.score != "teacher_scores" or space not in ("logit", "log-probability"):
        return []
    return [
        f"select_negatives: policy: percentage has no meaning on a {space}, whose zero is arbitrary; "
        "use policy: margin, or give the teacher an activation in models.yaml"
    ]


@operator(
    "map",
    version="1",
    reads=_reads,
    writes={"negative_ids": ids, "negative_scores": scores},
    rows="fewer",
    check=_check,
)
def select_negatives(table: pa.Table, p: SelectNegatives, *, texts: Texts) -> Outcome:
    """N queries with M candidates in all: apply the rules, choose, reject queries with too few left."""
    offsets, candidates = columns.flat(table["candidate_ids"])
    positive_offsets, positives = columns.flat(table["positive_ids"])
    score_offsets, score_values = columns.flat(table[p.score])
    if not np.array_equal(score_offsets, offsets):
        raise ContractError(f"select_negatives: {p.score} is not aligned to candidate_ids")
    rows, owner, value = parents(offsets), parents(positive_offsets), floats(score_values)
    id_of, id_wanted = codes([candidates, positives])
    text_of, text_wanted = text_codes(texts, [candidates, positives])
    same_text = in_row(rows, text_of, owner, text_wanted)
    out = np.zeros(len(rows), np.int8)  # 0, or 1 + the rule that took the candidate out
    _out(out, 1, in_row(rows, id_of, owner, id_wanted))
    _out(out, 2, same_text)
    _out(out, 3, np.isnan(value))
    left = np.flatnonzero(out == 0)
    again = np.zeros(len(rows), bool)
    again[left] = ~best_of_each(rows[left], text_of[left], value[left])
    _out(out, 4, again)
    limit = np.full(len(table), np.inf)
    if p.policy in _RELATIVE:
        limit = _limits(table, p, rows[same_text], value[same_text])
    allowed = value < limit[rows]  # NaN limits, of positives without score, allow nothing
    if p.policy == "quantile":
        allowed &= value <= _quantiles(rows, value, out == 0, len(table), p.quantile or 0.0)[rows]
    if p.max_score is not None:
        allowed &= value < np.float32(p.max_score)  # as the scores are, else a stored 0.7 is below 0.7
    place = np.arange(len(rows)) - offsets[rows] + 1
    _out(out, 5, (place < (p.rank_from or 0)) | (place > (p.rank_to or np.inf)))
    _out(out, 6, ~allowed)
    chosen = _choose(table, p, rows, candidates, value, out == 0)
    return _outcome(table, p, rows, out, np.isnan(limit), chosen, candidates, value)


def _out(out: Array, rule: int, hit: Array) -> None:
    out[(out == 0) & hit] = rule


def _limits(table: pa.Table, p: SelectNegatives, rows: Array, value: Array) -> Array:
    """The bound of each query under its LOWEST positive; NaN where no positive has a score."""
    if p.score == "teacher_scores":
        offsets, scored = columns.flat(table["positive_scores"])
        if not np.array_equal(offsets, columns.flat(table["positive_ids"])[0]):
            raise ContractError("select_negatives: positive_scores is not aligned to positive_ids")
        rows, value = parents(offsets), floats(scored)
    lowest = np.full(len(table), np.inf)
    known = ~np.isnan(value)
    np.minimum.at(lowest, rows[known], value[known])
    lowest[np.isposinf(lowest)] = np.nan
    margin = 0.05 if p.margin is None else p.margin
    return lowest - (np.abs(lowest) * margin if p.policy == "percentage" else margin)


def _quantiles(rows: Array, value: Array, eligible: Array, count: int, quantile: float) -> Array:
    """The candidate score at the quantile of each query, the lower one between two."""
    where = np.flatnonzero(eligible)
    where = where[np.lexsort((value[where], rows[where]))]
    sizes = np.bincount(rows[where], minlength=count)
    starts = np.cumsum(sizes) - sizes
    limit = np.full(count, np.nan)
    some = sizes > 0
    at = starts[some] + np.floor(quantile * (sizes[some] - 1)).astype(np.int64)
    limit[some] = value[where[at]]
    return limit


def _choose(
    table: pa.Table, p: SelectNegatives, rows: Array, candidates: pa.Array, value: Array, left: Array
) -> Array:
    """Where the chosen candidates stand, by row, then by (−score, id)."""
    where = np.flatnonzero(left)
    wide = columns.id_pairs(candidates)[where]
    order = np.lexsort((wide["lo"], wide["hi"], -value[where], rows[where]))
    if p.pick == "random":
        seeds = [columns.row_seed(p.seed, one) for one in table["query_id"].to_pylist()]
        drawn = _mix(np.array(seeds, np.uint64)[rows[where]] ^ _mix(wide["hi"]) ^ wide["lo"])
        shuffled = np.lexsort((wide["lo"], wide["hi"], drawn, rows[where]))
        mask = np.zeros(len(where), bool)
        mask[shuffled[_first(rows[where][shuffled], p.negatives)]] = True
        return where[order[mask[order]]]
    return where[order[_first(rows[where][order], p.negatives)]]


def _first(rows: Array, count: int) -> Array:
    """Which of these sorted rows are among the first ``count`` of their kind."""
    among: Array = np.arange(len(rows)) - np.searchsorted(rows, rows) < count
    return among


def _mix(number: Array) -> Array:
    """splitmix64: a draw for every candidate, by what it is."""
    number = number.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = number ^ (number >> np.uint64(31))
    return mixed


def _outcome(
    table: pa.Table, p: SelectNegatives, rows: Array, out: Array, unscored: Array, chosen: Array,
    candidates: pa.Array, value: Array,
) -> Outcome:  # fmt: skip
    count = np.bincount(rows[chosen], minlength=len(table))
    bad = (count < p.min_negatives) | unscored
    removed = np.bincount(rows * 7 + out, minlength=len(table) * 7).reshape(-1, 7)[:, 1:]
    reasons = {}
    for i in np.flatnonzero(bad):
        told = [f"{n} {name}" for name, n in zip(_RULES, removed[i].tolist(), strict=True) if n]
        reason = "too few negatives left" if count[i] else "no negative left"
        reasons[int(i)] = ("positive has no score", "") if unscored[i] else (reason, ", ".join(told))
    chosen = chosen[~bad[rows[chosen]]]
    ends = np.concatenate([[0], np.cumsum(count[~bad])])
    kept = table.filter(pa.array(~bad))
    kept = columns.put(kept, "negative_ids", columns.lists(ends, candidates.take(pa.array(chosen))))
    numbers = pa.array(value[chosen].astype(np.float32), score)
    return outcome_of(table, columns.put(kept, "negative_scores", columns.lists(ends, numbers)), reasons)


def example() -> Example:
    """Three queries: one with negatives, one whose candidates all score too high, one without any."""
    words = ["oak", "Oak ", "birch", "elm", "ash"]
    passages = pa.table({"title": pa.array([""] * 5, text), "passage": pa.array(words, text)})
    passages = passages.append_column("passage_id", columns.content_ids([""] * 5, words))
    fold = index_texts(IndexTexts())
    fold.add(passages.sort_by("passage_id"), 0)
    of = dict(zip(words, passages["passage_id"].to_pylist(), strict=True))
    lists = [words, ["birch", "elm"], []]
    table = pa.table(
        {
            "query_id": columns.content_ids(["a", "b", "c"], [""] * 3),
            "positive_ids": pa.array([[of["oak"]]] * 3, ids),
            "positive_scores": pa.array([[0.9], [-0.5], [0.7]], scores),
            "candidate_ids": pa.array([[of[word] for word in one] for one in lists], ids),
            "teacher_scores": pa.array([[0.9, 0.8, 0.86, 0.5, None], [-0.5, -0.51], []], scores),
        }
    )
    return Example(table, SelectNegatives(), {"texts": fold.finish()})
