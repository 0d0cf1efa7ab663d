"""Turn judgements on a user's own ids into queries with their positives."""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns, index_ids
from operators.contract import Example, InputError, Outcome, Params, ids, operator, outcome_of, row_id, text
from operators.index_ids import IdMap, IndexIds


class ResolveQrels(Params):
    """From what grade on a judgement counts, and whether a split document gives all its passages."""

    min_relevance: int = Field(default=1)
    first_only: bool = False  # the first passage of a document, as its map orders them


@operator(
    "map",
    version="1",
    reads={"query_source_id": text, "corpus_source_id": text, "relevance": pa.int32()},
    writes={
        "query_id": row_id,
        "query": text,
        "positive_ids": ids,
        "instruction": text,
        "query_type": text,
        "generator": text,
    },
    rows="same",
)
def resolve_qrels(table: pa.Table, p: ResolveQrels, *, passages: IdMap, queries: IdMap) -> Outcome:
    """One row a judgement; what refers to nothing is rejected with its id."""
    if "query" not in queries.carries:
        raise InputError(
            "resolve_qrels: queries: the map has no texts; give its index_ids step carry: [query]"
        )
    asked, judged = table["query_source_id"].to_pylist(), table["corpus_source_id"].to_pylist()
    relevance = table["relevance"].to_numpy()
    query_at, query_ids = queries.find(asked)
    texts = queries.carried(asked)
    at, found = passages.find(judged)
    no_query, no_document, low = np.diff(query_at) == 0, np.diff(at) == 0, relevance < p.min_relevance
    reasons: dict[int, tuple[str, str]] = {}
    for i in np.flatnonzero(no_query | no_document | low).tolist():
        if no_query[i]:
            reasons[i] = ("unknown query id", asked[i])
        elif no_document[i]:
            reasons[i] = ("unknown document id", judged[i])
        else:
            reasons[i] = ("below min_relevance", str(relevance[i]))
    good = np.flatnonzero(~(no_query | no_document | low))
    first = pa.array(query_at[good])  # one text has one id, so a source_id has one query
    empty = pa.array([""] * len(good), text)
    told = texts["instruction"].take(first) if "instruction" in texts.column_names else empty
    sizes = np.ones(len(good), np.int64) if p.first_only else np.diff(at)[good]
    ends = np.concatenate([[0], np.cumsum(sizes)])
    chosen = np.arange(ends[-1]) + np.repeat(at[good] - ends[:-1], sizes)
    kept = table.take(pa.array(good))
    for name, values in (
        ("query_id", query_ids.take(first)),
        ("query", texts["query"].take(first)),
        ("positive_ids", columns.lists(ends, found.take(pa.array(chosen)))),
        ("instruction", told),
        ("query_type", empty),
        ("generator", empty),
    ):
        kept = columns.put(kept, name, values)
    return outcome_of(table, kept, reasons)


def example() -> Example:
    """Five judgements: good, on a document of two passages, unknown query, unknown document, grade 0."""
    fold = index_ids.index_ids(IndexIds(order_by="start"))
    names, words = ["d1", "d2", "d2"], ["oak", "birch", "bark"]
    parts = pa.table({"source_id": pa.array(names, text), "start": pa.array([0, 0, 9], pa.int32())})
    fold.add(parts.append_column("passage_id", columns.content_ids([""] * 3, words)), 0)
    shown = index_ids.example()
    asked = index_ids.index_ids(shown.params)
    asked.add(shown.table, 0)
    table = pa.table(
        {
            "query_source_id": pa.array(["q1", "q2", "q9", "q1", "q3"], text),
            "corpus_source_id": pa.array(["d1", "d2", "d1", "d9", "d1"], text),
            "relevance": pa.array([1, 2, 1, 1, 0], pa.int32()),
        }
    )
    return Example(table, ResolveQrels(), {"passages": fold.finish(), "queries": asked.finish()})
