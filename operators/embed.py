"""Embed a text column: one unit vector a row."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, InputError, Needs, Outcome, Params, operator, reject, text, vector
from operators.engines.encoder import Encoder, Role, unit


class Embed(Params):
    """Which text, in which role, and how much of its vector is kept under which name."""

    column: Role = "passage"
    into: str = Field(default="vector", min_length=1, description="the column to write: one an encoder where there are several")
    dims: int | None = Field(
        default=None, ge=1, description="of a Matryoshka model (arXiv:2205.13147): its first so many numbers, a unit vector again"
    )
    precision: Literal["float32", "float16"] = Field(
        default="float32", description="float16: numbers are rounded to it and take half of the store; scores move by 0.0003"
    )
    role: Role | None = Field(default=None, description="what the encoder takes it for; the column's own, if not given")


def _reads(p: Embed) -> Columns:
    return {"title": text, "passage": text} if p.column == "passage" else {p.column: text}


@operator("map", version="1", reads=_reads, writes=lambda p: {p.into: vector}, rows="same", needs=Needs(batch_rows=4096))
def embed(table: pa.Table, p: Embed, *, encoder: Encoder) -> Outcome:
    """Add a unit vector; a passage is read with its title on a line above."""
    dims = p.dims or encoder.dim
    if dims > encoder.dim:
        raise InputError(f"embed: dims is {dims}, this encoder's vectors have {encoder.dim} numbers; say no more than these")
    given = columns.shown(table) if p.column == "passage" else table[p.column].to_pylist()
    found = encoder.encode(given, p.role or p.column)
    if dims < encoder.dim:
        found = unit(found[:, :dims])
    if p.precision == "float16":
        found = found.astype(np.float16).astype(np.float32)  # zeros that the store packs away
    finite: np.ndarray[Any, Any] = np.asarray(np.isfinite(found).all(axis=1))
    bad = ~finite | ~found.any(axis=1)
    reasons = ["the vector is zero" if ok else "the vector is not finite" for ok in finite]
    offsets = np.arange(len(found) + 1, dtype=np.int64) * dims
    stored = columns.lists(offsets, pa.array(found.reshape(-1), pa.float32()))
    return reject(columns.put(table, p.into, stored), bad, reasons, given)


def example() -> Example:
    """Four passages, with the packaged encoder."""
    from operators.engines import load_model, packaged

    words = ["iron rusts in rain", "owls hunt at night", "", "owls hunt at night"]
    table = pa.table({"title": pa.array(["", "Owls", "", ""], text), "passage": pa.array(words, text)})
    return Example(table, Embed(), {"encoder": load_model("encoder", packaged("encoder"))})
