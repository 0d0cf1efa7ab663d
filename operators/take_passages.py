"""Take the title and the passage of each row's id out of the index, in place of those that the row has: texts join late."""

import pyarrow as pa

from operators import columns
from operators.content import indexed
from operators.contract import Example, Outcome, Params, operator, reject, row_id, text
from operators.index_texts import Texts

_LINES = 4  # of a text that are tried as the end of its title


class TakePassages(Params):
    """Nothing to choose."""


@operator(
    "map", version="1", reads={"passage_id": row_id}, writes={"passage_id": row_id, "title": text, "passage": text}, rows="fewer"
)
def take_passages(table: pa.Table, p: TakePassages, *, texts: Texts) -> Outcome:
    """Set ``title`` and ``passage``; an id without a text is a reject."""
    there = texts.has(table["passage_id"])
    titles, passages = [], []
    kept = table.filter(pa.array(there))
    for part in columns.slices(kept.select(["passage_id"])):
        said = texts.take(part["passage_id"])
        for one, whole in zip(part["passage_id"].to_pylist(), said.to_pylist(), strict=True):
            title, passage = parted(one, whole)
            titles.append(title)
            passages.append(passage)
    kept = columns.put(columns.put(kept, "title", pa.array(titles, text)), "passage", pa.array(passages, text))
    return Outcome(kept, reject(table, ~there, "no text of this id").rejects)


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
    """Two rows that take the texts of others, and one whose text is gone."""
    ids, texts = indexed(["An oak.\nIt is a tree.", "Birches."])
    table = pa.table({"passage_id": pa.array([*ids, b"0" * 16], row_id), "passage": pa.array(["a", "b", "c"], text)})
    return Example(table, TakePassages(), {"texts": texts})
