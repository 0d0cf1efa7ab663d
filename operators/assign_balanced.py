"""Give each row the cluster that `balance_clusters` found for it."""

import pyarrow as pa
from pydantic import Field

from operators import balance_clusters, columns
from operators.balance_clusters import Balanced
from operators.contract import Columns, Example, Outcome, Params, operator, reject, row_id


class AssignBalanced(Params):
    """Whose id is looked up."""

    key: str = Field(default="query_id", min_length=1, description="as of `balance_clusters`")


def _reads(p: AssignBalanced) -> Columns:
    return {p.key: row_id}


@operator("map", version="1", reads=_reads, writes={"cluster": pa.int32()}, rows="fewer")
def assign_balanced(table: pa.Table, p: AssignBalanced, *, balanced: Balanced) -> Outcome:
    """(N,) cluster of each row; a row that was not among the balanced ones is a reject."""
    found = balanced.of(table[p.key])
    return reject(columns.put(table, "cluster", pa.array(found, pa.int32())), found < 0, "not among the rows that were balanced")


def example() -> Example:
    """Five rows in two clusters."""
    shown = balance_clusters.example()
    fold = balance_clusters.balance_clusters(shown.params, **shown.used)
    fold.add(shown.table, 0)
    return Example(shown.table.select(["query_id"]), AssignBalanced(), {"balanced": fold.finish()})
