"""Score positives and candidates with a teacher: each (query, passage) pair once, sorted by length."""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.columns import content_ids, flat, id_pairs, lists, put
from operators.contract import Example, Needs, Outcome, Params, ids, operator, reject, score, scores, text
from operators.engines.teacher import Teacher
from operators.index_texts import Texts


class ScoreTeacher(Params):
    """How deep to score: candidates behind ``max_candidates`` keep no score."""

    max_candidates: int | None = Field(default=None, ge=1)


@operator("map", version="1", reads={"query": text, "positive_ids": ids, "candidate_ids": ids},
          writes={"teacher_scores": scores, "positive_scores": scores}, rows="fewer", needs=Needs(batch_rows=512))  # fmt: skip
def score_teacher(table: pa.Table, p: ScoreTeacher, *, teacher: Teacher, texts: Texts) -> Outcome:
    """Adds scores aligned with the candidates and the positives; a score that is no number rejects its row."""
    sides = [flat(table["positive_ids"]), flat(table["candidate_ids"])]
    rows = [np.repeat(np.arange(len(table)), np.diff(offsets)) for offsets, _ in sides]
    depth = np.arange(len(rows[1])) - np.repeat(sides[1][0][:-1], np.diff(sides[1][0]))
    asked = depth < p.max_candidates if p.max_candidates else np.ones(len(depth), bool)
    both = pa.concat_arrays([sides[0][1], sides[1][1].filter(pa.array(asked))])
    row = np.concatenate([rows[0], rows[1][asked]])
    first, inverse = _distinct(row, both)
    pairs = both.take(pa.array(first))
    queries = table["query"].combine_chunks().take(pa.array(row[first])).to_pylist()
    found = teacher.score(queries, texts.take(pairs).to_pylist())[inverse] if len(first) else np.empty(0, np.float32)
    split = len(rows[0])
    spread = np.full(len(asked), np.nan, np.float32)
    spread[asked] = found[split:]
    table = put(table, "positive_scores", lists(sides[0][0], pa.array(found[:split], score)))
    holes = pa.array(spread, score, mask=~asked)
    table = put(table, "teacher_scores", lists(sides[1][0], holes))
    broken = np.bincount(row, ~np.isfinite(found), minlength=len(table)) > 0
    return reject(table, broken, "the teacher's score is not a number")


def _distinct(row: np.ndarray, values: pa.Array) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    pairs = id_pairs(values) if len(values) else np.empty(0, [("hi", "u8"), ("lo", "u8")])
    _, first, inverse = np.unique(np.rec.fromarrays([row, pairs["hi"], pairs["lo"]]), return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


def example() -> Example:
    """Three queries over three passages; one has no candidate."""
    from operators.engines import load_model, packaged
    from operators.index_texts import IndexTexts, index_texts

    passages = ["Ice melts in the sun.", "Iron rusts in the rain.", "Coal burns."]
    names = content_ids([""] * 3, passages)
    order = sorted(range(3), key=lambda i: names[i].as_py())
    fold = index_texts(IndexTexts())
    fold.add(pa.table({"passage_id": names.take(pa.array(order)), "title": pa.array([""] * 3, text),
                       "passage": pa.array([passages[i] for i in order], text)}), 0)  # fmt: skip
    a, b, c = names.to_pylist()
    table = pa.table({
        "query": pa.array(["what melts", "what rusts", "what burns"], text), "positive_ids": pa.array([[a], [b], [c]], ids),
        "candidate_ids": pa.array([[a, b, c], [c, b], []], ids),
    })  # fmt: skip
    teacher = load_model("teacher", packaged("teacher"))
    return Example(table, ScoreTeacher(max_candidates=2), {"teacher": teacher, "texts": fold.finish()})
