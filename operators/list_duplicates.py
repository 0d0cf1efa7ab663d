"""List each document beside the one that stands for its class: the map by which judgements survive the removal of duplicates."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators import columns
from operators.contract import Example, Params, operator, row_id, text


class ListDuplicates(Params):
    """Nothing to choose."""


@operator(
    "group", version="1", key="class_id", rows="same",
    reads={"class_id": row_id, "passage_id": row_id, "source": text, "source_id": text}, writes={"representative": text},
)  # fmt: skip
def list_duplicates(table: pa.Table, p: ListDuplicates) -> pa.Table:
    """Add ``representative``: the ``source_id`` of the row that is its class's text; of several the first by source, source_id.

    `drop_near_duplicates` with ``keep: all`` makes ``class_id``; `drop_duplicates` with ``order_by: [source, source_id]``
    keeps the same row of equal texts. A class whose own text is not among the rows has none: an empty one.
    """
    owner = columns.id_pairs(table["class_id"])
    first = np.concatenate([[True], owner[1:] != owner[:-1]]) if len(table) else np.zeros(0, bool)
    group = np.cumsum(first) - 1
    own = np.flatnonzero(owner == columns.id_pairs(table["passage_id"]))
    keyed = table.select(["source", "source_id"]).append_column("group", pa.array(group)).take(pa.array(own))
    order = pc.sort_indices(keyed, sort_keys=[(name, "ascending") for name in ("group", "source", "source_id")]).to_numpy()
    number, at = np.unique(group[own[order]], return_index=True)
    chosen = np.full(int(first.sum()), -1, np.int64)
    chosen[number] = own[order][at]
    where = pa.array(chosen[group], mask=chosen[group] < 0)
    return columns.put(table, "representative", pc.fill_null(table["source_id"].combine_chunks().take(where), ""))


def example() -> Example:
    """A class of three rows, two of them the same text, and a text that is alone."""
    ids = columns.content_ids(["", "", ""], ["oak", "an oak", "elm"]).to_pylist()
    rows = [(ids[1], "web", "7"), (ids[1], "book", "8"), (ids[0], "web", "9"), (ids[2], "web", "1")]
    table = pa.table({
        "passage_id": pa.array([row[0] for row in rows], row_id), "source": pa.array([row[1] for row in rows], text),
        "source_id": pa.array([row[2] for row in rows], text), "class_id": pa.array([*[ids[1]] * 3, ids[2]], row_id),
    })  # fmt: skip
    return Example(table.sort_by("class_id"), ListDuplicates())
