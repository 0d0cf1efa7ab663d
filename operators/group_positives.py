"""Merge the rows of one query into one that lists every positive: a query may have many (NV-Retriever §3)."""

from typing import Literal

import numpy as np
import pyarrow as pa

from operators import columns
from operators.content import parents
from operators.contract import REJECTS, ROW, Columns, Example, Outcome, Params, ids, operator, row_id, text


class GroupPositives(Params):
    """The column that names the positives of a row."""

    positives: Literal["positive_ids", "passage_id"] = "positive_ids"


def _reads(p: GroupPositives) -> Columns:
    return {"query_id": row_id, p.positives: ids if p.positives == "positive_ids" else row_id}


@operator(
    "group", version="1", reads=_reads, writes={"query_id": row_id, "positive_ids": ids}, key="query_id"
)
def group_positives(table: pa.Table, p: GroupPositives) -> Outcome:
    """Keep the first row of each query, with all positives in the order of their ids.

    `positive_scores` ends here where it was there: it is aligned to the lists as they were.
    """
    table = table.drop_columns([c for c in ("positive_scores",) if c in table.column_names])
    pairs = columns.id_pairs(table["query_id"])
    first = np.ones(len(table), bool)
    first[1:] = pairs[1:] != pairs[:-1]
    group = np.cumsum(first) - 1
    if p.positives == "positive_ids":
        offsets, values = columns.flat(table["positive_ids"])
    else:
        offsets, values = (
            np.arange(len(table) + 1),
            pa.concat_arrays(table["passage_id"].chunks or [pa.array([], row_id)]),
        )
    wide = columns.id_pairs(values)
    owner = group[parents(offsets)]
    order = np.lexsort((wide["lo"], wide["hi"], owner))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (wide[order][1:] != wide[order][:-1]) | (np.diff(owner[order]) != 0)
    chosen = order[fresh]
    ends = np.searchsorted(owner[chosen], np.arange(int(first.sum()) + 1))
    merged = columns.lists(ends, values.take(pa.array(chosen)))
    kept = columns.put(table.filter(pa.array(first)), "positive_ids", merged)
    rest = table.filter(pa.array(~first))
    value = columns.hexed(rest["query_id"])
    reason = pa.array(["merged into its query"] * len(rest), text)
    return Outcome(kept, pa.table([rest[ROW], reason, value], schema=REJECTS))


def example() -> Example:
    """Four judgements on two queries, one of them twice."""
    queries, instructions = ["a", "b", "a", "a"], [""] * 4
    positives = [[b"2" * 16], [b"1" * 16], [b"1" * 16, b"2" * 16], []]
    table = pa.table({"query": pa.array(queries, text), "positive_ids": pa.array(positives, ids)})
    table = table.append_column("query_id", columns.content_ids(queries, instructions))
    return Example(table.sort_by("query_id"), GroupPositives())
