"""Take the title and the passage of each row's id out of the index, in place of those that the row has: texts join late."""

import pyarrow as pa

from operators import columns
from operators.content import indexed
from operators.contract import Example, Params, operator, row_id, text
from operators.index_texts import Texts

_LINES = 4  # of a text that are tried as the end of its title


class TakePassages(Params):
    """Nothing to choose."""


_COLUMNS = {"passage_id": row_id, "title": text, "passage": text}


@operator("map", version="1", reads=_COLUMNS, writes=_COLUMNS, rows="same")
def take_passages(table: pa.Table, p: TakePassages, *, texts: Texts) -> pa.Table:
    """Set ``title`` and ``passage``; a row whose id has no text keeps its own."""
    titles, passages = [], []
    for part in columns.slices(table.select(list(_COLUMNS))):
        there = pa.array(texts.has(part["passage_id"]))
        found = iter(texts.take(part["passage_id"].filter(there)).to_pylist())
        for row, known in zip(part.to_pylist(), there.to_pylist(), strict=True):
            own = (row["title"], row["passage"])
            title, passage = parted(row["passage_id"], next(found)) if known else own
            titles.append(title)
            passages.append(passage)
    return columns.put(columns.put(table, "title", pa.array(titles, text)), "passage", pa.array(passages, text))


def parted(one: bytes, whole: str) -> tuple[str, str]:
    """Title and passage of a text as the index gives it, the title on a line above: the id, their hash, tells where one ends."""
    cut = -1
    for _ in range(_LINES):
        cut = whole.find("\n", cut + 1)
        if cut < 0:
            break
        if columns.content_id(whole[:cut], whole[cut + 1 :]) == one:
            return whole[:cut], whole[cut + 1 :]
    return "", whole


def example() -> Example:
    """Two rows that take the texts of others, and one whose text the index lacks."""
    ids, texts = indexed(["An oak.\nIt is a tree.", "Birches."])
    table = pa.table({"passage_id": pa.array([*ids, b"0" * 16], row_id), "passage": pa.array(["a", "b", "c"], text)})
    return Example(table.append_column("title", pa.array(["", "x", "y"], text)), TakePassages(), {"texts": texts})
