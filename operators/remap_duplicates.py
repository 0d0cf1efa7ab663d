"""Remap ids to the representatives of their classes, so that qrels, pairs and candidates survive the removal of duplicates.

A negative that was a near-duplicate of a positive is then that positive itself, and goes.
"""

from typing import Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import codes, in_row, parents
from operators.contract import Columns, ContractError, Example, Params, ids, operator, row_id, scores
from operators.drop_near_duplicates import example as drop_example
from operators.fit_classes import DuplicateClasses

POSITIVES, NEGATIVES = "positive_ids", "negative_ids"


class RemapDuplicates(Params):
    """The columns of ids, and the lists of scores that stand beside one of them."""

    columns: tuple[str, ...] = Field(default=("positive_ids",), min_length=1, description="`…_ids` are lists, others an id a row")
    aligned: dict[str, tuple[str, ...]] = Field(default={}, description="the lists of scores that are aligned to a list of ids")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns names a column twice")
        if NEGATIVES in self.columns and POSITIVES not in self.columns:
            raise ValueError("negative_ids without positive_ids; name both, or a positive's duplicate stays a negative")
        for name in self.aligned:
            if name not in self.columns or not name.endswith("_ids"):
                raise ValueError(f"aligned: {name} is not one of the lists that columns names; scores stand beside those")
        return self


def _writes(p: RemapDuplicates) -> Columns:
    told = {name: ids if name.endswith("_ids") else row_id for name in p.columns}
    return {**told, **{one: scores for beside in p.aligned.values() for one in beside}}


@operator("map", version="2", reads=_writes, writes=_writes, rows="same")
def remap_duplicates(table: pa.Table, p: RemapDuplicates, *, classes: DuplicateClasses) -> pa.Table:
    """Each id becomes its class's representative; in a list each stays once, where it first stood, with its score there.

    Then `negative_ids` lose what is among the row's `positive_ids`.
    """
    for name in sorted(p.columns, key=lambda one: one == NEGATIVES):
        if not name.endswith("_ids"):
            table = columns.put(table, name, classes.of(table[name]))
            continue
        offsets, values = columns.flat(table[name])
        found = classes.of(values)
        kept = _first(parents(offsets), found)
        if name == NEGATIVES:
            of_rows, positives = columns.flat(table[POSITIVES])
            number, of_number = codes([found, positives])
            kept &= ~in_row(parents(offsets), number, parents(of_rows), of_number)
        ends = np.concatenate([[0], np.cumsum(kept)])[offsets]
        for column in (name, *p.aligned.get(name, ())):
            beside, told = columns.flat(table[column])
            if not np.array_equal(beside, offsets):
                raise ContractError(f"{column} is not aligned to {name}")
            chosen = (found if column == name else told).filter(pa.array(kept))
            table = columns.put(table, column, columns.lists(ends, chosen))
    return table


def _first(rows: np.ndarray[tuple[int], np.dtype[np.int64]], found: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which ids a row has not had before: (M,) bool."""
    number = codes([found])[0]
    order = np.lexsort((np.arange(len(rows)), number, rows))
    again = (np.diff(rows[order], prepend=-1) == 0) & (np.diff(number[order], prepend=-1) == 0)
    kept = np.ones(len(rows), bool)
    kept[order[again]] = False
    return kept


def example() -> Example:
    """Two lists of which one has both texts of a class."""
    shown = drop_example()
    one, other, alone = shown.table["passage_id"].to_pylist()
    table = pa.table({
        "candidate_ids": pa.array([[one, alone, other], [alone]], ids),
        "dense_scores": pa.array([[0.9, 0.8, 0.7], [0.5]], scores), "passage_id": pa.array([other, alone], row_id),
    })  # fmt: skip
    p = RemapDuplicates(columns=("candidate_ids", "passage_id"), aligned={"candidate_ids": ("dense_scores",)})
    return Example(table, p, shown.used)
