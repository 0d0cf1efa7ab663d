"""Drop a text that another contains at its beginning or at its end: CADET's substring duplicates (arXiv:2505.19274).

Texts are sorted, by themselves or reversed, and each is looked for in the texts that follow: what begins with it stands right
behind it. CADET looks at a window of ten; so does this, among the texts whose first (last) characters are the same.
"""

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.columns import id_pairs
from operators.contract import ROW, Columns, Example, Outcome, Params, apply, operator, reject, row_id, text
from operators.key_ends import example as keyed
from operators.key_ends import key_ends


class DropContained(Params):
    """Which end, and how far to look."""

    end: Literal["begin", "end"] = "begin"
    window: int = Field(default=10, ge=2, description="texts of a window, the first of which is looked for in the others")
    key: str = Field(default="passage_id", description="the column of the texts' ids, which break ties and are named in rejects")


def _reads(p: DropContained) -> Columns:
    return {"plain": text, f"{p.end}_key": row_id, p.key: row_id}


@operator("group", version="1", reads=_reads, writes=lambda p: {p.key: row_id}, key=lambda p: f"{p.end}_key", rows="fewer")
def drop_contained(table: pa.Table, p: DropContained) -> Outcome:
    """Rows of `key_ends` in; one whose plain text is in one of the next of its group is a reject that names the first such,
    which may be in a longer one itself.

    Equal texts stand in the order of their ids: the last of them stays.
    """
    said, names = table["plain"].to_pylist(), table[p.key].to_pylist()
    keys = id_pairs(table[f"{p.end}_key"])
    group = np.cumsum(np.append(True, keys[1:] != keys[:-1])[: len(keys)]).tolist()
    turned = said if p.end == "begin" else [one[::-1] for one in said]
    order = sorted(range(len(said)), key=lambda i: (group[i], turned[i], names[i]))
    found = [""] * len(said)
    for place, i in enumerate(order):
        for j in order[place + 1 : place + p.window]:
            if group[j] != group[i]:
                break
            if said[i] in said[j]:
                found[i] = names[j].hex()
                break
    return reject(table, [bool(one) for one in found], "contained in another text", found)


def example() -> Example:
    """Three texts, one of which is the beginning of another."""
    shown = keyed()
    table = apply(key_ends, shown.table, shown.params).table.drop_columns([ROW])
    table = table.append_column("passage_id", pa.array([bytes([i]) * 16 for i in range(len(table))], row_id))
    return Example(table.sort_by("begin_key"), DropContained())
