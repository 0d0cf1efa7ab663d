"""Keep a query whose source passage the teacher ranks first, with a score above a quarter of all (CADET, arXiv:2505.19274).

The second and third of CADET's filters, behind `round_trip`; Ruri (arXiv:2409.07737) gates likewise.
"""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import Array, best_of_each, floats, in_row, parents, text_codes
from operators.contract import Columns, Example, InputError, Outcome, Params, ids, operator, outcome_of, scores, text
from operators.fit_score_quantiles import FitScoreQuantiles, ScoreQuantiles, fit_score_quantiles
from operators.index_texts import IndexTexts, Texts, index_texts


class GateByTeacher(Params):
    """What the teacher must say of the source passage. Texts that are equal count once."""

    top_k: int = Field(default=1, ge=1, description="the rank of the source passage, at most")
    min_candidates: int = Field(default=20, ge=1, description="texts that the teacher scored, the source passage among them")
    percentile: int = Field(default=25, ge=0, le=100, description="of all scores of its group: below it is dropped")
    by: str = Field(default="query_type", description="as of the step that counted the scores")
    normalise: bool = Field(default=False, description="spread the scores: the 1st percentile becomes 0, the 99th 1; clipped")


def _reads(p: GateByTeacher) -> Columns:
    own = {"positive_ids": ids, "candidate_ids": ids, "positive_scores": scores, "teacher_scores": scores}
    return {**own, **({p.by: text} if p.by else {})}


@operator(
    "map", version="2", reads=_reads, writes={"teacher_rank": pa.int32(), "positive_scores": scores, "teacher_scores": scores},
    rows="fewer",
)  # fmt: skip
def gate_by_teacher(table: pa.Table, p: GateByTeacher, *, texts: Texts, quantiles: ScoreQuantiles) -> Outcome:
    """N queries: those that pass, with ``teacher_rank``; the others by the first gate that they fail."""
    if p.by != quantiles.by:
        raise InputError(f"gate_by_teacher: by is {p.by!r}, the scores were counted by {quantiles.by!r}; say the same")
    best, rank, seen = _ranked(table, texts)
    groups = table[p.by].to_pylist() if p.by else [""] * len(table)
    reasons: dict[int, tuple[str, str]] = {}
    for i, group in enumerate(groups):
        if not np.isfinite(best[i]):
            reasons[i] = ("positive has no score", "")
        elif seen[i] < p.min_candidates:
            reasons[i] = (f"fewer than {p.min_candidates} candidates scored", str(seen[i]))
        elif rank[i] > p.top_k:
            reasons[i] = (f"source passage not in the teacher's top {p.top_k}", str(rank[i]))
        elif best[i] < (least := quantiles.at(group, p.percentile)):
            reasons[i] = (f"scored below percentile {p.percentile}", f"{best[i]:.4g} < {least:.4g}")
    passed = [i for i in range(len(table)) if i not in reasons]
    kept = table.take(pa.array(passed, pa.int64()))
    kept = columns.put(kept, "teacher_rank", pa.array(rank[passed], pa.int32()))
    if p.normalise:
        edges = np.array([[quantiles.at(groups[i], 1), quantiles.at(groups[i], 99)] for i in passed]).reshape(-1, 2)
        for name in ("positive_scores", "teacher_scores"):
            kept = columns.put(kept, name, _spread(kept[name], edges))
    return outcome_of(table, kept, reasons)


def _ranked(table: pa.Table, texts: Texts) -> tuple[Array, Array, Array]:
    """The best positive's score, its rank among distinct texts, and how many of these have a score: (N,) each."""
    offsets, candidates = columns.flat(table["candidate_ids"])
    positive_offsets, positives = columns.flat(table["positive_ids"])
    rows = np.concatenate([parents(positive_offsets), parents(offsets)])
    number = np.concatenate(text_codes(texts, [positives, candidates]))
    value = np.concatenate([floats(columns.flat(table[c])[1]) for c in ("positive_scores", "teacher_scores")])
    own = np.arange(len(rows)) < len(positives)
    known = np.flatnonzero(~np.isnan(value))
    best = np.full(len(table), -np.inf)
    np.maximum.at(best, rows[known[own[known]]], value[known[own[known]]])
    known = known[best_of_each(rows[known], number[known], value[known])]
    source = in_row(rows[known], number[known], rows[own], number[own])
    seen = np.bincount(rows[known], minlength=len(table))
    above = known[~source & (value[known] > best[rows[known]])]
    return best, 1 + np.bincount(rows[above], minlength=len(table)), seen


def _spread(column: pa.ChunkedArray, edges: Array) -> pa.Array:
    offsets, values = columns.flat(column)
    low, high = edges[parents(offsets)].T
    width = np.where(high > low, high - low, 1.0)
    number = np.clip((floats(values) - low) / width, 0, 1).astype(np.float32)
    return columns.lists(offsets, pa.array(number, pa.float32(), from_pandas=True))


def example() -> Example:
    """Four queries: one passes, one ranks second, one scores low, one has too few candidates."""
    words = ["oak", "birch", "elm"]
    passages = pa.table({"title": pa.array([""] * 3, text), "passage": pa.array(words, text)})
    passages = passages.append_column("passage_id", columns.content_ids([""] * 3, words))
    fold = index_texts(IndexTexts())
    fold.add(passages.sort_by("passage_id"), 0)
    oak, birch, elm = passages["passage_id"].to_pylist()
    rows = {
        "query_type": pa.array(["claim"] * 4, text),
        "positive_ids": pa.array([[oak]] * 4, ids),
        "positive_scores": pa.array([[0.9], [0.5], [0.1], [0.8]], scores),
        "candidate_ids": pa.array([[oak, birch, elm]] * 3 + [[oak]], ids),
        "teacher_scores": pa.array([[0.9, 0.4, 0.3], [0.5, 0.6, 0.2], [0.1, 0.05, None], [0.8]], scores),
    }
    counts = fit_score_quantiles(FitScoreQuantiles())
    counts.add(pa.table(rows), 0)
    used = {"texts": fold.finish(), "quantiles": counts.finish()}
    return Example(pa.table(rows), GateByTeacher(min_candidates=2, normalise=True), used)
