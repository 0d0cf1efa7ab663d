"""Number rows by the place of their text among all texts: what shards are cut by, so that no cut into parts shows in them."""

from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import indexed
from operators.contract import Example, Params, operator, row_id
from operators.index_texts import Texts


class NumberTexts(Params):
    """Which column names the texts."""

    key: str = Field(default="passage_id", min_length=1, description="the column of the texts' ids")


class Ranks(Texts):
    """As `Texts`; but a row takes its place among all, so no row is taken over where another text came or went."""

    content_addressed: ClassVar[bool] = False


@operator("map", version="1", reads=lambda p: {p.key: row_id}, writes={"position": pa.int64()}, rows="same")
def number_texts(table: pa.Table, p: NumberTexts, *, texts: Ranks) -> pa.Table:
    """Add ``position``: how many texts have a smaller id. Texts that no row has leave gaps; a row's own need not be there."""
    return columns.put(table, "position", pa.array(texts.ranks(table[p.key]), pa.int64()))


def example() -> Example:
    """Three of four texts, one of them twice, and an id beyond all."""
    ids, texts = indexed(["oak", "birch", "elm", "ash"])
    rows = [ids[0], ids[3], ids[1], ids[0], b"\xff" * 16]
    return Example(pa.table({"passage_id": pa.array(rows, row_id)}), NumberTexts(), {"texts": texts})
