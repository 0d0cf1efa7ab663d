"""Spread a teacher's scores between the 1st and the 99th percentile of their group (CADET, arXiv:2505.19274).

(s - p1) / (p99 - p1), clipped to [0, 1]. The teacher's own scores stay beside them.
"""

from typing import Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import floats, parents
from operators.contract import Columns, Example, InputError, Outcome, Params, operator, outcome_of, scores, text
from operators.fit_score_quantiles import FitScoreQuantiles, ScoreQuantiles, fit_score_quantiles
from operators.fit_score_quantiles import example as counted

_NAMES = {"positive_scores": "positive_normalised", "teacher_scores": "teacher_normalised"}


class NormaliseScores(Params):
    """Whose percentiles count, and which."""

    by: str = Field(default="query_type", description="as of the step that counted the scores; empty: all together")
    low: int = Field(default=1, ge=0, le=100, description="the percentile that becomes 0")
    high: int = Field(default=99, ge=0, le=100, description="the percentile that becomes 1")

    @model_validator(mode="after")
    def _wide(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low is not below high: there is nothing between them")
        return self


def _reads(p: NormaliseScores) -> Columns:
    return {**dict.fromkeys(_NAMES, scores), **({p.by: text} if p.by else {})}


@operator("map", version="1", reads=_reads, writes=dict.fromkeys(_NAMES.values(), scores), rows="fewer")
def normalise_scores(table: pa.Table, p: NormaliseScores, *, quantiles: ScoreQuantiles) -> Outcome:
    """Add ``positive_normalised`` and ``teacher_normalised``, float32 in [0, 1], aligned to the scores; null stays null.

    A row whose group's scores are all alike cannot be spread and is a reject.
    """
    if p.by != quantiles.by:
        raise InputError(f"normalise_scores: by is {p.by!r}, the scores were counted by {quantiles.by!r}; say the same")
    groups = table[p.by].to_pylist() if p.by else [""] * len(table)
    edges = {g: (quantiles.at(g, p.low), quantiles.at(g, p.high)) for g in dict.fromkeys(groups)}
    flat = {i: (f"scores of {p.by or 'the set'} do not differ", g) for i, g in enumerate(groups) if not edges[g][0] < edges[g][1]}
    kept = table.take(pa.array([i for i in range(len(table)) if i not in flat], pa.int64()))
    ends = np.array([edges[g] for i, g in enumerate(groups) if i not in flat], np.float64).reshape(-1, 2)
    for name, new in _NAMES.items():
        offsets, values = columns.flat(kept[name])
        low, high = ends[parents(offsets)].T
        number = np.clip((floats(values) - low) / (high - low), 0, 1).astype(np.float32)
        kept = columns.put(kept, new, columns.lists(offsets, pa.array(number, pa.float32(), from_pandas=True)))
    return outcome_of(table, kept, flat)


def example() -> Example:
    """Three queries of two types; one candidate has no score."""
    case = counted()
    fold = fit_score_quantiles(FitScoreQuantiles())
    fold.add(case.table, 0)
    return Example(case.table, NormaliseScores(), {"quantiles": fold.finish()})
