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
    within: Literal["", "passage_id"] = ""  # rows of one id are duplicates only where this one is the same, too
    highest: Literal["", "relevance"] = ""  # of the rows of one id the one that has most of it comes first

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.order_by and len(set(self.order_by)) < len(self.order_by):
            raise ValueError("order_by names a column twice")
        if self.within == self.key:
            raise ValueError("within does nothing where it is the key: leave it out")
        if self.highest and self.order_by:
            raise ValueError("highest and order_by both say what comes first: leave one out")
        return self

    @property
    def ordered(self) -> tuple[str, ...]:
        """The columns that order the rows of one id."""
        if self.order_by is not None:
            return self.order_by
        return ("source", "source_id") if self.key == "doc_id" and not self.highest else ()


def _reads(p: DropDuplicates) -> Columns:
    more: Columns = {**({p.within: row_id} if p.within else {}), **({p.highest: pa.int32()} if p.highest else {})}
    return {p.key: row_id, **dict.fromkeys(p.ordered, text), **more}


@operator(
    "group", version="1", reads=_reads, writes=lambda p: {p.key: row_id}, key=lambda p: p.key, rows="fewer"
)
def drop_duplicates(table: pa.Table, p: DropDuplicates) -> Outcome:
    """Keep the first row of each id; the rest are rejects that name the kept row."""
    if not len(table):
        return Outcome(table)
    if p.within:
        outer, inner = (columns.id_pairs(table[name]) for name in (p.key, p.within))
        table = table.take(pa.array(np.lexsort((inner["lo"], inner["hi"], outer["lo"], outer["hi"]))))
    pairs = columns.id_pairs(table[p.key])
    fresh = pairs[1:] != pairs[:-1]
    if p.within:
        beside = columns.id_pairs(table[p.within])
        fresh = fresh | (beside[1:] != beside[:-1])
    group = np.concatenate([[0], np.cumsum(fresh)])
    if p.highest:
        table = table.take(pa.array(np.lexsort((-table[p.highest].to_numpy().astype(np.int64), group))))
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
