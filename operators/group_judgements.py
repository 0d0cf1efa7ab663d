"""Gather the judgements of each query, with their grades: what a ranking is scored by (`score_rankings`)."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from operators import columns
from operators.content import best_of_each, codes, parents
from operators.contract import REJECTS, ROW, Example, Outcome, Params, ids, operator, row_id, text

grades = pa.list_(pa.int32())
_READS = {"query_id": row_id, "positive_ids": ids, "relevance": pa.int32(), "query_source_id": text}


class GroupJudgements(Params):
    """Nothing to choose: every judgement that `resolve_qrels` let through counts."""


@operator(
    "group", version="1", key="query_id", reads=_READS,
    writes={"query_id": row_id, "judged_ids": ids, "grades": grades, "source_id": text},
)  # fmt: skip
def group_judgements(table: pa.Table, p: GroupJudgements) -> Outcome:
    """A row a query: its passages by id, each once with its highest grade, and the first of the user's own ids of it.

    What a row says of one judgement ends here.
    """
    pairs = columns.id_pairs(table["query_id"])
    first = np.ones(len(table), bool)
    first[1:] = pairs[1:] != pairs[:-1]
    offsets, values = columns.flat(table["positive_ids"])
    owner = (np.cumsum(first) - 1)[parents(offsets)]
    grade = table["relevance"].to_numpy()[parents(offsets)]
    [number] = codes([values])
    chosen = np.flatnonzero(best_of_each(owner, number, grade))
    chosen = chosen[np.lexsort((number[chosen], owner[chosen]))]
    ends = np.searchsorted(owner[chosen], np.arange(int(first.sum()) + 1))
    kept, rest = table.filter(pa.array(first)), table.filter(pa.array(~first))
    kept = columns.put(kept, "judged_ids", columns.lists(ends, values.take(pa.array(chosen))))
    kept = columns.put(kept, "grades", columns.lists(ends, pa.array(grade[chosen], pa.int32())))
    edges = np.flatnonzero(first).tolist()
    names = table["query_source_id"].to_pylist()
    own = [min(names[a:b]) for a, b in zip(edges, [*edges[1:], len(names)], strict=False)]
    kept = columns.put(kept.drop_columns(["positive_ids", "relevance", "query_source_id"]), "source_id", pa.array(own, text))
    reason = pa.array(["merged into its query"] * len(rest), text)
    rejects = pa.table([rest[ROW], reason, columns.hexed(rest["query_id"])], schema=REJECTS)
    return Outcome(kept, rejects)


def judgements(rows: Sequence[tuple[str, list[bytes], int]]) -> pa.Table:
    """(query, passages, grade) as `resolve_qrels` has them."""
    queries, positives, told = zip(*rows, strict=True)
    made = [columns.content_ids(queries), pa.array(positives, ids), pa.array(told, pa.int32()), pa.array(queries, text)]
    return pa.table(made, names=[*_READS])


def example() -> Example:
    """Five judgements on two queries; one passage is judged twice."""
    a, b, c = (bytes([n] * 16) for n in (3, 2, 1))
    return Example(judgements([("x", [a], 1), ("y", [c], 1), ("x", [b, c], 2), ("x", [a], 3), ("x", [], 1)]), GroupJudgements())
