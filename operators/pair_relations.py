"""Make pairs of the texts that a node of a relation graph joins, each with a bounded number of others.

A paper that everyone cites, or a post with a hundred thousand replies, would give five billion co-pairs and a set of one
subject. So a node gives each text at most `fan_out` others: the members stand in a ring, in the order of a hash of the node
and the member, and each is paired with those that follow it.
"""

from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.contract import REJECTS, ROW, Example, Outcome, Params, operator, row_id, text
from operators.resolve_relations import Pairs
from operators.shingles import mixed

Array = np.ndarray[Any, Any]


class PairRelations(Params):
    """What is paired, as `resolve_relations` was told, and how often one node may pair a text."""

    pairs: Pairs = "direct"
    fan_out: int = Field(default=4, ge=1, description="others that a node gives a text: direct, itself; else each of its members")
    max_members: int | None = Field(default=None, ge=2, description="of a node, drawn; 1024 where not said; not for direct")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _every_option_acts(self) -> Self:
        if self.pairs == "direct" and self.max_members:
            raise ValueError("max_members does nothing where pairs is direct: fan_out says it; leave it out")
        return self


_READS = {"node_id": row_id, "member_id": row_id, "relation": text, "source": text, "licence": text}
_WRITES = {
    "pair_id": row_id, "anchor_id": row_id, "passage_id": row_id, "query_type": text, "generator": text, "source": text,
    "licence": text,
}  # fmt: skip


@operator("group", version="1", key="node_id", closed=True, reads=_READS, writes=_WRITES)
def pair_relations(table: pa.Table, p: PairRelations) -> Outcome:
    """Edges by node in, pairs by their texts' ids out: N edges give at most N · fan_out; ``relation`` becomes ``query_type``.

    A member that the node has already, one above a cap, and one that is alone are rejects. One pair of two nodes comes
    twice with one ``pair_id``, which is of both texts, the anchor first.
    """
    node, order, again = _ordered(table, p.seed)
    why = np.full(len(table), "", object)
    why[again] = "joined to its node before"
    place = np.arange(len(order)) - np.searchsorted(node[order], node[order])
    most = p.fan_out if p.pairs == "direct" else p.max_members or 1024
    why[order[place >= most]] = "above the fan-out of its node" if p.pairs == "direct" else "above the members of its node"
    rows = order = order[place < most]
    members = columns.id_matrix(table["member_id"])
    if p.pairs == "direct":
        asks, answers = columns.id_matrix(table["node_id"])[rows], members[rows]
    else:
        rows, others = _ring(node[order], order, p.fan_out)
        why[np.setdiff1d(order, rows)] = "in the pairs of its node's others"
        why[order[np.bincount(node[order])[node[order]] == 1]] = "alone at its node"
        asks, answers = members[rows], members[others]
    out = np.flatnonzero(why != "")
    named = pa.array([one.hex() for one in table["member_id"].take(pa.array(out)).to_pylist()], text)
    rejected = [table[ROW].take(pa.array(out)), pa.array(why[out].tolist(), text), named]
    return Outcome(_pairs(table.take(pa.array(rows)), asks, answers), pa.table(rejected, schema=REJECTS))


def _ordered(table: pa.Table, seed: int) -> tuple[Array, Array, Array]:
    """(the node of each row by number, rows without repeats by node and a hash of both ids, rows that repeat)."""
    nodes, members = columns.id_pairs(table["node_id"]), columns.id_pairs(table["member_id"])
    node = np.cumsum(np.append(True, nodes[1:] != nodes[:-1])[: len(nodes)]) - 1
    mark = mixed([nodes["hi"], nodes["lo"], members["hi"], members["lo"]], columns.row_seed(seed, "fan-out"))
    relation = table["relation"].to_pylist()
    kinds = {kind: i for i, kind in enumerate(sorted(set(relation)))}
    kind = np.array([kinds[one] for one in relation], np.int64)
    order = np.lexsort((table[ROW].to_numpy(), kind, members["lo"], members["hi"], mark, node))
    fresh = np.append(True, (np.diff(node[order]) != 0) | (members[order][1:] != members[order][:-1]))[: len(order)]
    return node, order[fresh], order[~fresh]


def _ring(node: Array, order: Array, fan_out: int) -> tuple[Array, Array]:
    """Rows of each pair of members of one node, every pair once, in no direction that their ids tell."""
    size = np.bincount(node)[node] if len(node) else node
    first = np.searchsorted(node, node)
    place = np.arange(len(node)) - first
    late, early = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for step in range(1, min(fan_out, int(size.max(initial=0)) // 2) + 1):
        # Half-way round an even ring both ends would name the pair.
        far = np.flatnonzero((2 * step < size) | ((2 * step == size) & (place < step)))
        early.append(order[far])
        late.append(order[first[far] + (place[far] + step) % size[far]])
    rows, others = np.concatenate(early), np.concatenate(late)
    by_node = np.argsort(rows, kind="stable")
    return rows[by_node], others[by_node]


def _pairs(kept: pa.Table, asks: Array, answers: Array) -> pa.Table:
    both = np.ascontiguousarray(np.concatenate([asks, answers], axis=1)).view(">u8").reshape(-1, 4)
    pair = np.stack([mixed([both[:, i] for i in range(4)], seed) for seed in (1, 2)], axis=1).astype(">u8")
    made = (
        _packed(pair), _packed(asks), _packed(answers), kept["relation"], pa.array(["relations"] * len(kept), text),
        kept["source"], kept["licence"],
    )  # fmt: skip
    return pa.table([*made, kept[ROW]], names=[*_WRITES, ROW])


def _packed(raw: Array) -> pa.Array:
    raw = np.ascontiguousarray(raw)
    return pa.Array.from_buffers(row_id, len(raw), [None, pa.py_buffer(raw)])


def example() -> Example:
    """Two nodes: one with three members, one of them twice, one with a single member."""
    own = [bytes([i]) * 16 for i in range(4)]
    table = pa.table({
        "node_id": pa.array([own[0]] * 4 + [own[1]], row_id), "member_id": pa.array([*own[1:], own[1], own[2]], row_id),
        "relation": pa.array(["cites"] * 5, text), "source": pa.array(["web"] * 5, text), "licence": pa.array([""] * 5, text),
    })  # fmt: skip
    return Example(table.sort_by("node_id"), PairRelations(pairs="co_cited", fan_out=1))
