"""Score each query's positives and candidates with a teacher, each distinct pair once."""

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import aligned, indexed, told
from operators.contract import Columns, Example, Needs, Outcome, Params, ids, operator, reject, scores, text
from operators.engines.teacher import CALLS, Teacher
from operators.index_texts import Texts


class Band(Params):
    """Which candidates are in doubt: an earlier scorer's column, and between what (ends included) its score must lie."""

    scores: str = Field(min_length=1)
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        both = [edge for edge in (self.low, self.high) if edge is not None]
        if not both or both != sorted(both):
            raise ValueError("band: say low or high, or both, low not above high")
        return self


class ScoreTeacher(Params):
    """How far down the candidates the teacher looks, and the columns that it writes: its own where there are several.

    With ``band`` a dear teacher, an LLM say, judges only what a cheap one leaves in doubt (RLHN, arXiv:2505.16967).
    """

    max_candidates: int | None = Field(default=None, ge=1, description="the first so many are scored, the rest stay null")
    band: Band | None = Field(default=None, description="only candidates with a score in it are scored, the rest stay null")
    ids: str = Field(default="candidate_ids", min_length=1, description="what is scored: negative_ids, say, where they changed")
    scores: str = Field(default="teacher_scores", min_length=1, description="of the candidates")
    positives: str = Field(default="positive_scores", min_length=1, description="of the positives")

    @model_validator(mode="after")
    def _columns_apart(self) -> Self:
        columns.apart(scores=self.scores, positives=self.positives)
        if self.ids != "candidate_ids" and "scores" not in self.model_fields_set:
            raise ValueError(f"scores: name the column for the scores of {self.ids}; teacher_scores are those of candidate_ids")
        return self


def _reads(p: ScoreTeacher) -> Columns:
    return {"query": text, "positive_ids": ids, p.ids: ids, **({p.band.scores: scores} if p.band else {})}


def _asking(models: Mapping[str, Any]) -> int:
    return CALLS.get(models["teacher"].backend, 0) if "teacher" in models else 0


def _calls(p: ScoreTeacher, models: Mapping[str, Any]) -> dict[str, int]:
    return {"": _asking(models) * (p.max_candidates or 0), "positive_ids": _asking(models)}


def _bounded(p: ScoreTeacher, using: Mapping[str, Any]) -> Sequence[str]:
    if p.max_candidates is None and _asking(using):
        return ["score_teacher: this teacher asks an LLM about each candidate; say how many: max_candidates"]
    return []


@operator(
    "map", version="2", reads=_reads,
    writes=lambda p: {p.scores: scores, p.positives: scores}, rows="same",
    needs=Needs(batch_rows=4096),  # a block of texts is read once a batch: 512 rows read 4 times the bytes of 2000
    scored=lambda p: {"positive_ids": p.positives, p.ids: p.scores}, check=_bounded, calls=_calls,
)  # fmt: skip
def score_teacher(table: pa.Table, p: ScoreTeacher, *, teacher: Teacher, texts: Texts) -> Outcome:
    """Add the scores of candidates and positives, aligned to the ids that they belong to."""
    queries, asked = table["query"].to_pylist(), _asked(table, p)
    positives, candidates = table["positive_ids"].to_pylist(), table[p.ids].to_pylist()
    wanted = [[i for i, yes in zip(found, mask, strict=True) if yes] for found, mask in zip(candidates, asked, strict=True)]
    seen = [[*own, *found] for own, found in zip(positives, wanted, strict=True)]
    pairs = list(dict.fromkeys((q, i) for q, row in zip(queries, seen, strict=True) for i in row))
    known = dict(zip(pairs, _scored(pairs, teacher, texts), strict=True))
    first = [[known[q, i] for i in row] for q, row in zip(queries, positives, strict=True)]
    # What was not asked for is not known: null.
    both = zip(queries, candidates, asked, strict=True)
    then = [[known[q, i] if yes else None for i, yes in zip(row, mask, strict=True)] for q, row, mask in both]
    out = columns.put(table, p.positives, pa.array(first, scores))
    out = columns.put(out, p.scores, pa.array(then, scores))
    wrong = [next((i for i in row if not np.isfinite(known[q, i])), None) for q, row in zip(queries, seen, strict=True)]
    value = ["" if i is None else f"{q} | {i.hex()}" for q, i in zip(queries, wrong, strict=True)]
    return reject(out, [i is not None for i in wrong], "the teacher's score is not finite", value)


def _asked(table: pa.Table, p: ScoreTeacher) -> list[list[bool]]:
    """Whether each candidate is to be scored."""
    offsets, _ = columns.flat(table[p.ids])
    mask = np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets)) < (p.max_candidates or np.inf)
    if p.band:
        value = aligned(table, p.band.scores, offsets).astype(np.float32)
        mask &= ~np.isnan(value)
        if p.band.low is not None:
            mask &= value >= np.float32(p.band.low)
        if p.band.high is not None:
            mask &= value <= np.float32(p.band.high)
    return [mask[a:b].tolist() for a, b in pairwise(offsets)]


def _scored(pairs: list[tuple[str, bytes]], teacher: Teacher, texts: Texts) -> list[float]:
    """The score of each pair, asked for in order of length, so that near ones share a batch."""
    known = told(texts, (i for _, i in pairs))
    order = sorted(range(len(pairs)), key=lambda k: (len(pairs[k][0]) + len(known[pairs[k][1]]), pairs[k]))
    found = teacher.score([pairs[k][0] for k in order], [known[pairs[k][1]] for k in order])
    out = np.empty(len(pairs), np.float32)
    out[order] = found
    return [float(v) for v in out]


def example() -> Example:
    """Three queries over four passages, with the packaged teacher."""
    from operators.engines import load_model, packaged

    words = ["iron rusts in rain", "owls hunt at night", "bread needs yeast", "rain falls from clouds"]
    key, texts = indexed(words)
    rows = {
        "query": pa.array(["why does iron rust", "when do owls hunt", "what makes bread rise"], text),
        "positive_ids": pa.array([[key[0]], [key[1]], [key[2]]], ids),
        "candidate_ids": pa.array([[key[3], key[1]], [], list(chain(key[:2]))], ids),
    }
    used = {"teacher": load_model("teacher", packaged("teacher")), "texts": texts}
    return Example(pa.table(rows), ScoreTeacher(max_candidates=1), used)
