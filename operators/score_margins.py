"""Score how far a candidate stands out among the neighbours of both texts: the margin of Artetxe & Schwenk (arXiv:1811.01136).

ratio: cos(x, y) / m; distance: cos(x, y) − m; absolute: cos(x, y); m is the mean of both texts' mean cosines to their k
nearest neighbours on the other side (§3).
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns, fit_neighbourhoods
from operators.contract import ARTIFACTS, Example, InputError, Params, ids, operator, row_id, score, scores, text
from operators.fit_neighbourhoods import Neighbourhoods, means, neighbours


class ScoreMargins(Params):
    """Which margin, of how many neighbours."""

    margin: Literal["ratio", "distance", "absolute"] = "ratio"
    k: int = Field(default=4, ge=1, description="as fit_neighbourhoods has it; the k nearest others have a score")


def _check(p: ScoreMargins, using: Mapping[str, Any]) -> list[str]:
    given = "neighbourhoods" in using.get(ARTIFACTS, ())
    if (depth := using.get("depth")) is not None and depth <= p.k:
        return [f"score_margins: k is {p.k}, the search above keeps {depth}; let it keep {p.k + 1} at least"]
    if p.margin == "absolute" and given:
        return ["score_margins: neighbourhoods do nothing where margin is absolute; leave them out"]
    if p.margin != "absolute" and not given:
        why = "needs using: {neighbourhoods: STEP}, fit_neighbourhoods of the other direction"
        return [f"score_margins: margin: {p.margin} {why}"]
    return []


@operator(
    "map", version="2", rows="same", check=_check, reads={"passage_id": row_id, "candidate_ids": ids, "dense_scores": scores},
    writes={"margin_scores": scores, "margin_by": text},
)  # fmt: skip
def score_margins(table: pa.Table, p: ScoreMargins, *, neighbourhoods: Neighbourhoods | None = None) -> pa.Table:
    """Add ``margin_scores`` aligned to the candidates, and in ``margin_by`` which margin of how many neighbours they are.

    Null for the text itself, for those behind the k nearest others, and for a ratio to a mean that is not above zero.
    """
    rows, found, cosine, near = neighbours(table, p.k)
    value = cosine
    if p.margin != "absolute":
        assert neighbourhoods is not None  # by `_check`
        if neighbourhoods.k != p.k:
            raise InputError(f"score_margins: k is {p.k}, its neighbourhoods are of {neighbourhoods.k}; give both steps one k")
        middle = (means(table, p.k)[rows] + neighbourhoods.of(found)) / 2
        if p.margin == "distance":
            value = cosine - middle
        else:
            value = np.divide(cosine, middle, out=np.full(len(rows), np.nan), where=middle > 0)
    told = pa.array(value.astype(np.float32), score, mask=~near | ~np.isfinite(value))
    offsets, _ = columns.flat(table["candidate_ids"])
    table = columns.put(table, "margin_scores", columns.lists(offsets, told))
    return columns.put(table, "margin_by", pa.array([f"{p.margin} of {p.k}"] * len(table), text))


def example() -> Example:
    """Three texts against three of another side."""
    shown = fit_neighbourhoods.example()
    a, b, c = columns.content_ids(list("abc")).to_pylist()
    other = columns.content_ids(list("xyz"))
    back = pa.table({
        "passage_id": other, "candidate_ids": pa.array([[a, b], [b, c], [a]], ids),
        "dense_scores": pa.array([[0.9, 0.8], [0.7, 0.1], [0.2]], scores),
    })  # fmt: skip
    fold = fit_neighbourhoods.fit_neighbourhoods(shown.params)
    fold.add(back.sort_by("passage_id"), 0)
    x, y, z = other.to_pylist()
    table = pa.table({
        "passage_id": columns.content_ids(list("abc")), "candidate_ids": pa.array([[x, z], [x, y], []], ids),
        "dense_scores": pa.array([[0.9, 0.2], [0.8, 0.7], []], scores),
    })  # fmt: skip
    return Example(table, ScoreMargins(), {"neighbourhoods": fold.finish()})
