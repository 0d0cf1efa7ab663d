"""List the texts of rows that carry several, one a row, as passages: what an LLM wrote becomes a corpus.

Written positives and negatives (E5-mistral, arXiv:2401.00368) are then indexed and searched as any passages are.
"""

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Params, operator, row_id, text


class ListTexts(Params):
    """The columns of the texts."""

    columns: tuple[str, ...] = Field(default=("passage", "negative"), min_length=1, description="text columns; each gives a row")
    carry: tuple[str, ...] = Field(default=(), description="text columns that each of them has beside it, its source say")


def _reads(p: ListTexts) -> Columns:
    return dict.fromkeys((*p.columns, *p.carry), text)


def _writes(p: ListTexts) -> Columns:
    return {"passage_id": row_id, "title": text, "passage": text, **dict.fromkeys(p.carry, text)}


@operator("map", version="2", reads=_reads, writes=_writes, rows="many", closed=True)
def list_texts(table: pa.Table, p: ListTexts) -> pa.Table:
    """N rows of C columns in, N × C passages out, without titles."""
    told = [table[name].to_pylist() for name in p.columns]
    said = [value for row in zip(*told, strict=True) for value in row]
    wide = columns.repeat(table.select([c for c in table.column_names if c == "_row" or c in p.carry]), len(p.columns))
    titles = [""] * len(said)
    made = {"passage_id": columns.content_ids(titles, said), "title": pa.array(titles, text), "passage": pa.array(said, text)}
    for name, values in made.items():
        wide = wide.append_column(name, values)
    return wide


def example() -> Example:
    """Two rows of two texts."""
    said = {"passage": ["Iron rusts.", "Owls hunt."], "negative": ["Copper shines.", "Owls rest."]}
    return Example(pa.table({name: pa.array(values, text) for name, values in said.items()}), ListTexts())
