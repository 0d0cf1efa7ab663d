"""Embed queries and passages by what a teacher says of anchors, so that dot products approximate its scores (`fit_anchors`).

Mining with a teacher alone, where no encoder knows the domain: search these vectors with `retrieve_dense`, then score the
best with `score_teacher`. That is ANNCUR's retrieve and rerank (arXiv:2210.12579, section 3.2).
"""

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns, topk
from operators.contract import Columns, Example, Needs, Outcome, Params, operator, reject, text, vector
from operators.engines.teacher import Teacher
from operators.fit_anchors import Anchors, fit_anchors, no_llm, scored
from operators.fit_anchors import example as anchored


class EmbedByTeacher(Params):
    """Which side, and the column to write."""

    column: Literal["query", "passage"] = "passage"
    into: str = Field(default="teacher_vector", min_length=1, description="the column to write")


def _reads(p: EmbedByTeacher) -> Columns:
    return {"title": text, "passage": text} if p.column == "passage" else {"query": text}


@operator(
    "map", version="2", reads=_reads, writes=lambda p: {p.into: vector}, rows="same", needs=Needs(batch_rows=256), check=no_llm,
)  # fmt: skip
def embed_by_teacher(table: pa.Table, p: EmbedByTeacher, *, teacher: Teacher, anchors: Anchors) -> Outcome:
    """Add a vector of one number an anchor query: not of unit length, and not to be compared by cosine."""
    given = columns.shown(table) if p.column == "passage" else table["query"].to_pylist()
    stored = np.zeros((len(given), len(anchors.queries)), np.float32)
    if given:
        anchors.check(teacher)
    if p.column == "passage":
        stored[:] = scored(teacher, anchors.queries, given).T
    else:
        for i, one in enumerate(scored(teacher, given, anchors.passages)):
            stored[i] = topk.dots(one, anchors.link.T)  # BLAS's last bits hang on how many rows there are
    offsets = np.arange(len(given) + 1, dtype=np.int64) * len(anchors.queries)
    out = columns.put(table, p.into, columns.lists(offsets, pa.array(stored.reshape(-1), pa.float32())))
    bad = np.asarray(~np.isfinite(stored).all(axis=1))
    return reject(out, bad, "the teacher's score is not finite", given)


def example() -> Example:
    """Four passages, one of them empty, by the anchors of three queries."""
    one = anchored()
    fold = fit_anchors(one.params, **one.used)
    fold.add(one.table, 0)
    table = pa.table({
        "title": pa.array(["", "Owls", "", ""], text),
        "passage": pa.array(["iron rusts in rain", "They hunt at night.", "rain falls from clouds", ""], text),
    })  # fmt: skip
    return Example(table, EmbedByTeacher(), {"teacher": one.used["teacher"], "anchors": fold.finish()})
