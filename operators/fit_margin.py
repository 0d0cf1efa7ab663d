"""Find the margin from which on matches are kept: that of the best F1 on a sample of known pairs.

As LASER's bucc.py has it: half-way between the lowest match that is kept and the highest that is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns, match_pairs
from operators.contract import Example, InputError, Params, operator, row_id
from operators.json_artifact import JsonArtifact
from operators.match_pairs import Matches

Array = np.ndarray[Any, Any]
CCMATRIX = 1.06


class FitMargin(Params):
    """What counts as wrong, and what holds where no pair is known."""

    complete: bool = Field(
        default=False, description="all pairs are known, so any other match is wrong; else only one with an end that is known"
    )
    fallback: float | None = Field(
        default=None,
        description="where no known pair is matched; without any, and of a ratio, 1.06 if not said (CCMatrix, arXiv:1911.04944)",
    )


@dataclass(frozen=True)
class Margin(JsonArtifact):
    """From which margin on a match is kept, inclusive, and how good it is on the sample."""

    file: ClassVar[str] = "margin.json"
    at_least: float
    precision: float = 0.0
    recall: float = 0.0
    f1: float = 0.0
    pairs: int = 0  # known


class _Fold:
    """Known pairs under way: 32 bytes each."""

    def __init__(self, p: FitMargin, matches: Matches) -> None:
        self.p, self.matches = p, matches
        self.known: list[Array] = []

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        self.known.append(np.concatenate([columns.id_matrix(table[name]) for name in ("node_id", "member_id")], axis=1))

    def merge(self, later: "_Fold") -> None:
        """Take in the pairs of later parts."""
        self.known += later.known

    def finish(self) -> Margin:
        """Try every margin that a match has."""
        known = {row.tobytes() for part in self.known for row in part}
        if not known:
            return Margin(self._untold())
        ends = {one[:16] for one in known}, {one[16:] for one in known}
        good, value = [np.empty(0, bool)], [np.empty(0, np.float32)]
        for start in range(0, len(self.matches), columns.SLICE):
            at = np.arange(start, min(start + columns.SLICE, len(self.matches)))
            left, right = self.matches.left(at), self.matches.right(at).to_pylist()
            raw = np.stack([left["hi"], left["lo"]], axis=1).astype(">u8").tobytes()
            both = [(raw[16 * i : 16 * i + 16], one) for i, one in enumerate(right)]
            judged = np.array([self.p.complete or a in ends[0] or b in ends[1] for a, b in both], bool)
            good.append(np.array([a + b in known for a, b in both], bool)[judged])
            value.append(np.asarray(self.matches.scores[at])[judged])
        found = _best(np.concatenate(good), np.concatenate(value), len(known))
        if found is None and self.p.fallback is None:
            raise InputError(
                f"fit_margin: none of the {len(known)} known pairs is among the {len(self.matches)} matches; name texts of left "
                "in `from` and of right in `to`, give other known pairs, or say a `fallback`"
            )
        return found or Margin(self._untold(), pairs=len(known))

    def _untold(self) -> float:
        """The margin where the known pairs tell none."""
        if self.p.fallback is None and not self.matches.margin.startswith("ratio"):
            raise InputError(
                f"fit_margin: no pair is known, and no value is usual of a margin that is {self.matches.margin}; say a `fallback`"
            )
        return CCMATRIX if self.p.fallback is None else self.p.fallback


def _best(good: Array, value: Array, known: int) -> Margin | None:
    """The highest margin of the best F1; none where no match is a known pair."""
    order = np.argsort(-value, kind="stable")
    last = np.append(value[order][1:] != value[order][:-1], True)[: len(order)]  # equal margins stand or fall together
    found, kept = np.cumsum(good[order])[last], (np.arange(len(order)) + 1)[last]
    if not found.any():
        return None
    best = int(np.argmax(2 * found / (kept + known)))
    right, count = int(found[best]), int(kept[best])
    return Margin(_between(value[order][last], best), right / count, right / known, 2 * right / (count + known), known)


def _between(value: Array, best: int) -> float:
    """Half-way down from a (float32) margin to the next, of which it is never the value."""
    upper, lower = value[best], value[min(best + 1, len(value) - 1)]
    middle = np.float32((float(upper) + float(lower)) / 2)
    return float(middle if middle > lower else upper)


def _measure(found: Margin, p: FitMargin) -> Mapping[str, int]:
    shares = {"precision": found.precision, "recall": found.recall, "f1": found.f1}
    return {"known_pairs": found.pairs, **{f"{name}_per_mille": round(1000 * share) for name, share in shares.items()}}


@operator("build", version="2", holds=True, measure=_measure, reads={"node_id": row_id, "member_id": row_id})
def fit_margin(p: FitMargin, *, matches: Matches) -> _Fold:
    """Take known pairs, left as ``node_id`` and right as ``member_id`` as `resolve_relations` gives them."""
    return _Fold(p, matches)


def example() -> Example:
    """Two known pairs, one of them matched."""
    shown = match_pairs.example()
    fold = match_pairs.match_pairs(shown.params)
    fold.add(shown.table, 0)
    a, b, x, _ = columns.content_ids(list("abxy")).to_pylist()
    table = pa.table({"node_id": pa.array([a, b], row_id), "member_id": pa.array([x, x], row_id)})
    return Example(table, FitMargin(), {"matches": fold.finish()})
