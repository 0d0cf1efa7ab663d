"""Give each text of the left side its match on the right, from a margin on: pairs by ids, to be filled by `fill_pairs`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field

from operators import columns, fit_margin
from operators.contract import ARTIFACTS, Example, Outcome, Params, operator, outcome_of, row_id, score, text
from operators.fit_margin import Margin
from operators.match_pairs import Matches


class TakeMatches(Params):
    """From which margin on, and what the pairs are called."""

    at_least: float | None = Field(default=None, description="least margin; null: all, or what using: {margin: STEP} found")
    query_type: str = "translation"


def _check(p: TakeMatches, using: Mapping[str, Any]) -> list[str]:
    if p.at_least is not None and "margin" in using.get(ARTIFACTS, ()):
        return ["take_matches: at_least and using: {margin: STEP} both say the least margin; leave one out"]
    return []


_WRITES = {
    "anchor_id": row_id, "passage_id": row_id, "pair_id": row_id, "margin": score, "query_type": text, "generator": text,
}  # fmt: skip


@operator("map", version="1", reads={"passage_id": row_id}, writes=_WRITES, check=_check)
def take_matches(table: pa.Table, p: TakeMatches, *, matches: Matches, margin: Margin | None = None) -> Outcome:
    """N texts of the left: those with matches, once for each; ``passage_id`` becomes the match's."""
    limit = margin.at_least if margin else -np.inf if p.at_least is None else p.at_least
    offsets, at = matches.of(table["passage_id"])
    found = np.asarray(matches.scores[at])
    high = found >= np.float32(limit)
    rows = np.repeat(np.arange(len(table)), np.diff(offsets))
    none, left = np.diff(offsets) == 0, np.bincount(rows[high], minlength=len(table)) > 0
    best = np.full(len(table), -np.inf)
    np.maximum.at(best, rows, found)
    reasons = {int(i): ("no match", "") if none[i] else ("margin too low", f"{best[i]:.4g}") for i in np.flatnonzero(~left)}
    kept = table.take(pa.array(rows[high]))
    anchors, right = kept["passage_id"].combine_chunks(), matches.right(at[high])
    pairs = [xxhash.xxh3_128_digest(a + b) for a, b in zip(anchors.to_pylist(), right.to_pylist(), strict=True)]
    made = (
        anchors, right, pa.array(pairs, row_id), pa.array(found[high], score), pa.array([p.query_type] * len(kept), text),
        pa.array(["margin"] * len(kept), text),
    )  # fmt: skip
    for name, values in zip(_WRITES, made, strict=True):
        kept = columns.put(kept, name, values)
    return outcome_of(table, kept, reasons)


def example() -> Example:
    """Three texts: two with a match, of which one is too low, one without."""
    shown = fit_margin.example()
    table = pa.table({"passage_id": columns.content_ids(list("abc"))})
    return Example(table, TakeMatches(at_least=1.1), {"matches": shown.used["matches"]})
