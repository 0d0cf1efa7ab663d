"""Make triplets of an inference set (NLI): what a premise entails is its positive, what contradicts it its hard negative.

InferSent (arXiv:1705.02364) and SBERT (arXiv:1908.10084) train on these; as triplets, SimCSE (arXiv:2104.08821 §4).
"""

from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators import columns
from operators.content import echoes
from operators.contract import REJECTS, ROW, Example, Outcome, Params, ids, operator, row_id, text

_OTHER, _TWICE, _BOTH = "neither entailed nor contradicted", "judged before for this premise", "judged both ways"
_NONE, _MERGED, _ECHO = "its premise has no entailed text", "merged into its premise", "the text is its premise"


class GroupEntailment(Params):
    """What the two labels are called, as the file has them or ``names`` of `read_judged_pairs` renames them."""

    positive: str = Field(default="entailment", min_length=1)
    negative: str = Field(default="contradiction", min_length=1)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.positive == self.negative:
            raise ValueError("positive and negative are one label; give each its own")
        return self


@operator(
    "group", version="1", key="query_id", rows="fewer",
    reads={"query_id": row_id, "query": text, "passage_id": row_id, "passage": text, "label": text},
    writes={"positive_ids": ids, "negative_ids": ids},
)  # fmt: skip
def group_entailment(table: pa.Table, p: GroupEntailment) -> Outcome:
    """Rows of judged pairs → one row a premise, that of its first positive, with lists in the order of ids.

    A premise without an entailed text, and a text that is judged both ways, are rejects; ``negative_ids`` may be empty.
    """
    queries, passages = columns.id_pairs(table["query_id"]), columns.id_pairs(table["passage_id"])
    group = np.cumsum(np.append(True, queries[1:] != queries[:-1])[: len(queries)]) - 1
    good, bad = (_equal(table["label"], label) for label in (p.positive, p.negative))
    why = np.full(len(table), "", object)
    why[~good & ~bad] = _OTHER
    why[(good | bad) & echoes(table)] = _ECHO
    order = np.lexsort((table[ROW].to_numpy(), passages["lo"], passages["hi"], group))
    order = order[why[order] == ""]
    fresh = np.append(True, (passages[order][1:] != passages[order][:-1]) | (np.diff(group[order]) != 0))[: len(order)]
    text_of = np.cumsum(fresh) - 1
    ways = [np.bincount(text_of, mask[order], minlength=int(fresh.sum())) > 0 for mask in (good, bad)]
    why[order[~fresh]] = _TWICE
    why[order[(ways[0] & ways[1])[text_of]]] = _BOTH
    order = order[why[order] == ""]
    entailed = np.bincount(group[order[good[order]]], minlength=int(group.max(initial=-1)) + 1) > 0
    why[order[~entailed[group[order]]]] = _NONE
    order = order[entailed[group[order]]]
    firsts = order[good[order]]
    firsts = firsts[np.append(True, np.diff(group[firsts]) != 0)[: len(firsts)]]
    why[np.setdiff1d(order, firsts)] = _MERGED
    kept = table.take(pa.array(firsts))
    for name, mask in (("positive_ids", good), ("negative_ids", bad)):
        chosen = order[mask[order]]
        ends = np.append(np.searchsorted(group[chosen], group[firsts]), len(chosen)).astype(np.int64)
        kept = columns.put(kept, name, columns.lists(ends, table["passage_id"].combine_chunks().take(pa.array(chosen))))
    out = np.flatnonzero(why != "")
    other = pa.array(why[out] == _OTHER)
    value = pc.if_else(other, table["label"].take(pa.array(out)), table["passage"].take(pa.array(out))).combine_chunks()
    return Outcome(kept, pa.table([table[ROW].take(pa.array(out)), pa.array(why[out].tolist(), text), value], schema=REJECTS))


def _equal(column: pa.ChunkedArray, label: str) -> Any:
    return pc.equal(column, label).to_numpy(zero_copy_only=False).astype(bool)


def example() -> Example:
    """Two premises: one with both kinds, a neutral text and a text judged both ways, one without an entailed text."""
    said = [("entailment", "an animal rests"), ("contradiction", "a dog runs"), ("neutral", "a dog dreams"),
            ("entailment", "it barks"), ("contradiction", "it barks"), ("contradiction", "no rain")]  # fmt: skip
    premises, passages = ["a dog sleeps"] * 5 + ["it rains"], [one for _, one in said]
    table = pa.table({
        "query_id": columns.content_ids(premises, [""] * 6), "query": pa.array(premises, text),
        "passage_id": columns.content_ids([""] * 6, passages), "passage": pa.array(passages, text),
        "label": pa.array([label for label, _ in said], text),
    })  # fmt: skip
    return Example(table.sort_by("query_id"), GroupEntailment())
