"""Turn the ends of edges into texts' ids, and say by which node they meet: the edges of one node are then grouped.

Direct edges meet in their beginning: citing → cited (CASPER, arXiv:2508.13394). Co-edges meet in what they share: two texts
cited by one (co-citation), or two that cite the same (coupling); with replies, two replies to one post (Twitter4SSE,
arXiv:2110.02030).
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import ARTIFACTS, Example, Outcome, Params, operator, outcome_of, row_id, text
from operators.index_ids import IdMap, IndexIds, index_ids

Pairs = Literal["direct", "co_cited", "co_citing"]


class ResolveRelations(Params):
    """What is paired. The node that a co-pair shares need not be a text of the corpus."""

    pairs: Pairs = Field(
        default="direct", description="from with to; co_cited: two `to` of one `from`; co_citing: two `from` of one `to`"
    )


def _check(p: ResolveRelations, using: Mapping[str, Any]) -> list[str]:
    if p.pairs != "direct" and "to_ids" in using.get(ARTIFACTS, ()):
        return [f"resolve_relations: pairs: {p.pairs} looks up one end alone, in ids; leave to_ids out"]
    return []


@operator(
    "map", version="1", rows="same", check=_check, reads={"from_source_id": text, "to_source_id": text, "relation": text},
    writes={"node_id": row_id, "member_id": row_id, "pairs": text},
)  # fmt: skip
def resolve_relations(table: pa.Table, p: ResolveRelations, *, ids: IdMap, to_ids: IdMap | None = None) -> Outcome:
    """N edges with the node they meet in and the text at its other end; of a split document the first passage.

    A direct edge's node is the text itself; a shared one is of its id and the relation, so that kinds do not mix. An id
    that the corpus lacks is a reject, and so are two ids of one text. With ``to_ids`` the other end is looked up in a corpus
    of its own: in two that both count from 1, an id names another text on each side.
    """
    ends = {name: table[f"{name}_source_id"].to_pylist() for name in ("from", "to")}
    needed = {"direct": ("from", "to"), "co_cited": ("to",), "co_citing": ("from",)}[p.pairs]
    found = {name: (to_ids if to_ids and name == "to" else ids).find(ends[name]) for name in needed}
    reasons: dict[int, tuple[str, str]] = {}
    for name in needed:
        unknown = np.flatnonzero(np.diff(found[name][0]) == 0).tolist()
        reasons |= {i: (f"unknown id in `{name}`", ends[name][i]) for i in unknown if i not in reasons}
    good = np.array([i for i in range(len(table)) if i not in reasons], np.int64)
    texts = {name: of.take(pa.array(at[good])) for name, (at, of) in found.items()}
    if p.pairs == "direct":
        same = columns.id_pairs(texts["from"]) == columns.id_pairs(texts["to"])
        reasons |= {int(i): ("both ids are one text", ends["to"][int(i)]) for i in good[same]}
        texts = {name: of.filter(pa.array(~same)) for name, of in texts.items()}
        good = good[~same]
    kept = table.take(pa.array(good))
    shared = kept["from_source_id" if p.pairs == "co_cited" else "to_source_id"].to_pylist()
    told = [p.pairs] * len(kept)
    nodes = texts["from"] if p.pairs == "direct" else columns.content_ids(shared, kept["relation"].to_pylist(), told)
    for name, values in (("node_id", nodes), ("member_id", texts[needed[-1]]), ("pairs", pa.array(told, text))):
        kept = columns.put(kept, name, values)
    return outcome_of(table, kept, reasons)


def example() -> Example:
    """Four edges: two good ones, an unknown id, two ids of one text."""
    names, said = ["d1", "d2", "d3", "d4"], ["oak", "birch", "elm", "elm"]
    fold = index_ids(IndexIds())
    fold.add(pa.table({"source_id": pa.array(names, text), "passage_id": columns.content_ids([""] * 4, said)}), 0)
    table = pa.table({
        "from_source_id": pa.array(["d1", "d1", "d2", "d3"], text), "to_source_id": pa.array(["d2", "d3", "d9", "d4"], text),
        "relation": pa.array(["cites"] * 4, text),
    })  # fmt: skip
    return Example(table, ResolveRelations(), {"ids": fold.finish()})
