"""Count a teacher's scores, so that a gate can say how a score stands among all of them (CADET, arXiv:2505.19274).

CADET drops a query whose source passage scores below the 25th percentile of every score that the teacher gave to
queries of its type, and spreads scores between the 1st and the 99th.
"""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.columns import flat
from operators.content import codes, floats, in_row, parents
from operators.contract import Columns, Example, InputError, Params, ids, operator, scores, text
from operators.json_artifact import JsonArtifact

Array = np.ndarray[Any, Any]
_HELD = 1 << 20  # scores that wait before equal ones are folded


class FitScoreQuantiles(Params):
    """Whose scores are counted apart."""

    by: str = Field(default="query_type", description="the text column whose values are counted apart; empty: all together")


class ScoreQuantiles(JsonArtifact):
    """The percentiles 0 to 100 of each group's scores; also what a gate asks."""

    file: ClassVar[str] = "percentiles.json"

    def __init__(self, by: str, groups: dict[str, list[float]]) -> None:
        self.by, self.groups = by, groups

    def at(self, group: str, percentile: int) -> float:
        """The score at a percentile of a group; of a group that was not fitted there is none."""
        if group not in self.groups:
            raise InputError(f"fit_score_quantiles: {self.by} {group!r} was not fitted; fit on the rows that are gated")
        return self.groups[group][percentile]


class _Counts:
    """How often each score came, a group: 12 bytes a distinct score, and CADET's 100,000 passages give 12 million."""

    def __init__(self, p: FitScoreQuantiles) -> None:
        self.p = p
        self.values: dict[str, list[tuple[Array, Array]]] = {}
        self.waiting = 0

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        groups = np.asarray(table[self.p.by].to_pylist() if self.p.by else [""] * len(table), object)
        (own, positives), (other, candidates) = (flat(table[c]) for c in ("positive_ids", "candidate_ids"))
        code, again = codes([positives, candidates])
        twice = in_row(parents(other), again, parents(own), code)  # a positive that came back is one score, not two
        for rows, column, skip in ((own, "positive_scores", False), (other, "teacher_scores", twice)):
            number = floats(flat(table[column])[1]).astype(np.float32)
            number[np.broadcast_to(skip, len(number))] = np.nan
            owner = groups[parents(rows)]
            for group in dict.fromkeys(groups.tolist()):
                found = number[owner == group]
                found = found[np.isfinite(found)]  # what the teacher did not see has no score
                self._take(group, found, np.ones(len(found), np.int64))

    def merge(self, later: "_Counts") -> None:
        """Take in the counts of later parts."""
        for group, parts in later.values.items():
            for values, counts in parts:
                self._take(group, values, counts)

    def _take(self, group: str, values: Array, counts: Array) -> None:
        self.values.setdefault(group, []).append((values, counts))
        self.waiting += len(values)
        if self.waiting > _HELD:
            self.values, self.waiting = {g: [_folded(parts)] for g, parts in self.values.items()}, 0

    def finish(self) -> ScoreQuantiles:
        """The percentiles of each group, exact, between two scores by their distance."""
        groups = {g: _percentiles(*_folded(parts)) for g, parts in self.values.items()}
        return ScoreQuantiles(self.p.by, {g: found for g, found in sorted(groups.items()) if found})


def _folded(parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    values, counts = np.concatenate([v for v, _ in parts]), np.concatenate([c for _, c in parts])
    distinct, where = np.unique(values, return_inverse=True)
    return distinct, np.bincount(where, counts, minlength=len(distinct)).astype(np.int64)


def _percentiles(values: Array, counts: Array) -> list[float]:
    ends = np.cumsum(counts)
    if not len(ends):
        return []
    place = np.arange(101) / 100 * (ends[-1] - 1)
    low, high = (values[np.searchsorted(ends, at(place), side="right")].astype(np.float64) for at in (np.floor, np.ceil))
    found: list[float] = (low + (high - low) * (place - np.floor(place))).tolist()
    return found


def _reads(p: FitScoreQuantiles) -> Columns:
    own = {"positive_ids": ids, "positive_scores": scores, "candidate_ids": ids, "teacher_scores": scores}
    return {**own, **({p.by: text} if p.by else {})}


@operator("build", version="2", holds=True, reads=_reads)
def fit_score_quantiles(p: FitScoreQuantiles) -> _Counts:
    """One pass over ``positive_scores`` and ``teacher_scores``."""
    return _Counts(p)


def example() -> Example:
    """Three queries of two types, one candidate without a score, one that is the positive."""
    a, b = b"a" * 16, b"b" * 16
    table = {
        "positive_ids": pa.array([[a]] * 3, ids), "candidate_ids": pa.array([[a, b], [b, b], [b]], ids),
        "query_type": pa.array(["claim", "title", "claim"], text),
        "positive_scores": pa.array([[0.9], [0.7], [0.4]], scores),
        "teacher_scores": pa.array([[0.9, 0.2], [0.1, None], [0.5]], scores),
    }
    return Example(pa.table(table), FitScoreQuantiles())
