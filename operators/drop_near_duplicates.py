"""Drop near-duplicates: the representative of each class stays; or keep them all and say which class each is of.

Fit the classes over the rows that you drop from: where a class's representative stands in another corpus alone, none of it stays.
"""

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns, fit_classes
from operators.content import indexed
from operators.contract import REJECTS, ROW, Columns, Example, Outcome, Params, operator, row_id, text
from operators.fit_classes import DuplicateClasses
from operators.fit_classes import example as classes_example


class DropNearDuplicates(Params):
    """Which column names the texts, and whether any is dropped."""

    key: str = Field(default="passage_id", description="the column of the texts' ids")
    keep: Literal["representatives", "all"] = "representatives"  # all: `class_id` tells texts of one class


def _writes(p: DropNearDuplicates) -> Columns:
    return {"class_id": row_id} if p.keep == "all" else {}


@operator("map", version="1", reads=lambda p: {p.key: row_id}, writes=_writes, rows="fewer")
def drop_near_duplicates(table: pa.Table, p: DropNearDuplicates, *, classes: DuplicateClasses) -> Outcome:
    """Rows that are no representative are rejects that name theirs; `class_id` is the representative's id."""
    found = classes.of(table[p.key])
    if p.keep == "all":
        return Outcome(columns.put(table, "class_id", found))
    bad = (columns.id_matrix(found) != columns.id_matrix(table[p.key])).any(axis=1)
    where = pa.array(np.flatnonzero(bad))
    value = columns.hexed(found.take(where))
    rejected = [table[ROW].take(where), pa.array(["near-duplicate"] * len(where), text), value]
    return Outcome(table.filter(pa.array(~bad)), pa.table(rejected, schema=REJECTS))


def example() -> Example:
    """Two texts of one class, one that is alone."""
    shown = classes_example()
    fold = fit_classes.fit_classes(shown.params, **shown.used)
    fold.add(shown.table, 0)
    ids, _ = indexed(["owls hunt mice at night", "Owls hunt mice at night", "Iron rusts"])
    return Example(pa.table({"passage_id": pa.array(ids, row_id)}), DropNearDuplicates(), {"classes": fold.finish()})
