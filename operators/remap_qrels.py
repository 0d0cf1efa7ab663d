"""Remap judgements on a user's own ids to the documents that stand for theirs, so that qrels fit the curated corpus."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from operators import columns, index_ids, list_duplicates
from operators.contract import ARTIFACTS, Example, InputError, Outcome, Params, apply, operator, outcome_of, row_id, text
from operators.index_ids import IdMap, IndexIds

CARRIED = "representative"


class RemapQrels(Params):
    """Nothing to choose."""


def _lacks_queries(made: Collection[str]) -> list[str]:
    return ["given does nothing without queries: add using: {queries: STEP}"] if "given" in made and "queries" not in made else []


@operator(
    "map", version="2", reads={"query_source_id": text, "corpus_source_id": text, "relevance": pa.int32()},
    writes={"corpus_source_id": text, "passage_id": row_id, "pair_id": row_id}, rows="fewer",
    check=lambda p, using: _lacks_queries(using[ARTIFACTS]) if ARTIFACTS in using else [],
)  # fmt: skip
def remap_qrels(
    table: pa.Table, p: RemapQrels, *, documents: IdMap, queries: IdMap | None = None, given: IdMap | None = None
) -> Outcome:  # fmt: skip
    """``corpus_source_id`` becomes the representative's, ``passage_id`` is the judged text's, ``pair_id`` the judgement's.

    ``documents`` is of `list_duplicates` and carries ``representative``; a document that is not there was dropped, and its
    judgement is a reject. So is one of a query that ``queries`` lacks, where there are any: in ``given``, which holds the queries
    before some were dropped, or without it in ``queries`` itself. Where evaluation sets took all of them, no judgement stays.
    """
    if CARRIED not in documents.carries:
        raise InputError(f"remap_qrels: documents: the map has no representatives; give its index_ids step carry: [{CARRIED}]")
    asked, judged = table["query_source_id"].to_pylist(), table["corpus_source_id"].to_pylist()
    offsets, found = documents.find(judged)
    told = documents.carried(judged)[CARRIED]
    reasons = {int(i): ("document is not in the corpus", judged[i]) for i in np.flatnonzero(np.diff(offsets) == 0)}
    if queries is not None and len(queries if given is None else given):
        gone = np.flatnonzero(np.diff(queries.find(asked)[0]) == 0).tolist()
        reasons |= {i: ("query is not among the queries", asked[i]) for i in gone}
    good = np.array([i for i in range(len(table)) if i not in reasons], np.int64)
    first = pa.array(offsets[good])  # a source_id of two documents means the first
    kept = table.take(pa.array(good))
    kept = columns.put(kept, "corpus_source_id", told.take(first))
    kept = columns.put(kept, "passage_id", found.take(first))
    pairs = columns.content_ids(kept["query_source_id"].to_pylist(), kept["corpus_source_id"].to_pylist())
    return outcome_of(table, columns.put(kept, "pair_id", pairs), reasons)


def example() -> Example:
    """Four judgements: on a duplicate, on a text that is alone, on a document that was dropped, of an unknown query."""
    shown = list_duplicates.example()
    fold = index_ids.index_ids(IndexIds(carry=(CARRIED,)))
    fold.add(apply(list_duplicates.list_duplicates, shown.table, shown.params).table, 0)
    asked = index_ids.index_ids(IndexIds(id="query_id"))
    asked.add(pa.table({"source_id": pa.array(["q"], text), "query_id": columns.content_ids(["what is an oak"], [""])}), 0)
    rows = [("q", "9"), ("q", "1"), ("q", "gone"), ("other", "9")]
    table = pa.table({
        "query_source_id": pa.array([row[0] for row in rows], text), "corpus_source_id": pa.array([row[1] for row in rows], text),
        "relevance": pa.array([1, 2, 1, 1], pa.int32()),
    })  # fmt: skip
    return Example(table, RemapQrels(), {"documents": fold.finish(), "queries": asked.finish()})
