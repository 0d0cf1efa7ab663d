"""Measure mined negatives against the positives that were hidden: how many are false, how hard the others are.

The share of hidden positives among the negatives is certified: every one of them was judged relevant. What nobody judged
does not count, so it is a lower bound.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import aligned, codes, in_row, looked_up, parents
from operators.contract import ContractError, Example, Params, ids, operator, scores

_FILE = "negatives.json"


class MeasureNegatives(Params):
    """How many negatives a query must have kept to be counted."""

    negatives: int = Field(default=5, ge=1)


@dataclass
class NegativesMeasure:
    """What was counted, and the rates of it; also the fold."""

    wanted: int
    queries: int = 0  # that came
    queries_kept: int = 0  # with all the negatives that were wanted
    negatives: int = 0  # of these queries
    false_negatives: int = 0
    scored: int = 0  # that are not false and that the encoder has found
    cosines: float = 0.0  # the sum of its scores of these

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        offsets, negatives = columns.flat(table["negative_ids"])
        rows, kept = parents(offsets), np.diff(offsets) >= self.wanted
        false = _among(rows, negatives, table["hidden_ids"])
        candidate_at, candidates = columns.flat(table["candidate_ids"])
        number, of_number = codes([negatives, candidates])
        in_place = parents(candidate_at)
        if not in_row(rows, number, in_place, of_number).all():
            raise ContractError("measure_negatives: a negative is no candidate of its row")
        dense = looked_up(rows, number, in_place, of_number, aligned(table, "dense_scores", candidate_at))
        use = kept[rows]
        self.queries += len(table)
        self.queries_kept += int(kept.sum())
        self.negatives += int(use.sum())
        self.false_negatives += int((use & false).sum())
        said = use & ~false & ~np.isnan(dense)
        self.scored += int(said.sum())
        self.cosines += float(dense[said].sum())

    def merge(self, later: "NegativesMeasure") -> None:
        """Add the counts of later parts."""
        for name in ("queries", "queries_kept", "negatives", "false_negatives", "scored", "cosines"):
            setattr(self, name, getattr(self, name) + getattr(later, name))

    def finish(self) -> "NegativesMeasure":
        """The measure is the fold itself."""
        return self

    @property
    def certified_fn_rate(self) -> float:
        """Hidden positives among the negatives, a share; NaN without negatives."""
        return self.false_negatives / self.negatives if self.negatives else float("nan")

    @property
    def hardness(self) -> float:
        """The mean ``dense_scores`` of the negatives that are not false and have one; NaN without any."""
        return self.cosines / self.scored if self.scored else float("nan")

    def save(self, folder: Path) -> None:
        """One JSON file, with the rates beside the counts."""
        rates = {"certified_fn_rate": self.certified_fn_rate} if self.negatives else {}
        rates |= {"hardness": self.hardness} if self.scored else {}
        (folder / _FILE).write_text(json.dumps({**asdict(self), **rates}, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        said: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return cls(**{k: v for k, v in said.items() if k not in ("certified_fn_rate", "hardness")})


def _among(rows: Any, negatives: pa.Array, hidden: pa.ChunkedArray) -> Any:
    owners, wanted = columns.flat(hidden)
    number, of_number = codes([negatives, wanted])
    return in_row(rows, number, parents(owners), of_number)


@operator("build", version="2", reads={"hidden_ids": ids, "negative_ids": ids, "candidate_ids": ids, "dense_scores": scores})
def measure_negatives(p: MeasureNegatives) -> NegativesMeasure:
    """One pass; ``hidden_ids`` are of `hide_positives`, ``dense_scores`` of the encoder that is to be trained."""
    return NegativesMeasure(p.negatives)


def example() -> Example:
    """Two queries, the first with a hidden positive among its negatives."""
    a, b, c = columns.content_ids(["a", "b", "c"]).to_pylist()
    table = {
        "hidden_ids": pa.array([[b], [a]], ids), "negative_ids": pa.array([[b, c], [c]], ids),
        "candidate_ids": pa.array([[a, b, c], [c, b]], ids), "dense_scores": pa.array([[0.5, 0.25, 0.75], [0.5, 0.25]], scores),
    }  # fmt: skip
    return Example(pa.table(table), MeasureNegatives(negatives=1))
