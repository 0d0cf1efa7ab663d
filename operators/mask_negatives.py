"""Which passages of a row's batch are no negatives of it, as data: a trainer masks them out of its in-batch softmax (C30).

cde (arXiv:2410.02525) masks what a surrogate scores as the positive or above, CADET (arXiv:2505.19274) by document and
above 0.6 of the teacher's best, Gecko (arXiv:2403.20327) by class. Scores are told by the candidates that the row has anyway.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import Array, aligned, codes, floats, in_row, indexed, parents, text_codes
from operators.contract import Columns, Example, Params, ids, operator, row_id, scores, text
from operators.index_documents import Documents
from operators.index_texts import Texts

CELLS = 1 << 22  # pairs of a row and a passage held at a time: some 32 MB an array


class MaskNegatives(Params):
    """Besides equal texts, and with ``documents`` those of the positives' documents: what else is masked."""

    score: str | None = Field(default="dense_scores", min_length=1, description="of the candidates; null: scores mask nothing")
    margin: float | None = Field(default=0.0, description="masked is what scores as the lowest positive less this; null: is not")
    at_least: float | None = Field(default=None, description="masked is what scores so much")
    of_best: float | None = Field(default=None, gt=0, lt=1, description="masked is what scores above this share of the best")
    same: tuple[str, ...] = Field(default=(), description="text columns, a class say: rows alike in all mask each other whole")

    @model_validator(mode="after")
    def _every_option_acts(self) -> Self:
        rules = [self.margin, self.at_least, self.of_best]
        if self.score is None and (self.margin or rules[1:] != [None, None]):
            raise ValueError("margin, at_least and of_best do nothing where score is null: leave them out")
        if self.score is not None and all(rule is None for rule in rules):
            raise ValueError("score does nothing without margin, at_least or of_best: say one, or score: null")
        return self


def _reads(p: MaskNegatives) -> Columns:
    found = {"candidate_ids": ids, p.score: scores} if p.score else {}
    found |= {"positive_scores": scores} if p.score == "teacher_scores" else {}
    own = {"query_id": row_id, "batch": pa.int64(), "positive_ids": ids, "negative_ids": ids}
    return {**own, **found, **dict.fromkeys(p.same, text)}


def _check(p: MaskNegatives, using: Mapping[str, Any]) -> list[str]:
    space = using.get("teacher_space")
    if p.of_best is None or p.score != "teacher_scores" or space not in ("logit", "log-probability"):
        return []
    return [f"mask_negatives: of_best has no meaning on a {space}, whose zero is arbitrary; use margin"]


@operator(
    "group", version="3", reads=_reads, writes={"masked_ids": ids}, key="batch", width=lambda p: 16, rows="same", check=_check,
)  # fmt: skip
def mask_negatives(table: pa.Table, p: MaskNegatives, *, texts: Texts, documents: Documents | None = None) -> pa.Table:
    """Add ``masked_ids``: of the other rows' positives and negatives in its batch those that may answer it, by id.

    A row's own negatives are in no mask; N rows a batch cost N² · passages a row.
    """
    batch = table["batch"].to_numpy()
    edges = np.flatnonzero(np.concatenate([[True], batch[1:] != batch[:-1]])) if len(batch) else np.empty(0, np.int64)
    masked = [_masks(part.combine_chunks(), p, texts, documents) for part in _cut(table, edges)]
    every = pa.concat_arrays(masked) if masked else pa.array([], ids)
    return columns.put(table, "masked_ids", every)


def _cut(table: pa.Table, edges: Array) -> list[pa.Table]:
    ends = [*edges[1:].tolist(), len(table)]
    return [table.slice(a, b - a) for a, b in zip(edges.tolist(), ends, strict=False)]


def _masks(table: pa.Table, p: MaskNegatives, texts: Texts, documents: Documents | None) -> pa.Array:
    """The lists of one batch, so many rows at a time that `CELLS` pairs are held."""
    names = ("positive_ids", "negative_ids", *(("candidate_ids",) if p.score else ()))
    lists = {name: columns.flat(table[name]) for name in names}
    rows_of = {name: parents(offsets) for name, (offsets, _) in lists.items()}
    every = pa.concat_arrays([lists["positive_ids"][1], lists["negative_ids"][1]])
    holder = np.concatenate([rows_of["positive_ids"], rows_of["negative_ids"]])
    code, *known = codes([every, *(values for _, values in lists.values())])
    number = dict(zip(lists, known, strict=True))
    said, answers = text_codes(texts, [every, lists["positive_ids"][1]])
    high = _high(table, p, rows_of, number) if p.score else np.empty(0, np.int64)
    label = _labels(table, p)
    found = [np.empty((0, 2), np.int64)]
    step = max(1, CELLS // max(len(every), 1))
    for start in range(0, len(table), step):
        count = min(step, len(table) - start)
        rows, at = np.divmod(np.arange(count * len(every)), max(len(every), 1))
        rows = rows + start
        rows, at = (x[rows != holder[at]] for x in (rows, at))
        hit = in_row(rows, said[at], rows_of["positive_ids"], answers)
        if documents is not None:
            hit |= documents.own(rows, every.take(pa.array(at)), rows_of["positive_ids"], lists["positive_ids"][1])
        if p.score:
            hit |= in_row(rows, code[at], rows_of["candidate_ids"][high], number["candidate_ids"][high])
        hit |= (label[rows] == label[holder[at]]) & (label[rows] >= 0)
        for name in ("positive_ids", "negative_ids"):  # a trainer knows its row's own
            hit &= ~in_row(rows, code[at], rows_of[name], number[name])
        found.append(np.unique(np.stack([rows[hit], code[at][hit]], axis=1), axis=0))
    pairs = np.concatenate(found)
    first = np.zeros(int(code.max(initial=-1)) + 1, np.int64)
    first[code[::-1]] = np.arange(len(code))[::-1]
    ends = np.searchsorted(pairs[:, 0], np.arange(len(table) + 1))
    return columns.lists(ends, every.take(pa.array(first[pairs[:, 1]])))


def _labels(table: pa.Table, p: MaskNegatives) -> Array:
    """A number for each row's class, −1 where none was asked for."""
    if not p.same or not len(table):
        return np.full(len(table), -1)
    values = list(zip(*(table[name].to_pylist() for name in p.same), strict=True))
    place = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return np.array([place[value] for value in values])


def _high(table: pa.Table, p: MaskNegatives, rows_of: Mapping[str, Array], number: Mapping[str, Array]) -> Array:
    """Where the candidates stand that score too high; by the margin none where no positive has a score."""
    of, value = rows_of["candidate_ids"], aligned(table, str(p.score), columns.flat(table["candidate_ids"])[0])
    if p.score == "teacher_scores":
        at, told = rows_of["positive_ids"], floats(columns.flat(table["positive_scores"])[1])
    else:
        own = in_row(of, number["candidate_ids"], rows_of["positive_ids"], number["positive_ids"])
        at, told = of[own], value[own]
    lowest = np.full(len(table), np.inf)
    np.minimum.at(lowest, at, np.where(np.isnan(told), np.inf, told))
    high = np.zeros(len(of), bool)
    if p.margin is not None:
        high |= value >= (lowest - p.margin)[of]
    if p.at_least is not None:
        high |= value >= np.float32(p.at_least)
    if p.of_best is not None:
        best = np.full(len(table), -np.inf)
        for rows, scored in ((at, told), (of, value)):
            np.maximum.at(best, rows, np.where(np.isnan(scored), -np.inf, scored))
        share = np.where(best > 0, p.of_best * best, best - np.abs(best) * (1 - p.of_best))  # below the best for either sign
        high |= value > share[of]
    return np.flatnonzero(high)


def example() -> Example:
    """Two batches; in the first a row's negative is a copy of the other row's positive."""
    words = ["oak", "Oak", "birch", "elm", "ash"]
    key, texts = indexed(words)
    a, b, c, d, e = key
    table: dict[str, Any] = {
        "query_id": columns.content_ids(["x", "y", "z"]), "batch": pa.array([0, 0, 1], pa.int64()),
        "positive_ids": pa.array([[a], [c], [d]], ids), "negative_ids": pa.array([[d], [b], [e]], ids),
        "candidate_ids": pa.array([[a, c], [c, d, a], [e]], ids),
        "dense_scores": pa.array([[0.5, 0.6], [0.4, 0.5, 0.1], [0.9]], scores),
    }  # fmt: skip
    return Example(pa.table(table), MaskNegatives(), {"texts": texts})
