"""Make training pairs of sentence pairs with a similarity score (STS): the similar ones in both directions, or all with scores.

Contrastive training takes pairs of score 4 or above of 5, each sentence once as the query (NV-Embed, arXiv:2405.17428;
QZhou, arXiv:2508.21632); losses that rank (CoSENT) take every pair with its score.
"""

from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import echoes
from operators.contract import Columns, Example, Outcome, Params, ids, operator, reject, row_id, score, scores, text


class PairScored(Params):
    """Which pairs, with which scores, and in how many directions."""

    at_least: float | None = Field(default=4.0, description="least score; null: all pairs, for losses that rank")
    cuts: tuple[float, ...] = Field(
        default=(), description="scores become grades, for losses that rank: of a scale to 5, [2, 4] makes 0, 1 and 2"
    )
    both: bool = Field(default=True, description="each sentence is once the query; false: the first is")

    @model_validator(mode="after")
    def _acts(self) -> Self:
        if any(b <= a for a, b in pairwise(self.cuts)):
            raise ValueError("cuts do not rise")
        if self.cuts and self.at_least is not None and self.at_least >= self.cuts[-1]:
            raise ValueError("cuts do nothing: every pair from at_least on has the last grade; set at_least: null, or lower it")
        return self


_TEXTS = {"query": text, "instruction": text, "passage": text}
_WRITES: Columns = {
    "query_id": row_id, "query": text, "query_type": text, "generator": text, "passage_id": row_id, "title": text,
    "passage": text, "positive_ids": ids, "positive_scores": scores,
}  # fmt: skip


@operator("map", version="2", reads={**_TEXTS, "score": score}, writes=_WRITES)
def pair_scored(table: pa.Table, p: PairScored) -> Outcome:
    """N pairs, each as one or two rows with its score in ``positive_scores``; low and equal ones are rejects."""
    found = table["score"].to_numpy()
    low = ~np.isfinite(found)
    if p.at_least is not None:
        low |= found < np.float32(p.at_least)
    same = echoes(table)
    why = "no score" if p.at_least is None else f"score below {p.at_least:g}"
    reasons = np.where(same, "both sentences say the same", why)
    split = reject(table, low | same, reasons.tolist(), [f"{one:.4g}" for one in found])
    kept = columns.repeat(split.table, 2 if p.both else 1)
    queries, passages = _sides(kept, p)
    told = kept["score"].combine_chunks()
    if p.cuts:
        told = pa.array(np.searchsorted(np.array(p.cuts, np.float32), told.to_numpy(), side="right").astype(np.float32), score)
    empty, instructions = [""] * len(kept), kept["instruction"].to_pylist()
    passage_ids, ends = columns.content_ids(empty, passages), np.arange(len(kept) + 1)
    made = (
        columns.content_ids(queries, instructions), pa.array(queries, text), pa.array(["similar"] * len(kept), text),
        pa.array(["sts"] * len(kept), text), passage_ids, pa.array(empty, text), pa.array(passages, text),
        columns.lists(ends, passage_ids), columns.lists(ends, told),
    )  # fmt: skip
    for name, values in zip(_WRITES, made, strict=True):
        kept = columns.put(kept, name, values)
    return Outcome(kept, split.rejects)


def _sides(table: pa.Table, p: PairScored) -> tuple[list[str], list[str]]:
    """Queries and passages; with both directions every second row is turned."""
    first, second = (table[name].to_pylist() for name in ("query", "passage"))
    turned: Any = [bool(p.both and i % 2) for i in range(len(table))]
    sides = [(b, a) if back else (a, b) for a, b, back in zip(first, second, turned, strict=True)]
    return [a for a, _ in sides], [b for _, b in sides]


def example() -> Example:
    """Four pairs: similar, not so, of equal texts, just similar enough."""
    first, second = ["iron rusts", "owls hunt", "ice", "tin melts"], ["rust eats iron", "bread", "Ice ", "melting tin"]
    table = pa.table({
        "query": pa.array(first, text), "instruction": pa.array([""] * 4, text), "passage": pa.array(second, text),
        "score": pa.array([4.6, 1.0, 5.0, 4.0], score),
    })  # fmt: skip
    return Example(table, PairScored())
