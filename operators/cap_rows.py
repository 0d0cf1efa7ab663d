"""Keep at most so many pairs of one text: a paper that everyone cites is else the positive of a tenth of the set."""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Outcome, Params, operator, reject, row_id
from operators.shingles import mixed


class CapRows(Params):
    """Which id, and how many rows of it. Those with the least hash of their ``pair_id`` stay."""

    key: str = Field(min_length=1, description="a column of ids: anchor_id, passage_id, query_id, …")
    most: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)


def _reads(p: CapRows) -> Columns:
    return {p.key: row_id, "pair_id": row_id}


@operator("group", version="1", key=lambda p: p.key, reads=_reads, rows="fewer")
def cap_rows(table: pa.Table, p: CapRows) -> Outcome:
    """The first ``most`` rows of each id in the order of a hash; the rest are rejects that name the id."""
    keys, pairs = columns.id_pairs(table[p.key]), columns.id_pairs(table["pair_id"])
    group = np.cumsum(np.append(True, keys[1:] != keys[:-1])[: len(keys)]) - 1
    mark = mixed([pairs["hi"], pairs["lo"]], columns.row_seed(p.seed, "cap"))
    order = np.lexsort((pairs["lo"], pairs["hi"], mark, group))  # stable: equal pairs as they came
    above = np.zeros(len(table), bool)
    above[order] = np.arange(len(order)) - np.searchsorted(group[order], group[order]) >= p.most
    named = [one.hex() for one in table[p.key].to_pylist()]
    return reject(table, above, f"above the cap of its {p.key.removesuffix('_id')}", named)


def example() -> Example:
    """Five pairs, three of one anchor."""
    anchors, names = columns.content_ids(list("aaabc")), columns.content_ids(list("vwxyz"))
    table = pa.table({"anchor_id": anchors, "pair_id": names}).sort_by("anchor_id")
    return Example(table, CapRows(key="anchor_id", most=2))
