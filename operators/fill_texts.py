"""Fill text columns from templates over other columns: a query of a sentence, a passage of its rewrite, a template's sentence.

KELM (arXiv:2010.12688) writes sentences of triples; a template is the way without a model.
"""

import re
from typing import Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.contract import Columns, Example, Params, ids, operator, row_id, text

_PLACE = re.compile(r"\{([a-z_]+)\}")


class FillTexts(Params):
    """What each column becomes. All are filled from the columns as they were; braces in a value mean nothing."""

    texts: dict[str, str] = Field(min_length=1, description="column: its text, {column} stands for another column's")
    identify: dict[str, list[str]] = Field(
        default={}, description='id column: the columns that it is the hash of, after filling; "" is an empty one'
    )
    positive: bool = Field(default=False, description="positive_ids becomes the row's own passage_id")

    @model_validator(mode="after")
    def no_column_twice(self) -> Self:
        """Refuse an id that is a text."""
        if twice := sorted(set(self.texts) & {*self.identify, "positive_ids", "_row"}):
            raise ValueError(f"texts.{twice[0]}: that column holds no text; name another")
        return self


def _reads(p: FillTexts) -> Columns:
    shown = {c for template in p.texts.values() for c in _PLACE.findall(template)}
    hashed = {c for of in p.identify.values() for c in of if c} - set(p.texts)
    own = {"passage_id": row_id} if p.positive and "passage_id" not in p.identify else {}
    return {**dict.fromkeys(sorted(shown | hashed), text), **own}


def _writes(p: FillTexts) -> Columns:
    return {**dict.fromkeys(p.texts, text), **dict.fromkeys(p.identify, row_id), **({"positive_ids": ids} if p.positive else {})}


@operator("map", version="1", reads=_reads, writes=_writes, rows="same")
def fill_texts(table: pa.Table, p: FillTexts) -> pa.Table:
    """The same rows with the columns filled, then the ids made anew."""
    shown = {c: table[c].to_pylist() for t in p.texts.values() for c in _PLACE.findall(t)}
    wide = table
    for name, template in p.texts.items():
        pieces = _PLACE.split(template)  # text, column, text, column, …, text
        values = ["".join(shown[s][i] if n % 2 else s for n, s in enumerate(pieces)) for i in range(len(table))]
        wide = columns.put(wide, name, pa.array(values, text))
    for name, of in p.identify.items():
        wide = columns.put(wide, name, columns.content_ids(*(wide[c].to_pylist() if c else [""] * len(table) for c in of)))
    if p.positive:
        owner = wide["passage_id"].combine_chunks()
        wide = columns.put(wide, "positive_ids", columns.lists(np.arange(len(wide) + 1), owner))
    return wide


def example() -> Example:
    """Three passages with rewrites; the rewrite goes behind the passage."""
    words, rewrites = ["tar -x", "oak", "ice {passage}"], ["The command unpacks.", "A tree.", "Frozen water."]
    table = pa.table({"passage": pa.array(words, text), "enriched": pa.array(rewrites, text)})
    texts = {"passage": "{passage}\n{enriched}", "title": ""}
    return Example(table, FillTexts(texts=texts, identify={"passage_id": ["title", "passage"]}, positive=True))
