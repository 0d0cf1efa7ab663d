"""Fit what tells a false negative, on queries some of whose positives were hidden (`hide_positives`).

Logistic regression (scikit-learn) of "this candidate is a hidden positive" on the z-scores of its stored scores among
the query's candidates. Every query weighs the same.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import Array, aligned, codes, in_row, parents
from operators.contract import Columns, Example, InputError, Params, ids, operator, scores

SCORES = ("dense_scores", "bm25_scores", "teacher_scores")
RETRIEVERS = ("dense_scores", "bm25_scores")
_FILE = "false_negatives.json"


class FitFalseNegatives(Params):
    """Which scores speak, and how many queries are asked."""

    scores: tuple[str, ...] = Field(default=SCORES, min_length=1)
    lowest: tuple[str, ...] = Field(
        default=RETRIEVERS,
        description="a candidate without one of these stands with the query's lowest: the list ended above it",
    )
    max_queries: int = Field(default=20_000, ge=1, description="the first by id, which is a hash")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.scores)) < len(self.scores):
            raise ValueError("scores names a column twice")
        return self


@dataclass(frozen=True)
class FalseNegatives:
    """The weights of the z-scores, and what they were fitted on."""

    weights: dict[str, float]
    bias: float
    lowest: tuple[str, ...]
    queries: int = 0
    candidates: int = 0
    hidden: int = 0

    def save(self, folder: Path) -> None:
        """One JSON file."""
        (folder / _FILE).write_text(json.dumps(asdict(self), sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        said = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return cls(**{**said, "lowest": tuple(said["lowest"])})


def standing(table: pa.Table, names: Sequence[str], lowest: Sequence[str]) -> tuple[Array, Array, Array]:
    """(offsets (N+1,), z-scores (M, F), which of the M candidates are positives).

    The mean and the deviation are of the query's candidates that are no positives. NaN where a scorer gave nothing.
    """
    offsets, candidates = columns.flat(table["candidate_ids"])
    owners, positives = columns.flat(table["positive_ids"])
    rows = parents(offsets)
    known = in_row(rows, (code := codes([candidates, positives]))[0], parents(owners), code[1])
    out = np.empty((len(rows), len(names)))
    for k, name in enumerate(names):
        out[:, k] = _z(aligned(table, name, offsets), rows, ~known, len(table), name in lowest)
    return offsets, out, known


def _z(value: Array, rows: Array, counted: Array, count: int, fill: bool) -> Array:
    if fill:
        least = np.full(count, np.inf)
        said = ~np.isnan(value)
        np.minimum.at(least, rows[said], value[said])
        value = np.where(said, value, np.where(np.isinf(least), np.nan, least)[rows])
    use = counted & ~np.isnan(value)
    size = np.maximum(np.bincount(rows[use], minlength=count), 1)
    mean = np.bincount(rows[use], value[use], minlength=count) / size
    off = value - mean[rows]
    spread = np.sqrt(np.bincount(rows[use], off[use] ** 2, minlength=count) / size)[rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        z: Array = np.where(spread > 0, off / spread, np.where(np.isnan(off), np.nan, 0.0))
    return np.nan_to_num(z, nan=0.0) if fill else z


class _Fold:
    """Features under way: 8 bytes a score of a candidate, of ``max_queries`` at most."""

    def __init__(self, p: FitFalseNegatives) -> None:
        self.p, self.queries = p, 0
        self.parts: list[tuple[int, Array, Array, Array]] = []  # queries, which of them, z-scores, hidden

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        for part in columns.slices(table.slice(0, max(self.p.max_queries - self.queries, 0)), 1024):
            offsets, z, known = standing(part, self.p.scores, self.p.lowest)
            owners, wanted = columns.flat(part["hidden_ids"])
            rows = parents(offsets)
            code, hidden = codes([columns.flat(part["candidate_ids"])[1], wanted])
            use = ~known & ~np.isnan(z).any(axis=1)
            self._take((len(part), rows[use], z[use], in_row(rows, code, parents(owners), hidden)[use]))

    def merge(self, later: "_Fold") -> None:
        """Take in the fold of later parts, of which there may be queries too many."""
        for part in later.parts:
            self._take(part)

    def _take(self, part: tuple[int, Array, Array, Array]) -> None:
        count = min(part[0], self.p.max_queries - self.queries)
        use = part[1] < count
        self.parts.append((count, part[1][use], part[2][use], part[3][use]))
        self.queries += count

    def finish(self) -> FalseNegatives:
        """Fit; without a hidden positive among the candidates, or with nothing else, there is nothing to learn."""
        from sklearn.linear_model import LogisticRegression

        z = np.concatenate([np.empty((0, len(self.p.scores))), *(x[2] for x in self.parts)])
        hidden = np.concatenate([np.empty(0, bool), *(x[3] for x in self.parts)])
        if hidden.all() or not hidden.any():
            raise InputError(
                f"fit_false_negatives: of {len(hidden)} candidates {int(hidden.sum())} are hidden positives, it needs some and "
                "not all; give it queries with several judged positives, behind hide_positives"
            )
        weight = np.concatenate([1 / np.bincount(x[1], minlength=1)[x[1]] for x in self.parts])
        model = LogisticRegression(C=1.0, max_iter=1000).fit(z, hidden, sample_weight=weight * len(weight) / weight.sum())
        weights = {n: round(float(w), 4) for n, w in zip(self.p.scores, model.coef_[0], strict=True)}
        return FalseNegatives(
            weights, round(float(model.intercept_[0]), 4), self.p.lowest, self.queries, len(hidden), int(hidden.sum())
        )


def _reads(p: FitFalseNegatives) -> Columns:
    return {"positive_ids": ids, "hidden_ids": ids, "candidate_ids": ids, **dict.fromkeys(p.scores, scores)}


@operator("build", version="1", holds=True, reads=_reads)
def fit_false_negatives(p: FitFalseNegatives) -> _Fold:
    """One pass over candidates with stored scores."""
    return _Fold(p)


def example() -> Example:
    """Three queries; a hidden positive stands high in every list."""
    a, b, c, d = columns.content_ids(["a", "b", "c", "d"]).to_pylist()
    table: dict[str, Any] = {
        "positive_ids": pa.array([[a], [b], [a]], ids), "hidden_ids": pa.array([[b], [c], [d]], ids),
        "candidate_ids": pa.array([[a, b, c, d], [c, b, a], [d, b, c]], ids),
        "dense_scores": pa.array([[0.9, 0.8, 0.5, 0.4], [0.7, 0.6, None], [0.9, 0.3, 0.2]], scores),
        "bm25_scores": pa.array([[9.0, 7.0, None, 1.0], [5.0, 2.0, 1.0], [8.0, None, None]], scores),
        "teacher_scores": pa.array([[0.8, 0.7, 0.2, None], [0.9, 0.8, 0.1], [0.6, 0.5, 0.1]], scores),
    }  # fmt: skip
    return Example(pa.table(table), FitFalseNegatives())
