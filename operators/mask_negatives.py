"""Which passages of a row's batch are no negatives of it, as data: a trainer masks them out of its in-batch softmax (C30).

cde (arXiv:2410.02525) masks by a surrogate's score, CADET (arXiv:2505.19274) by document and teacher, Gecko
(arXiv:2403.20327) by class. What scores as well as the positive is told by the candidates that the row has anyway.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import Array, codes, floats, in_row, parents, text_codes
from operators.contract import Columns, ContractError, Example, Params, ids, operator, row_id, scores, text
from operators.index_documents import Documents
from operators.index_texts import Texts


class MaskNegatives(Params):
    """Besides equal texts, and with ``documents`` those of the positives' documents: what else is masked."""

    score: str | None = Field(default="dense_scores", min_length=1, description="of the candidates; null: scores mask nothing")
    margin: float = Field(default=0.0, description="masked is what scores above the lowest positive less this")
    same: tuple[str, ...] = Field(default=(), description="text columns, a class say: rows alike in all mask each other whole")


def _reads(p: MaskNegatives) -> Columns:
    found = {"candidate_ids": ids, p.score: scores} if p.score else {}
    own = {"query_id": row_id, "batch": pa.int64(), "positive_ids": ids, "negative_ids": ids}
    return {**own, **found, **dict.fromkeys(p.same, text)}


@operator("group", version="1", reads=_reads, writes={"masked_ids": ids}, key="batch", width=lambda p: 16, rows="same")
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
    """The lists of one batch."""
    count = len(table)
    (owners, positives), (from_row, negatives) = (columns.flat(table[n]) for n in ("positive_ids", "negative_ids"))
    holder = np.concatenate([parents(owners), parents(from_row)])
    every = pa.concat_arrays([positives, negatives])
    rows, at = np.divmod(np.arange(count * len(every)), max(len(every), 1))
    rows, at = (x[rows != holder[at]] for x in (rows, at))
    number, wanted = text_codes(texts, [every, positives])
    hit = in_row(rows, number[at], parents(owners), wanted)
    code, of_positive, of_negative = codes([every, positives, negatives])
    if documents is not None:
        hit |= documents.own(rows, every.take(pa.array(at)), parents(owners), positives)
    if p.score:
        hit |= _scored(table, p, rows, every.take(pa.array(at)))
    for_class = [table[name].to_pylist() for name in p.same]
    if for_class:
        alike = np.unique(np.array(list(map(repr, zip(*for_class, strict=True)))), return_inverse=True)[1].reshape(-1)
        hit |= alike[rows] == alike[holder[at]]
    hit &= ~in_row(rows, code[at], parents(owners), of_positive)  # a trainer knows its own positives
    hit &= ~in_row(rows, code[at], parents(from_row), of_negative)
    pairs = np.unique(np.stack([rows[hit], code[at][hit]], axis=1), axis=0)
    first = np.zeros(int(code.max(initial=-1)) + 1, np.int64)
    first[code[::-1]] = np.arange(len(code))[::-1]
    ends = np.searchsorted(pairs[:, 0], np.arange(count + 1))
    return columns.lists(ends, every.take(pa.array(first[pairs[:, 1]])))


def _scored(table: pa.Table, p: MaskNegatives, rows: Array, passages: pa.Array) -> Array:
    """Whether each passage is a candidate of its row that scores with the row's lowest positive."""
    offsets, found = columns.flat(table["candidate_ids"])
    ends, values = columns.flat(table[p.score])
    if not np.array_equal(ends, offsets):
        raise ContractError(f"mask_negatives: {p.score} is not aligned to candidate_ids")
    owners, positives = columns.flat(table["positive_ids"])
    of, value = parents(offsets), floats(values)
    number, of_found, of_positive = codes([passages, found, positives])
    own = in_row(of, of_found, parents(owners), of_positive)
    lowest = np.full(len(table), np.inf)
    np.minimum.at(lowest, of[own], np.where(np.isnan(value[own]), np.inf, value[own]))
    high = value > (lowest - p.margin)[of]
    mask: Array = in_row(rows, number, of[high], of_found[high])
    return mask


def example() -> Example:
    """Two batches; in the first a row's negative is a copy of the other row's positive."""
    from operators.index_texts import IndexTexts, index_texts

    words = ["oak", "Oak", "birch", "elm", "ash"]
    keys = columns.content_ids([""] * 5, words)
    fold = index_texts(IndexTexts())
    passages = pa.table({"passage_id": keys, "title": pa.array([""] * 5, text), "passage": pa.array(words, text)})
    fold.add(passages.sort_by("passage_id"), 0)
    a, b, c, d, e = keys.to_pylist()
    table: dict[str, Any] = {
        "query_id": columns.content_ids(["x", "y", "z"]), "batch": pa.array([0, 0, 1], pa.int64()),
        "positive_ids": pa.array([[a], [c], [d]], ids), "negative_ids": pa.array([[d], [b], [e]], ids),
        "candidate_ids": pa.array([[a, c], [c, d, a], [e]], ids),
        "dense_scores": pa.array([[0.5, 0.6], [0.4, 0.5, 0.1], [0.9]], scores),
    }  # fmt: skip
    return Example(pa.table(table), MaskNegatives(), {"texts": fold.finish()})
