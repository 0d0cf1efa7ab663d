"""Keep triples that are neither wrong nor too easy by the teacher's scores (E5-NL's filter_by_dpn, arXiv:2509.12340).

A positive below ``min_positive`` does not answer its query; a negative that lies further than ``max_margin`` below the
positive teaches nothing. E5-NL exempts its long-short tasks, whose positives are labels.
"""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import floats, parents
from operators.contract import Columns, Example, Outcome, Params, ids, operator, outcome_of, score, scores, text


class GateMargins(Params):
    """The gate, over the lowest positive and each candidate that the teacher scored."""

    min_positive: float = Field(default=0.1, description="the teacher's score of the positive, at least")
    max_margin: float = Field(default=0.96, description="positive minus negative, at most: negatives further below are dropped")
    min_margin: float | None = Field(default=None, description="positive minus negative, at least; not asked for where not said")
    exempt: tuple[str, ...] = Field(default=(), description="query types that pass as they are")


def _reads(p: GateMargins) -> Columns:
    own = {"positive_ids": ids, "positive_scores": scores, "candidate_ids": ids, "teacher_scores": scores}
    return {**own, **({"query_type": text} if p.exempt else {})}


@operator("map", version="1", reads=_reads, writes={"negative_ids": ids, "negative_scores": scores}, rows="fewer")
def gate_margins(table: pa.Table, p: GateMargins) -> Outcome:
    """Candidates become negatives where they pass; a row without one is a reject."""
    offsets, candidates = columns.flat(table["candidate_ids"])
    rows, value = parents(offsets), floats(columns.flat(table["teacher_scores"])[1])
    owners, positive = columns.flat(table["positive_scores"])
    lowest = np.full(len(table), np.inf)
    np.minimum.at(lowest, parents(owners), np.nan_to_num(floats(positive), nan=-np.inf))
    types = table["query_type"].to_pylist() if p.exempt else [""] * len(table)
    free = np.array([t in p.exempt for t in types], bool)
    low = ~free & ~(lowest >= np.float32(p.min_positive))
    margin = lowest[rows] - value
    good = (margin <= np.float32(p.max_margin)) & (p.min_margin is None or margin >= np.float32(p.min_margin))
    good = (good | free[rows]) & ~np.isnan(value)
    count = np.bincount(rows[good], minlength=len(table))
    reasons: dict[int, tuple[str, str]] = {}
    for i in np.flatnonzero(low | (count == 0)):
        told = ", ".join(f"{m:.4g}" for m in margin[rows == i])
        reasons[int(i)] = ("positive scored too low", f"{lowest[i]:.4g}") if low[i] else ("no negative within the margin", told)
    chosen = np.flatnonzero(good & ~low[rows])
    passed = [i for i in range(len(table)) if i not in reasons]
    ends = np.concatenate([[0], np.cumsum(count[passed])])
    kept = table.take(pa.array(passed, pa.int64()))
    kept = columns.put(kept, "negative_ids", columns.lists(ends, candidates.take(pa.array(chosen))))
    numbers = pa.array(value[chosen].astype(np.float32), score)
    return outcome_of(table, columns.put(kept, "negative_scores", columns.lists(ends, numbers)), reasons)


def example() -> Example:
    """Four triples: a good one, a wrong positive, a negative that is too easy, an exempt one."""
    a, b = b"a" * 16, b"b" * 16
    rows = {
        "query_type": pa.array(["short-long"] * 3 + ["long-short"], text),
        "positive_ids": pa.array([[a]] * 4, ids), "positive_scores": pa.array([[0.8], [0.05], [0.99], [0.02]], scores),
        "candidate_ids": pa.array([[b]] * 4, ids), "teacher_scores": pa.array([[0.3], [0.01], [0.01], [0.01]], scores),
    }  # fmt: skip
    return Example(pa.table(rows), GateMargins(exempt=("long-short",)))
