"""Embed queries or passages in canonical shapes: a row's vector depends on its text alone."""

from typing import Literal

import numpy as np
import pyarrow as pa

from operators.columns import put
from operators.contract import Columns, Example, Needs, Outcome, Params, operator, reject, text, vector
from operators.engines.encoder import Encoder


class Embed(Params):
    """Which column, and as which side of the search."""

    column: Literal["passage", "query"] = "passage"


def _reads(p: Embed) -> Columns:
    return {"query": text} if p.column == "query" else {"title": text, "passage": text}


@operator("map", version="1", reads=_reads, writes={"vector": vector}, rows="fewer", needs=Needs(batch_rows=4096))
def embed(table: pa.Table, p: Embed, *, encoder: Encoder) -> Outcome:
    """(N, d) unit vectors; a passage is read with its title. A text without a vector is a reject."""
    texts = texts_of(table, p)
    found = encoder.encode(texts, p.column)
    norms = np.einsum("nd,nd->n", found.astype(np.float64), found.astype(np.float64)) if len(found) else np.empty(0)
    flat = pa.array(np.ascontiguousarray(found, np.float32).reshape(-1))
    offsets = pa.array(np.arange(len(table) + 1, dtype=np.int32) * (found.shape[1] if len(found) else 0))
    table = put(table, "vector", pa.ListArray.from_arrays(offsets, flat))
    return reject(table, ~(np.isfinite(norms) & (norms > 0)), "no vector", [t[:200] for t in texts])


def texts_of(table: pa.Table, p: Embed) -> list[str]:
    """What the encoder reads of each row."""
    values: list[str] = table[p.column].to_pylist()
    if p.column == "query":
        return values
    return [f"{t}\n{v}" if t else v for t, v in zip(table["title"].to_pylist(), values, strict=True)]


def example() -> Example:
    """Three passages, one of them of no word that the encoder knows."""
    from operators.engines import load_model, packaged

    table = pa.table({"title": pa.array(["Ice", "", ""], text), "passage": pa.array(["It melts.", "Iron rusts.", "   "], text)})
    return Example(table, Embed(), {"encoder": load_model("encoder", packaged("encoder", "static"))})
