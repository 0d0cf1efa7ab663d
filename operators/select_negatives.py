"""Choose hard negatives that the scorer places safely below the positive.

NV-Retriever (arXiv:2407.15831): TopK-PercPos, TopK-MarginPos, TopK-Abs and rank windows. The product
``0.95 · p`` of the paper loosens the rule where p < 0; ``p − |p| · margin`` is safe for either sign.
``utility`` weighs how hard a candidate is against how likely it is relevant (`score_false_negatives`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns, picks
from operators.content import Array, aligned, best_of_each, both_codes, in_row, indexed, near, parents
from operators.contract import (
    Columns,
    Example,
    Outcome,
    Params,
    ids,
    operator,
    outcome_of,
    row_id,
    score,
    scores,
)
from operators.index_documents import Documents
from operators.index_texts import Texts

_RELATIVE = ("percentage", "margin")  # policies that need the positive's score
_RULES = (
    "positive",
    "text of a positive",
    "without score",
    "text again",
    "outside the ranks",
    "scored too high",
    "too likely relevant",
    "of the query's own document",
    "nearly a positive",
)
RISK = "false_negative_scores"


class SelectNegatives(Params):
    """The rule, and how many negatives to take of those it leaves; never filled up.

    Whatever the rule, no positive of the query, no text that is (nearly) one, and with ``documents`` in use no passage
    of a positive's document is taken.

    ``rank_from``–``rank_to`` count places in the candidate list as it came, positives included, from 1.
    ``max_score`` and the ranks act beside every policy. ``quantile`` is over the query's own candidates.
    """

    policy: Literal["percentage", "margin", "absolute", "window", "quantile", "utility"] = "percentage"
    score: str = Field(default="teacher_scores", min_length=1)
    margin: float | None = Field(default=None, ge=0)  # percentage, margin; 0.05 where not given
    max_score: float | None = None  # keep below it
    rank_from: int | None = Field(default=None, ge=1)
    rank_to: int | None = Field(default=None, ge=1)
    quantile: float | None = Field(default=None, ge=0, le=1)
    hardness: str | None = Field(default=None, min_length=1, description="utility: what is weighed; dense_scores if not said")
    risk_weight: float | None = Field(
        default=None, ge=0, description="utility: what the probability of being relevant costs, in units of the hardness"
    )
    max_risk: float | None = Field(default=None, ge=0, le=1, description="beside any policy: keep below this probability")
    near_duplicate: float | None = Field(
        default=0.8, gt=0, le=1, description="share of three-word runs that makes a passage nearly a positive; null: not asked"
    )
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
        if (self.risk_weight is not None or self.hardness) and self.policy != "utility":
            raise ValueError(f"risk_weight and hardness do nothing under policy {self.policy}: leave them out, or say max_risk")
        missing = {
            "utility": self.risk_weight is None and "risk_weight",
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
    own = {"positive_scores": scores} if p.score == "teacher_scores" and p.policy in _RELATIVE else {}
    hard = {_hardness(p): scores} if p.policy == "utility" else {}
    return {**fixed, **own, **hard, **({RISK: scores} if _risky(p) else {})}


def _hardness(p: SelectNegatives) -> str:
    return p.hardness or "dense_scores"


def _risky(p: SelectNegatives) -> bool:
    return p.policy == "utility" or p.max_risk is not None


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
    version="2",
    reads=_reads,
    writes={"negative_ids": ids, "negative_scores": scores},
    rows="fewer",
    check=_check,
)
def select_negatives(table: pa.Table, p: SelectNegatives, *, texts: Texts, documents: Documents | None = None) -> Outcome:
    """N queries with M candidates in all: apply the rules, choose, reject queries with too few left."""
    offsets, candidates = columns.flat(table["candidate_ids"])
    positive_offsets, positives = columns.flat(table["positive_ids"])
    rows, owner, value = parents(offsets), parents(positive_offsets), aligned(table, p.score, offsets)
    (id_of, id_wanted), (text_of, text_wanted) = both_codes(texts, [candidates, positives])
    same_text = in_row(rows, text_of, owner, text_wanted)
    risk = aligned(table, RISK, offsets) if _risky(p) else np.zeros(len(rows))
    worth = aligned(table, _hardness(p), offsets) - (p.risk_weight or 0) * risk if p.policy == "utility" else value
    out = np.zeros(len(rows), np.int8)  # 0, or 1 + the rule that took the candidate out
    _out(out, 1, in_row(rows, id_of, owner, id_wanted))
    _out(out, 2, same_text)
    _out(out, 3, np.isnan(value) | np.isnan(risk) | np.isnan(worth))
    left = np.flatnonzero(out == 0)
    again = np.zeros(len(rows), bool)
    again[left] = ~best_of_each(rows[left], text_of[left], value[left])
    _out(out, 4, again)
    limit = np.full(len(table), np.inf)
    if p.policy in _RELATIVE:
        limit = _limits(table, p, rows[same_text], value[same_text])
    _out(out, 5, _outside(p, offsets, rows))
    _out(out, 6, ~_allowed(p, rows, value, out == 0, limit))
    if p.max_risk is not None:
        _out(out, 7, ~(risk < np.float32(p.max_risk)))
    if documents is not None:
        documents.count_strays(positives)
        _out(out, 8, documents.own(rows, candidates, owner, positives))
    if p.near_duplicate is not None:
        left = np.flatnonzero(out == 0)
        alike = near(texts, rows[left], candidates.take(pa.array(left)), owner, positives, p.near_duplicate)
        _out(out, 9, np.isin(np.arange(len(rows)), left[alike]))
    chosen = _choose(table, p, rows, candidates, worth, out == 0)
    return _outcome(table, p, rows, out, np.isnan(limit), chosen, candidates, value)


def _outside(p: SelectNegatives, offsets: Array, rows: Array) -> Array:
    place = np.arange(len(rows)) - offsets[rows] + 1
    outside: Array = (place < (p.rank_from or 0)) | (place > (p.rank_to or np.inf))
    return outside


def _allowed(p: SelectNegatives, rows: Array, value: Array, eligible: Array, limit: Array) -> Array:
    """Whether each score is below the policy's bound of its query."""
    allowed: Array = value < limit[rows]  # NaN limits, of positives without score, allow nothing
    if p.policy == "quantile":
        allowed &= value <= _quantiles(rows, value, eligible, len(limit), p.quantile or 0.0)[rows]
    if p.max_score is not None:
        allowed &= value < np.float32(p.max_score)  # as the scores are, else a stored 0.7 is below 0.7
    return allowed


def _out(out: Array, rule: int, hit: Array) -> None:
    out[(out == 0) & hit] = rule


def _limits(table: pa.Table, p: SelectNegatives, rows: Array, value: Array) -> Array:
    """The bound of each query under its LOWEST positive; NaN where no positive has a score."""
    if p.score == "teacher_scores":
        offsets, _ = columns.flat(table["positive_ids"])
        rows, value = parents(offsets), aligned(table, "positive_scores", offsets)
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


def _choose(table: pa.Table, p: SelectNegatives, rows: Array, candidates: pa.Array, value: Array, left: Array) -> Array:
    if p.pick == "top":
        return picks.best(rows, candidates, value, left, p.negatives)
    seeds = [columns.row_seed(p.seed, one) for one in table["query_id"].to_pylist()]
    return picks.drawn(rows, candidates, value, left, p.negatives, seeds)


def _outcome(
    table: pa.Table, p: SelectNegatives, rows: Array, out: Array, unscored: Array, chosen: Array,
    candidates: pa.Array, value: Array,
) -> Outcome:  # fmt: skip
    count = np.bincount(rows[chosen], minlength=len(table))
    bad = (count < p.min_negatives) | unscored
    kinds = len(_RULES) + 1
    removed = np.bincount(rows * kinds + out, minlength=len(table) * kinds).reshape(-1, kinds)[:, 1:]
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
    key, texts = indexed(words)
    of = dict(zip(words, key, strict=True))
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
    return Example(table, SelectNegatives(), {"texts": texts})
