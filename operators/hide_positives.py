"""Hide all but one of each query's positives, so that what a miner returns of them is a certified false negative."""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Example, Outcome, Params, ids, operator, reject, row_id


class HidePositives(Params):
    """Which positive stays: a draw by the query's id."""

    seed: int = Field(default=0, ge=0)


@operator(
    "map", version="1", reads={"query_id": row_id, "positive_ids": ids}, writes={"positive_ids": ids, "hidden_ids": ids},
    rows="fewer",
)  # fmt: skip
def hide_positives(table: pa.Table, p: HidePositives) -> Outcome:
    """Leave one of ``positive_ids``, the others become ``hidden_ids``; a query with nothing to hide is a reject."""
    offsets, values = columns.flat(table["positive_ids"])
    sizes = np.diff(offsets)
    few = sizes < 2
    told = [f"{n} positive{'' if n == 1 else 's'}" for n in sizes.tolist()]
    outcome = reject(table, few, "no positive can be hidden", told)
    seeds = [columns.row_seed(p.seed, one) for one in outcome.table["query_id"].to_pylist()]
    kept, starts = sizes[~few], offsets[:-1][~few]
    # By rank among the query's ids: the order in which judgements came must not matter.
    wide = columns.id_pairs(values)
    ends, at = columns.ragged(starts, kept)
    owner = np.repeat(np.arange(len(kept)), kept)
    order = at[np.lexsort((wide["lo"][at], wide["hi"][at], owner))]
    chosen = ends[:-1] + np.array(seeds, np.uint64).astype(object) % np.maximum(kept, 1) if len(kept) else ends[:-1]
    stays = np.zeros(len(order), bool)
    stays[chosen.astype(np.int64)] = True
    out = columns.put(outcome.table, "positive_ids", columns.lists(np.arange(len(kept) + 1), values.take(pa.array(order[stays]))))
    hidden = columns.lists(np.concatenate([[0], np.cumsum(kept - 1)]), values.take(pa.array(order[~stays])))
    return Outcome(columns.put(out, "hidden_ids", hidden), outcome.rejects)


def example() -> Example:
    """Three queries with three, one and two positives."""
    a, b, c = columns.content_ids(["a", "b", "c"]).to_pylist()
    table = {"query_id": columns.content_ids(["x", "y", "z"]), "positive_ids": pa.array([[c, a, b], [a], [b, c]], ids)}
    return Example(pa.table(table), HidePositives())
