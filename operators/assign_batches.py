"""Give each row its batch and its place in the set; rows that are in no batch are counted rejects."""

import numpy as np
import pyarrow as pa

from operators.batches import PAIR, Batches
from operators.columns import content_ids, id_pairs, put
from operators.content import parents
from operators.contract import Example, Outcome, Params, operator, reject, row_id

_KINDS = {"batch": pa.int64(), "position": pa.int64(), "stage": pa.int32(), "epoch": pa.int32(), "rank": pa.int32()}


class AssignBatches(Params):
    """Nothing to choose: the batches say it all."""


@operator("map", version="3", reads={"query_id": row_id}, writes=_KINDS)
def assign_batches(table: pa.Table, p: AssignBatches, *, batches: Batches) -> Outcome:
    """Look each query up: a row for each place that it has in the set, by ``position``.

    ``position`` is its place over the whole set, ``rank`` the process that reads it.
    """
    offsets, at = batches.find(table["query_id"])
    outcome = reject(table, np.diff(offsets) == 0, "remainder: it filled no batch, or is in no stage")
    kept = table.take(pa.array(parents(offsets)))
    for name, kind in _KINDS.items():
        kept = put(kept, name, pa.array(np.asarray(getattr(batches, name))[at], kind))
    return Outcome(kept, outcome.rejects)


def example() -> Example:
    """Three queries, of which one is in no batch and one in two."""
    queries = content_ids(list("abc"))
    keys = np.sort(id_pairs(queries.take(pa.array([0, 1, 1]))).astype(PAIR))
    batches = Batches(keys, np.array([0, 1, 2], np.int64), np.array([1, 0, 2], np.int64))
    return Example(pa.table({"query_id": queries}), AssignBatches(), {"batches": batches})
