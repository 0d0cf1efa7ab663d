"""Give each row its batch and its place in the set; rows that filled no batch are counted rejects."""

import numpy as np
import pyarrow as pa

from operators.columns import content_ids, id_pairs, put
from operators.compose_batches import Batches
from operators.contract import Example, Outcome, Params, operator, reject, row_id

INT = pa.int64()


class AssignBatches(Params):
    """Nothing to choose: the batches say it all."""


@operator("map", version="2", reads={"query_id": row_id}, writes={"batch": INT, "position": INT}, rows="fewer")
def assign_batches(table: pa.Table, p: AssignBatches, *, batches: Batches) -> Outcome:
    """Look each query up; ``position`` is its place in batch order over the whole set."""
    keys, have = id_pairs(table["query_id"]), np.asarray(batches.keys)
    at = np.searchsorted(have, keys)
    found = (have[np.minimum(at, len(have) - 1)] == keys) if len(have) else np.zeros(len(keys), bool)
    outcome = reject(table, ~found, "remainder: it filled no batch")
    kept = outcome.table
    for name in ("batch", "position"):
        kept = put(kept, name, pa.array(np.asarray(getattr(batches, name))[at[found]], INT))
    return Outcome(kept, outcome.rejects)


def example() -> Example:
    """Three queries, two of them in batches."""
    queries = content_ids(list("abc"))
    keys = np.sort(id_pairs(queries.slice(0, 2)))
    batches = Batches(keys, np.array([0, 1], np.int64), np.array([1, 0], np.int64))
    return Example(pa.table({"query_id": queries}), AssignBatches(), {"batches": batches})
