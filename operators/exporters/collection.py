"""Documents and queries of an export, each once, by id: for trainers that take ids beside a corpus."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from operators import columns
from operators.columns import flat
from operators.contract import row_id, text
from operators.exporters.examples import Examples, text_of
from operators.exporters.options import rendered
from operators.spill import Spill

_SIDES = (("positive_ids", "positives"), ("negative_ids", "negatives"))


class Collection:
    """Takes tables of examples; gives documents and queries back in the order of their ids.

    They wait on disk, cut by id (`operators.spill`): memory is that of one cut in 256.
    """

    def __init__(self, examples: Examples) -> None:
        self._negatives = "negatives" in examples.names and examples.count != 0
        self._documents, self._queries = Spill("id"), Spill("id")

    def add(self, table: pa.Table, template: str | None) -> None:
        """Take in the texts of some rows; ``template`` renders instructions into the queries, None leaves them out."""
        for ids, texts in _SIDES[: 1 + self._negatives]:
            known = _firsts(flat(table[ids])[1], flat(table[texts])[1])
            self._documents.add(known)
        instructions = text_of(table, "instruction")
        self._queries.add(pa.table({
            "id": columns.one_array(table["query_id"]), "text": pa.array(queries(table, template), text),
            "instruction": columns.one_array(instructions),
        }))  # fmt: skip

    def documents(self) -> Iterator[pa.Table]:
        """``id`` in hex and ``text`` of every document."""
        return _once(self._documents)

    def queries(self) -> Iterator[pa.Table]:
        """``id`` in hex, ``text`` and ``instruction`` of every query."""
        return _once(self._queries)


def queries(table: pa.Table, template: str | None) -> list[str]:
    """The queries of a table as they are written."""
    said: list[str] = table["query"].to_pylist()
    if template is None:
        return said
    both = zip(said, text_of(table, "instruction").to_pylist(), strict=True)
    return [rendered(query, instruction, template) for query, instruction in both]


def _firsts(ids: pa.Array, texts: pa.Array) -> pa.Table:
    _, first = np.unique(columns.id_pairs(ids), return_index=True)
    table = pa.table({"id": ids.cast(row_id), "text": texts.cast(text)})
    return table.take(pa.array(first))


def _once(spill: Spill) -> Iterator[pa.Table]:
    for table in spill.tables():
        pairs = columns.id_pairs(table["id"])
        new = np.ones(len(pairs), bool)
        new[1:] = pairs[1:] != pairs[:-1]
        table = table.filter(pa.array(new))
        yield columns.put(table, "id", columns.hexed(table["id"]))
