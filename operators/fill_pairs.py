"""Give pairs of texts their texts: of relations and matched corpora, which travel as two ids a row until they are few."""

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import indexed
from operators.contract import Example, Params, ids, operator, row_id, text
from operators.index_texts import Texts
from operators.sentences import count_words, sentences


class FillPairs(Params):
    """What of the first text asks for the second."""

    query: Literal["text", "sentence"] = Field(
        default="text", description="the whole text, or a sentence drawn by its id (wiki link prediction, arXiv:2002.03932)"
    )
    instruction: str = ""
    seed: int = Field(default=0, ge=0, description="of the sentence")


_WRITES = {
    "query_id": row_id, "query": text, "instruction": text, "title": text, "passage": text, "positive_ids": ids,
}  # fmt: skip


@operator("map", version="1", rows="same", reads={"anchor_id": row_id, "passage_id": row_id}, writes=_WRITES)
def fill_pairs(table: pa.Table, p: FillPairs, *, texts: Texts) -> pa.Table:
    """N pairs with the text of ``anchor_id`` as ``query`` and that of ``passage_id``, its title on a line above it."""
    keys = table["anchor_id"].to_pylist()
    said = texts.take(table["anchor_id"]).to_pylist()
    queries = [columns.normalise(_asked(one, key, p)) for one, key in zip(said, keys, strict=True)]
    told, own = [p.instruction] * len(keys), table["passage_id"].combine_chunks()
    made = (
        columns.content_ids(queries, told), pa.array(queries, text), pa.array(told, text), pa.array([""] * len(keys), text),
        texts.take(own).cast(text), columns.lists(np.arange(len(keys) + 1), own),
    )  # fmt: skip
    for name, values in zip(_WRITES, made, strict=True):
        table = columns.put(table, name, values)
    return table


def _asked(said: str, key: bytes, p: FillPairs) -> str:
    """The text, or one of its sentences: of three words at least if it has such a one."""
    if p.query == "text":
        return said
    spans = sentences(said)
    fit = [s for s in spans if count_words(said[slice(*s)]) >= 3] or spans
    return said[slice(*fit[columns.row_seed(p.seed, key, "sentence") % len(fit)])]


def example() -> Example:
    """Three pairs of two texts."""
    own, texts = indexed(["Oaks grow slowly. They are old.", "Birches grow fast."])
    anchors, passages = [own[0], own[1], own[0]], [own[1], own[0], own[1]]
    table = pa.table({"anchor_id": pa.array(anchors, row_id), "passage_id": pa.array(passages, row_id)})
    return Example(table, FillPairs(), {"texts": texts})
