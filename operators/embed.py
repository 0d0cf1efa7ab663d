"""Embed a text column: one unit vector a row."""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Needs, Outcome, Params, operator, reject, text, vector
from operators.engines.encoder import Encoder, Role


class Embed(Params):
    """Which text, and in which role."""

    column: Role = "passage"
    role: Role | None = Field(default=None, description="what the encoder takes it for; the column's own, if not given")


def _reads(p: Embed) -> Columns:
    return {"title": text, "passage": text} if p.column == "passage" else {p.column: text}


@operator("map", version="1", reads=_reads, writes={"vector": vector}, rows="same", needs=Needs(batch_rows=4096))
def embed(table: pa.Table, p: Embed, *, encoder: Encoder) -> Outcome:
    """Add ``vector``; a passage is read with its title on a line above."""
    given = table[p.column].to_pylist()
    if p.column == "passage":
        given = [f"{title}\n{t}" if title else t for title, t in zip(table["title"].to_pylist(), given, strict=True)]
    found = encoder.encode(given, p.role or p.column)
    finite: np.ndarray[Any, Any] = np.asarray(np.isfinite(found).all(axis=1))
    bad = ~finite | ~found.any(axis=1)
    reasons = ["the vector is zero" if ok else "the vector is not finite" for ok in finite]
    offsets = np.arange(len(found) + 1, dtype=np.int64) * encoder.dim
    stored = columns.lists(offsets, pa.array(found.reshape(-1), pa.float32()))
    return reject(columns.put(table, "vector", stored), bad, reasons, given)


def example() -> Example:
    """Four passages, with the packaged encoder."""
    from operators.engines import load_model, packaged

    words = ["iron rusts in rain", "owls hunt at night", "", "owls hunt at night"]
    table = pa.table({"title": pa.array(["", "Owls", "", ""], text), "passage": pa.array(words, text)})
    return Example(table, Embed(), {"encoder": load_model("encoder", packaged("encoder"))})
