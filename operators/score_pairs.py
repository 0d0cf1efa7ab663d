"""Score each pair by the cosine of its query and its passage, and say whose cosine it is (C20).

A cosine means nothing without its encoder: a random pair has 0.0 under one and 0.7 under another (E5, arXiv:2212.03533,
trains with a temperature of 0.01). So the encoder's name travels beside the score, and `drop_below_floor` compares it.
"""

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns, topk
from operators.content import Array
from operators.contract import Columns, Example, Needs, Params, operator, score, text, vector
from operators.engines.encoder import Encoder
from operators.engines.models import ModelEntry


class ScorePairs(Params):
    """The names of the columns to write."""

    into: str = Field(default="similarity", min_length=1, description="the cosine; INTO_by names the encoder")
    vector: str = Field(default="", description="a column for the query's vector, for a search behind; empty: none")

    @model_validator(mode="after")
    def _apart(self) -> "ScorePairs":
        columns.apart(into=self.into, vector=self.vector, INTO_by=by_of(self.into))
        return self


def by_of(column: str) -> str:
    """The column that names the encoder of a column of cosines."""
    return f"{column}_by"


def name_of(entry: ModelEntry) -> str:
    """An encoder's name for people, and 64 bits of all that decides its vectors."""
    return f"{entry.backend} {entry.model} {columns.row_seed(0, repr(sorted(entry.identity().items()))):016x}"


def cosines(encoder: Encoder, queries: list[str], passages: list[str]) -> tuple[Array, Array]:
    """Unit vectors (N, d) of both sides; of equal texts one is encoded."""
    found = []
    for role, told in (("query", queries), ("passage", passages)):
        distinct = list(dict.fromkeys(told))
        place = {one: i for i, one in enumerate(distinct)}
        encoded = encoder.encode(distinct, role)  # type: ignore[arg-type]
        found.append(encoded[np.array([place[one] for one in told], np.int64)])
    return found[0], found[1]


def _writes(p: ScorePairs) -> Columns:
    return {p.into: score, by_of(p.into): text, **({p.vector: vector} if p.vector else {})}


@operator(
    "map", version="1", reads={"query": text, "title": text, "passage": text}, writes=_writes, rows="same",
    needs=Needs(batch_rows=4096),
)  # fmt: skip
def score_pairs(table: pa.Table, p: ScorePairs, *, encoder: Encoder) -> pa.Table:
    """Add the cosine, float32 of a float64 product as `retrieve_dense` stores it, and the encoder's name."""
    queries, passages = cosines(encoder, table["query"].to_pylist(), columns.shown(table))
    table = columns.put(table, p.into, pa.array(topk.dots(queries, passages).astype(np.float32), score))
    table = columns.put(table, by_of(p.into), pa.array([name_of(encoder.entry)] * len(table), text))
    if not p.vector:
        return table
    ends = np.arange(len(queries) + 1, dtype=np.int64) * encoder.dim
    return columns.put(table, p.vector, columns.lists(ends, pa.array(queries.reshape(-1), pa.float32())))


def example() -> Example:
    """Four pairs with the packaged encoder: one of them is none."""
    from operators.engines import load_model, packaged

    asked = ["what rusts", "what hunts at night", "what needs yeast", "what rusts"]
    told = ["Iron rusts in rain.", "Owls hunt mice.", "The train was late.", "Iron rusts in rain."]
    titles = ["", "Owls", "", ""]
    table = pa.table({n: pa.array(v, text) for n, v in (("query", asked), ("title", titles), ("passage", told))})
    return Example(table, ScorePairs(vector="vector"), {"encoder": load_model("encoder", packaged("encoder"))})
