"""Turn likely false negatives into positives (RLHN, arXiv:2505.16967), or drop queries that have too many of them.

RLHN has LLMs judge hard negatives; relabelling those found relevant trained better than dropping them or their queries.
"""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import aligned, best_of_each, codes, in_row, indexed, parents, text_codes
from operators.contract import Columns, Example, Outcome, Params, ids, operator, outcome_of, score, scores
from operators.index_texts import Texts


class PromotePositives(Params):
    """From what score on a candidate is a positive, and how many make a query worthless."""

    score: str = Field(default="false_negative_scores", min_length=1, description="of the candidates: a probability, a mark")
    at_least: float = Field(default=0.5, description="of that score")
    most: int = Field(default=7, ge=1, description="a query with more of them is a reject, as in RLHN")
    scores: str | None = Field(
        default="teacher_scores", description="the column whose scores go to positive_scores with them; null: there are none"
    )


def _reads(p: PromotePositives) -> Columns:
    own = {p.scores: scores, "positive_scores": scores} if p.scores else {}
    return {"positive_ids": ids, "candidate_ids": ids, p.score: scores, **own}


def _writes(p: PromotePositives) -> Columns:
    own = {"positive_scores": scores} if p.scores else {}
    return {"positive_ids": ids, **own, "promoted_ids": ids}


@operator("map", version="2", reads=_reads, writes=_writes, rows="fewer")
def promote_positives(table: pa.Table, p: PromotePositives, *, texts: Texts) -> Outcome:
    """Append the promoted candidates to the positives, best first; ``promoted_ids`` says which they were."""
    offsets, candidates = columns.flat(table["candidate_ids"])
    owners, positives = columns.flat(table["positive_ids"])
    rows, owner = parents(offsets), parents(owners)
    value = aligned(table, p.score, offsets)
    number, known = text_codes(texts, [candidates, positives])
    name, of_name = codes([candidates, positives])
    good = (value >= np.float32(p.at_least)) & ~in_row(rows, number, owner, known) & ~in_row(rows, name, owner, of_name)
    moved = aligned(table, p.scores, offsets) if p.scores else np.zeros(len(rows))
    good &= ~np.isnan(moved)
    where = np.flatnonzero(good)
    where = where[best_of_each(rows[where], number[where], value[where])]
    wide = columns.id_pairs(candidates)[where]
    where = where[np.lexsort((wide["lo"], wide["hi"], -value[where], rows[where]))]
    counts = np.bincount(rows[where], minlength=len(table))
    many = counts > p.most
    kept, where = table.filter(pa.array(~many)), where[~many[rows[where]]]
    both_rows, both = np.concatenate([owner, rows[where]]), pa.concat_arrays([positives, candidates.take(pa.array(where))])
    use = np.flatnonzero(~many[both_rows])
    order = use[np.argsort(both_rows[use], kind="stable")]
    ends = np.concatenate([[0], np.cumsum((np.diff(owners) + counts)[~many])])
    kept = columns.put(kept, "positive_ids", columns.lists(ends, both.take(pa.array(order))))
    if p.scores:
        every = np.concatenate([aligned(table, "positive_scores", owners), moved[where]]).astype(np.float32)
        kept = columns.put(kept, "positive_scores", columns.lists(ends, pa.array(every[order], score, from_pandas=True)))
    promoted = columns.lists(np.concatenate([[0], np.cumsum(counts[~many])]), candidates.take(pa.array(where)))
    reasons = {int(i): ("too many false negatives", f"{counts[i]} candidates") for i in np.flatnonzero(many)}
    return outcome_of(table, columns.put(kept, "promoted_ids", promoted), reasons)


def example() -> Example:
    """Three queries with one, none and too many candidates to promote."""
    words = ["oak", "birch", "elm", "ash"]
    key, texts = indexed(words)
    a, b, c, d = key
    table = {
        "positive_ids": pa.array([[a], [b], [a]], ids), "positive_scores": pa.array([[0.9], [0.8], [0.7]], scores),
        "candidate_ids": pa.array([[a, b, c], [c], [b, c, d]], ids),
        "teacher_scores": pa.array([[0.9, 0.7, 0.1], [0.2], [0.8, 0.7, 0.6]], scores),
        "false_negative_scores": pa.array([[0.9, 0.6, 0.1], [0.2], [0.8, 0.7, 0.6]], scores),
    }  # fmt: skip
    return Example(pa.table(table), PromotePositives(most=2), {"texts": texts})
