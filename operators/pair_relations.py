"""Make pairs of the texts that a node of a relation graph joins, each with a bounded number of others.

A paper that everyone cites, or a post with a hundred thousand replies, would give five billion co-pairs and a set of one
subject. So the members of a node stand in a ring, in the order of a hash of the node and the member, and each is paired with
the `fan_out` that follow it: a text is in at most 2 · `fan_out` pairs of a node, of which half are its own.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from operators import columns
from operators.contract import REJECTS, ROW, Example, Outcome, Params, operator, row_id, text
from operators.shingles import mixed

Array = np.ndarray[Any, Any]


class PairRelations(Params):
    """How often one node may pair a text."""

    fan_out: int = Field(default=4, ge=1, description="pairs that a text gives at a node; others may give it as many")
    max_members: int = Field(default=1024, ge=2, description="members of a shared node that are paired; which, a hash draws")
    seed: int = Field(default=0, ge=0)


_READS = {"node_id": row_id, "member_id": row_id, "pairs": text, "relation": text, "source": text, "licence": text}
_WRITES = {
    "pair_id": row_id, "anchor_id": row_id, "passage_id": row_id, "query_type": text, "generator": text, "source": text,
    "licence": text,
}  # fmt: skip


@operator("group", version="2", key="node_id", closed=True, reads=_READS, writes=_WRITES)
def pair_relations(table: pa.Table, p: PairRelations) -> Outcome:
    """Edges by node in, pairs by their texts' ids out: N edges give at most N · fan_out.

    A member that the node has already, one above a cap, and one that is alone are rejects. One pair of two nodes comes
    twice with one ``pair_id``: of a direct edge it is of both texts, the anchor first, of a co-pair in whichever order.
    """
    node, order, again = _ordered(table, p.seed)
    why = np.full(len(table), "", object)
    why[again] = "joined to its node before"
    direct = pc.equal(table["pairs"], "direct").to_numpy(zero_copy_only=False).astype(bool)
    most = np.where(direct[order], *(min(one, len(table)) for one in (p.fan_out, p.max_members)))
    above = np.arange(len(order)) - np.searchsorted(node[order], node[order]) >= most
    why[order[above]] = np.where(direct[order[above]], "above the fan-out of its node", "above the members of its node")
    order = order[~above]
    own, shared = order[direct[order]], order[~direct[order]]
    rows, others = _ring(node[shared], shared, p.fan_out)
    why[np.setdiff1d(shared, rows)] = "in the pairs of its node's others"
    why[shared[np.bincount(node[shared], minlength=1)[node[shared]] == 1]] = "alone at its node"
    nodes, members = (columns.id_matrix(table[name]) for name in ("node_id", "member_id"))
    asks, answers = np.concatenate([nodes[own], members[rows]]), np.concatenate([members[own], members[others]])
    rows = np.concatenate([own, rows])
    out = np.flatnonzero(why != "")
    named = pa.array([one.hex() for one in table["member_id"].take(pa.array(out)).to_pylist()], text)
    rejected = [table[ROW].take(pa.array(out)), pa.array(why[out].tolist(), text), named]
    return Outcome(_pairs(table.take(pa.array(rows)), asks, answers), pa.table(rejected, schema=REJECTS))


def _ordered(table: pa.Table, seed: int) -> tuple[Array, Array, Array]:
    """(the node of each row by number, rows without repeats by node and a hash of both ids, rows that repeat)."""
    nodes, members = columns.id_pairs(table["node_id"]), columns.id_pairs(table["member_id"])
    node = np.cumsum(np.append(True, nodes[1:] != nodes[:-1])[: len(nodes)]) - 1
    mark = mixed([nodes["hi"], nodes["lo"], members["hi"], members["lo"]], columns.row_seed(seed, "fan-out"))
    kind = pc.rank(table["relation"], tiebreaker="dense").to_numpy()
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
    first, second = asks.copy(), answers.copy()
    wide = [columns.id_pairs(_packed(side)) for side in (asks, answers)]
    turn = pc.not_equal(kept["pairs"], "direct").to_numpy(zero_copy_only=False).astype(bool)
    turn &= (wide[0]["hi"] > wide[1]["hi"]) | ((wide[0]["hi"] == wide[1]["hi"]) & (wide[0]["lo"] > wide[1]["lo"]))
    first[turn], second[turn] = answers[turn], asks[turn]
    both = np.ascontiguousarray(np.concatenate([first, second], axis=1)).view(">u8").reshape(-1, 4)
    pair = np.stack([mixed([both[:, i] for i in range(4)], seed) for seed in (1, 2)], axis=1).astype(">u8")
    made = (
        _packed(pair), _packed(asks), _packed(answers), _kinds(kept), pa.array(["relations"] * len(kept), text),
        kept["source"], kept["licence"],
    )  # fmt: skip
    return pa.table([*made, kept[ROW]], names=[*_WRITES, ROW])


def _kinds(kept: pa.Table) -> pa.ChunkedArray:
    """The relation, and where it has no name how its texts meet."""
    return pc.if_else(pc.equal(kept["relation"], ""), kept["pairs"], kept["relation"])


def _packed(raw: Array) -> pa.Array:
    raw = np.ascontiguousarray(raw)
    return pa.Array.from_buffers(row_id, len(raw), [None, pa.py_buffer(raw)])


def example() -> Example:
    """Three nodes: one that three share, one of them twice, one with a single member, one that cites."""
    own = [bytes([i]) * 16 for i in range(4)]
    table = pa.table({
        "node_id": pa.array([own[0]] * 4 + [own[1], own[2]], row_id),
        "member_id": pa.array([*own[1:], own[1], own[2], own[1]], row_id),
        "pairs": pa.array(["co_cited"] * 5 + ["direct"], text), "relation": pa.array(["cites"] * 5 + [""], text),
        "source": pa.array(["web"] * 6, text), "licence": pa.array([""] * 6, text),
    })  # fmt: skip
    return Example(table.sort_by("node_id"), PairRelations(fan_out=1))
