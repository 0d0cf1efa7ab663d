"""Drop rows whose id is there already; an id is the hash of the normalised content."""

from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from operators import columns
from operators.contract import REJECTS, ROW, Columns, Example, Outcome, Params, operator, row_id, text


class DropDuplicates(Params):
    """Which id may occur once, and which columns say what row of it comes first.

    Without ``order_by`` the first is the first of the input; documents default to source, source_id.
    """

    key: Literal["doc_id", "passage_id", "query_id", "pair_id"] = "doc_id"
    order_by: tuple[Literal["source", "source_id"], ...] | None = None

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.order_by and len(set(self.order_by)) < len(self.order_by):
            raise ValueError("order_by names a column twice")
        return self

    @property
    def ordered(self) -> tuple[str, ...]:
        """The columns that order the rows of one id."""
        if self.order_by is not None:
            return self.order_by
        return ("source", "source_id") if self.key == "doc_id" else ()


def _reads(p: DropDuplicates) -> Columns:
    return {p.key: row_id, **dict.fromkeys(p.ordered, text)}


@operator(
    "group", version="1", reads=_reads, writes=lambda p: {p.key: row_id}, key=lambda p: p.key, rows="fewer"
)
def drop_duplicates(table: pa.Table, p: DropDuplicates) -> Outcome:
    """Keep the first row of each id; the rest are rejects that name the kept row."""
    if not len(table):
        return Outcome(table)
    pairs = columns.id_pairs(table[p.key])
    group = np.concatenate([[0], np.cumsum(pairs[1:] != pairs[:-1])])
    if p.ordered:
        keyed = table.select(list(p.ordered)).append_column("group", pa.array(group))
        order = [(name, "ascending") for name in ("group", *p.ordered)]
        table = table.take(pc.sort_indices(keyed, sort_keys=order))  # stable: equals stay in input order
    first = np.concatenate([[True], np.diff(group) != 0])
    kept, dropped = table.filter(pa.array(first)), np.flatnonzero(~first)
    named = kept.take(pa.array(group[dropped]))
    if "source_id" in p.ordered:
        value = named["source_id"].combine_chunks()
    else:
        value = columns.hexed(named[p.key])
    reason = pa.array(np.full(len(dropped), "duplicate"), text)
    rejected = [table[ROW].take(pa.array(dropped)), reason, value]
    return Outcome(kept, pa.table(rejected, schema=REJECTS))


def example() -> Example:
    """Four documents of which two say the same, in another white space."""
    titles, bodies = ["a", "b", "a", "c"], ["one  two", "three", "one two ", "four"]
    table = pa.table(
        {
            "source": pa.array(["web", "web", "book", "web"], text),
            "source_id": pa.array(["1", "2", "9", "3"], text),
            "title": pa.array(titles, text),
            "text": pa.array(bodies, text),
            "doc_id": columns.content_ids(titles, bodies),
        }
    )
    return Example(table.sort_by("doc_id"), DropDuplicates())
