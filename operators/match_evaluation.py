"""Match rows with evaluation texts, exactly and by runs of words: which, and how much of each stands in the row (C27)."""

from typing import Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns, index_evaluation, topk
from operators.content import Array, indexed, parents
from operators.contract import ARTIFACTS, Columns, Example, InputError, Needs, Params, ids, operator, scores, text
from operators.index_evaluation import Evaluation, IndexEvaluation
from operators.index_texts import Texts


class MatchEvaluation(Params):
    """Which texts of a row are looked at; every one alone, the best of them counts."""

    columns: tuple[str, ...] = Field(default=("query",), description="text columns")
    ids: tuple[str, ...] = Field(default=(), description="columns of ids, such as positive_ids, whose texts are looked at")
    least_share: float = Field(default=0.1, gt=0, le=1, description="of an evaluation text's runs of words; less is not kept")
    top_k: int = Field(default=50, ge=1, description="evaluation texts that are kept by tier, the best")

    @model_validator(mode="after")
    def _looks_at_something(self) -> Self:
        if not self.columns and not self.ids:
            raise ValueError("columns and ids are empty: no text would be looked at")
        return self


def _reads(p: MatchEvaluation) -> Columns:
    return {**dict.fromkeys(p.columns, text), **dict.fromkeys(p.ids, ids)}


@operator(
    "map", version="1", reads=_reads, rows="same", needs=Needs(batch_rows=2048),  # boilerplate pairs a row with thousands
    writes={"exact_ids": ids, "ngram_ids": ids, "ngram_scores": scores},
    check=lambda p, using: _lacks_texts(p, "texts" in using[ARTIFACTS]) if ARTIFACTS in using else [],
)  # fmt: skip
def match_evaluation(table: pa.Table, p: MatchEvaluation, *, evaluation: Evaluation, texts: Texts | None = None) -> pa.Table:
    """Add the ids of the evaluation texts that a row's text equals, and of those whose runs it holds, with their shares."""
    pairs = []
    for place, said in _texts_of(table, p, texts):
        found = evaluation.find(said)
        pairs.append((place[found.texts], found.rows, found.shares, found.whole))
    row, at, share, whole = (np.concatenate(x) for x in zip(*pairs, strict=True))
    wide = _listed(table, ("exact_ids", ""), row[whole], np.ones(int(whole.sum())), evaluation.ids(at[whole]), p)
    some = share >= p.least_share
    return _listed(wide, ("ngram_ids", "ngram_scores"), row[some], share[some], evaluation.ids(at[some]), p)


def _lacks_texts(p: MatchEvaluation, there: bool) -> list[str]:
    if there == bool(p.ids):
        return []
    return ["ids are looked up in texts: add using: {texts: STEP}" if p.ids else "texts do nothing without ids: name columns"]


def _texts_of(table: pa.Table, p: MatchEvaluation, texts: Texts | None) -> list[tuple[Array, pa.ChunkedArray]]:
    """(rows, texts) of every column."""
    found = [(np.arange(len(table)), table[name]) for name in p.columns]
    for name in p.ids:
        if texts is None:
            raise InputError(_lacks_texts(p, False)[0])
        offsets, values = columns.flat(table[name])
        found.append((parents(offsets), pa.chunked_array([texts.take(values)], text)))
    return found


def _listed(table: pa.Table, names: tuple[str, str], row: Array, value: Array, found: pa.Array, p: MatchEvaluation) -> pa.Table:
    value = value.astype(np.float32)
    offsets, order = topk.ranked(row, value, found, len(table), p.top_k)
    wide = columns.put(table, names[0], columns.lists(offsets, found.take(pa.array(order))))
    return columns.put(wide, names[1], columns.lists(offsets, pa.array(value[order]))) if names[1] else wide


def example() -> Example:
    """Four rows: one equals a query, one holds it, one holds half of a document, the passage of one is a query."""
    rows = [("nq", "1", "", "Which tree grows by the river?"), ("nq", "2", "", "The river is long, and a stone lies in it.")]
    evaluation = index_evaluation.indexed(rows, IndexEvaluation(words=4, least_words=3))
    asked = ["which TREE, grows by the river", "tell me: which tree grows by the river", "long, and a stone lies", "owls"]
    keys, texts = indexed(["Oaks.", "Elms.", "Stones.", "Which tree grows by the river"])
    table = pa.table({"query": pa.array(asked, text), "positive_ids": pa.array([[k] for k in keys], ids)})
    return Example(table, MatchEvaluation(ids=("positive_ids",)), {"evaluation": evaluation, "texts": texts})
