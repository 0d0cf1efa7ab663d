"""Drop rows that are in an evaluation set, by stored scores and a threshold a tier (C27), so that a threshold changes for free.

NV-Embed (arXiv:2405.17428) drops exact and BM25 matches, CapRetrieval (arXiv:2506.08592) those of ROUGE-L above 0.6. On
vaswani and cisi (tests/bench/decontaminate.py) halves of documents share 0.28 of the runs and more; ROUGE-L 0.57, BM25 0.52
and MiniLM's cosine 0.86 are the lowest that take at most 2 % of other queries of the field.
"""

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import Array, aligned, best_of_each, parents
from operators.contract import Columns, Example, InputError, Outcome, Params, ids, operator, outcome_of, scores
from operators.index_evaluation import Evaluation, indexed


class DropContaminated(Params):
    """From what score on a row is in an evaluation set, by tier; null: the tier is not looked at.

    No tier finds what was not stored: of n-grams shares below the ``least_share`` of match_evaluation, of searches what was not
    among their ``top_k``.
    """

    exact: bool = Field(default=True, description="equal but for case, punctuation and white space; of match_evaluation")
    ngram: float | None = Field(default=0.25, gt=0, le=1, description="share of the evaluation text's runs; of match_evaluation")
    rouge: float | None = Field(default=None, gt=0, le=1, description="ROUGE-L; of score_overlap")
    bm25: float | None = Field(default=None, gt=0, le=1, description="share of the text's score with itself; of score_overlap")
    dense: float | None = Field(default=None, ge=-1, le=1, description="cosine; of retrieve_dense against the evaluation")
    dense_ids: str = Field(default="candidate_ids", min_length=1, description="as the search wrote them")
    dense_scores: str = Field(default="dense_scores", min_length=1, description="as the search wrote them")

    @model_validator(mode="after")
    def _every_option_acts(self) -> Self:
        if not self.exact and not any(at is not None for at in (self.ngram, self.rouge, self.bm25, self.dense)):
            raise ValueError("every tier is off: no row would be dropped")
        if self.dense is None and self.moved("dense_ids", "dense_scores"):
            raise ValueError("dense_ids and dense_scores do nothing where dense is null: leave them out")
        return self

    @property
    def tiers(self) -> Mapping[str, tuple[str, str, float]]:
        """Tier → the columns of its ids and scores, and the lowest score that counts; the surest first."""
        every = {
            "exact": ("exact_ids", "", 1.0 if self.exact else None), "n-gram": ("ngram_ids", "ngram_scores", self.ngram),
            "ROUGE-L": ("overlap_ids", "rouge_scores", self.rouge), "BM25": ("overlap_ids", "bm25_shares", self.bm25),
            "embedding": (self.dense_ids, self.dense_scores, self.dense),
        }  # fmt: skip
        return {name: (of, by, least) for name, (of, by, least) in every.items() if least is not None}


class Hits(NamedTuple):
    """What a tier found: M pairs of a row and an evaluation text."""

    rows: Array  # (M,) ascending
    ids: pa.Array  # (M,)
    scores: Array  # (M,) float64


def reads(p: DropContaminated) -> Columns:
    """The lists of the tiers that are looked at."""
    found: dict[str, pa.DataType] = {}
    for of, by, _ in p.tiers.values():
        found |= {of: ids, **({by: scores} if by else {})}
    return found


def hits(table: pa.Table, p: DropContaminated) -> dict[str, Hits]:
    """What each tier finds."""
    found = {}
    for tier, (of, by, least) in p.tiers.items():
        offsets, values = columns.flat(table[of])
        value = aligned(table, by, offsets) if by else np.ones(len(values))
        some = np.flatnonzero(value >= np.float32(least))  # as the scores are: 0.7 stored as float32 is below the float64 0.7
        found[tier] = Hits(parents(offsets)[some], values.take(pa.array(some)), value[some])
    return found


def named(evaluation: Evaluation, found: pa.Array) -> tuple[Array, pa.Table]:
    """`Evaluation.names` of ids that it must know; raises `InputError` where it does not."""
    offsets, names = evaluation.names(found)
    if (np.diff(offsets) == 0).any():
        raise InputError("a candidate is no text of the evaluation; search the rows that index_evaluation was given")
    return offsets, names


@operator("map", version="1", reads=reads, rows="fewer")
def drop_contaminated(table: pa.Table, p: DropContaminated, *, evaluation: Evaluation) -> Outcome:
    """Rows that no tier finds; the others are rejects by the first that does: its best hit's benchmark, and the row there."""
    reasons: dict[int, tuple[str, str]] = {}
    for tier, found in hits(table, p).items():
        offsets, names = named(evaluation, found.ids)
        first = names.take(pa.array(offsets[:-1])).to_pylist()  # a text of several benchmarks: the first by name
        best = best_of_each(found.rows, np.zeros(len(found.rows), np.int64), found.scores)
        for i in np.flatnonzero(best).tolist():
            source, own = first[i]["source"], first[i]["source_id"]
            reasons.setdefault(int(found.rows[i]), (f"in {source}: {tier}", f"{own} ({found.scores[i]:.4g})"))
    kept = np.ones(len(table), bool)
    kept[list(reasons)] = False
    return outcome_of(table, table.filter(pa.array(kept)), reasons)


def example() -> Example:
    """Four rows: in a benchmark by its text, by its runs, by its runs too little, not at all."""
    evaluation = indexed([("nq", "1", "", "which tree grows by the river"), ("fever", "7", "", "owls hunt by night")])
    one, other = sorted(evaluation.ids(np.arange(2)).to_pylist())
    table = pa.table({
        "exact_ids": pa.array([[one], [], [], []], ids), "ngram_ids": pa.array([[one], [one, other], [other], []], ids),
        "ngram_scores": pa.array([[1.0], [0.75, 0.5], [0.125], []], scores),
    })  # fmt: skip
    return Example(table, DropContaminated(), {"evaluation": evaluation})
