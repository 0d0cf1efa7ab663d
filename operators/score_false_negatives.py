"""Estimate how likely each candidate is a false negative: relevant, and only not judged.

A logistic model over the scores that are stored anyway, each as a z-score among the query's own candidates, so that
neither a scorer's scale nor its space matters. One scorer is easily fooled; what dense, BM25 and teacher all single out
seldom is no positive. NV-Retriever (arXiv:2407.15831) found 39 to 47 % of naive negatives relevant.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns, fit_false_negatives
from operators.contract import ARTIFACTS, Columns, Example, InputError, Params, ids, operator, score, scores
from operators.fit_false_negatives import RETRIEVERS, FalseNegatives, standing
from operators.select_negatives import RISK

# By `fit_false_negatives` on vaswani and cisi (`make bench BENCH=false_negatives`): weights, and the bias.
PACKAGED = {
    ("dense_scores", "bm25_scores"): ((0.4265, 0.5178), -2.002),
    ("dense_scores", "bm25_scores", "teacher_scores"): ((0.219, 0.334, 0.4533), -1.8095),
}


class ScoreFalseNegatives(Params):
    """Which scores speak, and with what weight.

    Without ``weights`` and without ``fitted`` the packaged ones hold: of dense and BM25, or of these and a teacher.
    """

    scores: tuple[str, ...] = Field(default=RETRIEVERS, min_length=1)
    weights: tuple[float, ...] | None = Field(default=None, description="of each score's z-score, in their order")
    bias: float | None = Field(default=None, description="of their sum, before the logistic function")
    lowest: tuple[str, ...] = Field(default=RETRIEVERS, description="as of fit_false_negatives")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.weights is None) != (self.bias is None) or (self.weights and len(self.weights) != len(self.scores)):
            raise ValueError("weights has one number a score, and bias stands beside it; say both or neither")
        if len(set(self.scores)) < len(self.scores):
            raise ValueError("scores names a column twice")
        return self


def _reads(p: ScoreFalseNegatives) -> Columns:
    return {"positive_ids": ids, "candidate_ids": ids, **dict.fromkeys(p.scores, scores)}


def _check(p: ScoreFalseNegatives, using: Mapping[str, Any]) -> Sequence[str]:
    fitted = "fitted" in using.get(ARTIFACTS, ())
    if fitted and p.weights is not None:
        return ["score_false_negatives: weights do nothing beside using: {fitted: STEP}; leave one out"]
    return [_unknown(p.scores)] if ARTIFACTS in using and not fitted and p.weights is None and p.scores not in PACKAGED else []


@operator("map", version="1", reads=_reads, writes={RISK: scores}, rows="same", check=_check)
def score_false_negatives(table: pa.Table, p: ScoreFalseNegatives, *, fitted: FalseNegatives | None = None) -> pa.Table:
    """Add ``false_negative_scores``, a probability a candidate; null where a score that counts is missing."""
    model = _model(p, fitted)
    offsets, z, _ = standing(table, p.scores, model.lowest)
    total = np.full(len(z), model.bias)
    for k, name in enumerate(p.scores):  # one by one: a product's order of sums would hang on the batch
        total += model.weights[name] * z[:, k]
    risk = (1 / (1 + np.exp(-total))).astype(np.float32)
    return columns.put(table, RISK, columns.lists(offsets, pa.array(risk, score, from_pandas=True)))


def _model(p: ScoreFalseNegatives, fitted: FalseNegatives | None) -> FalseNegatives:
    if fitted is not None:
        if p.weights is not None or set(fitted.weights) != set(p.scores):
            told = ", ".join(fitted.weights)
            raise InputError(f"score_false_negatives: fitted weighs {told}; say scores: [{told}] and no weights")
        if p.moved("lowest") and set(p.lowest) != set(fitted.lowest):
            raise InputError(
                f"score_false_negatives: lowest is {list(p.lowest)}, it was fitted with {list(fitted.lowest)}; "
                "say the same or leave it out"
            )
        return fitted
    if p.weights is not None and p.bias is not None:
        return FalseNegatives(dict(zip(p.scores, p.weights, strict=True)), p.bias, p.lowest)
    if p.scores not in PACKAGED:
        raise InputError(_unknown(p.scores))
    weights, bias = PACKAGED[p.scores]
    return FalseNegatives(dict(zip(p.scores, weights, strict=True)), bias, p.lowest)


def _unknown(names: Sequence[str]) -> str:
    known = " or ".join(str(list(one)) for one in PACKAGED)
    return (
        f"score_false_negatives: no packaged weights for scores {list(names)}, only for {known}; "
        "say weights and bias, or fit them: using: {fitted: STEP} of fit_false_negatives"
    )


def example() -> Example:
    """The rows of `fit_false_negatives`, with the packaged weights."""
    return Example(fit_false_negatives.example().table, ScoreFalseNegatives())
