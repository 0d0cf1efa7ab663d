"""Number rows by the place of their text among all texts: what shards are cut by, so that no cut into parts shows in them."""

from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import indexed
from operators.contract import Example, InputError, Params, operator, row_id
from operators.index_texts import Texts


class NumberTexts(Params):
    """Which column names the texts."""

    key: str = Field(default="passage_id", min_length=1, description="the column of the texts' ids")


class Ranks(Texts):
    """As `Texts`; but a row takes its place among all, so no row is taken over where another text came or went."""

    content_addressed: ClassVar[bool] = False


@operator("map", version="1", reads=lambda p: {p.key: row_id}, writes={"position": pa.int64()}, rows="same")
def number_texts(table: pa.Table, p: NumberTexts, *, texts: Ranks) -> pa.Table:
    """Add ``position``, from 0, in the order of ids; texts of the index that no row has leave gaps."""
    found = texts.places(table[p.key])
    if (found < 0).any():
        raise InputError("number_texts: a row's text is not in the index; index the rows that are numbered, or those above them")
    return columns.put(table, "position", pa.array(found))


def example() -> Example:
    """Three of four texts, one of them twice."""
    ids, texts = indexed(["oak", "birch", "elm", "ash"])
    return Example(pa.table({"passage_id": pa.array([ids[0], ids[3], ids[1], ids[0]], row_id)}), NumberTexts(), {"texts": texts})
