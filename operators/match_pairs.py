"""Match the texts of two corpora by their margins, as LASER's mine_bitexts.py does (Artetxe & Schwenk, arXiv:1811.01136).

Every text proposes the candidate of its highest margin. ``forward`` and ``backward`` keep the proposals of one side,
``intersect`` those that both ends make; ``max`` takes them all, the highest first, and each text once.
"""

import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators import columns
from operators.content import aligned, parents
from operators.contract import Example, InputError, Params, ids, operator, row_id, score, scores, text
from operators.mapped import Mapped, mapped

Array = np.ndarray[Any, Any]
_FILES = {"hi.bin": "<u8", "lo.bin": "<u8", "right.bin": "u1", "score.bin": "<f4"}
_SAID = "margin.json"
_EDGE = np.dtype([("a", "<u8"), ("b", "<u8"), ("c", "<u8"), ("d", "<u8"), ("score", "<f4")])  # left's halves, then right's


class MatchPairs(Params):
    """Which proposals are matches."""

    retrieval: Literal["max", "intersect", "forward", "backward"] = "max"


class Matches(Mapped):
    """The matches of each text of the left side, by id, with their margins; memory-mapped."""

    files = (*_FILES, _SAID)

    def __init__(self, folder: Path, owner: object = None) -> None:
        """Map the files of ``folder``; ``owner`` keeps a temporary folder alive."""
        super().__init__(folder, owner)
        self.margin: str = json.loads((folder / _SAID).read_text(encoding="utf-8"))["margin"]
        self._hi, self._lo, right, self.scores = (mapped(folder / name, kind) for name, kind in _FILES.items())
        self._right = right.reshape(-1, 16)

    def __len__(self) -> int:
        """How many matches there are."""
        return len(self._hi)

    def of(self, ids: pa.Array | pa.ChunkedArray) -> tuple[Array, Array]:
        """Offsets (N+1,) into the places (M,) of the matches of each text of the left."""
        wanted = columns.id_pairs(ids)
        starts, ends = (np.searchsorted(self._hi, wanted["hi"], side) for side in ("left", "right"))  # type: ignore[call-overload]
        offsets, at = columns.ragged(starts, ends - starts)
        right = self._lo[at] == np.repeat(wanted["lo"], ends - starts)  # equal upper halves: 1 in 2**64
        return np.concatenate([[0], np.cumsum(right)])[offsets], at[right]

    def left(self, at: Array) -> Array:
        """The left ids of matches: (M,) structured (hi, lo), as of `columns.id_pairs`."""
        found = np.empty(len(at), [("hi", "u8"), ("lo", "u8")])
        found["hi"], found["lo"] = self._hi[at], self._lo[at]
        return found

    def right(self, at: Array) -> pa.Array:
        """The right ids of matches: (M,) binary(16)."""
        raw = np.ascontiguousarray(self._right[at])
        return pa.Array.from_buffers(row_id, len(raw), [None, pa.py_buffer(raw)])


class _Fold:
    """One proposal a text: 36 bytes each in memory, and 200 while they are sorted (two million: 390 MB)."""

    def __init__(self, p: MatchPairs) -> None:
        self.p = p
        self.parts: dict[str, list[Array]] = {"left": [], "right": []}
        self.margins = set[str]()

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part of either direction."""
        sides = table["side"].to_pylist()
        if strange := sorted(set(sides) - set(self.parts)):
            raise InputError(f"match_pairs: side is 'left' or 'right', a row has {strange[0]!r}; set it with fill_texts")
        self.margins.update(pc.unique(table["margin_by"]).to_pylist())
        offsets, found = columns.flat(table["candidate_ids"])
        value, rows = aligned(table, "margin_scores", offsets), parents(offsets)
        pairs, own = columns.id_pairs(found), columns.id_pairs(table["passage_id"])
        known = np.flatnonzero(~np.isnan(value))
        order = known[np.lexsort((pairs["lo"][known], pairs["hi"][known], -value[known], rows[known]))]
        best = order[np.append(True, np.diff(rows[order]) != 0)[: len(order)]]
        side = np.array([one == "left" for one in sides], bool)
        for name, mask in (("left", side[rows[best]]), ("right", ~side[rows[best]])):
            mine, other = own[rows[best[mask]]], pairs[best[mask]]
            self.parts[name].append(_edges(*((mine, other) if name == "left" else (other, mine)), value[best[mask]]))

    def merge(self, later: "_Fold") -> None:
        """Take in the fold of later parts."""
        self.margins |= later.margins
        for name, parts in later.parts.items():
            self.parts[name] += parts

    def finish(self) -> Matches:
        """Choose among the proposals, sort by left and right, and map the files."""
        if len(self.margins) > 1:
            both = " and ".join(sorted(self.margins))
            raise InputError(f"match_pairs: the directions have two margins, {both}; give both score_margins one margin and k")
        forward, backward = (np.concatenate([np.empty(0, _EDGE), *self.parts[name]]) for name in ("left", "right"))
        if self.p.retrieval == "max":
            matched = _greedy(np.concatenate([forward, backward]))
        elif self.p.retrieval == "intersect":
            matched = _both(np.concatenate([forward, backward]))
        else:
            matched = forward if self.p.retrieval == "forward" else backward
        matched = matched[np.lexsort((matched["d"], matched["c"], matched["b"], matched["a"]))]
        temporary = tempfile.TemporaryDirectory(prefix="pithead-matches-")
        folder = Path(temporary.name)
        right = np.stack([matched["c"], matched["d"]], axis=1).astype(">u8")
        for name, part in zip(_FILES, (matched["a"], matched["b"], right, matched["score"]), strict=True):
            (folder / name).write_bytes(np.ascontiguousarray(part).tobytes())
        (folder / _SAID).write_text(json.dumps({"margin": next(iter(self.margins), "")}), encoding="utf-8")
        return Matches(folder, temporary)


def _edges(left: Array, right: Array, value: Array) -> Array:
    edges = np.empty(len(left), _EDGE)
    for name, part in zip("abcd", (left["hi"], left["lo"], right["hi"], right["lo"]), strict=True):
        edges[name] = part
    edges["score"] = value
    return edges


def _ordered(edges: Array) -> tuple[Array, Array]:
    """The edges, the highest first and then by ids, and whether each is the one before it again.

    One pair has one margin from either end: its cosine is one, and a sum of two means has no order.
    """
    edges = edges[np.lexsort((edges["d"], edges["c"], edges["b"], edges["a"], -edges["score"]))]
    again = np.ones(len(edges), bool)
    again[:1] = False
    for name in _EDGE.names or ():
        again[1:] &= edges[name][1:] == edges[name][:-1]
    return edges, again


def _both(edges: Array) -> Array:
    edges, again = _ordered(edges)
    return edges[again]


def _greedy(edges: Array) -> Array:
    """One-to-one, the highest first."""
    edges, again = _ordered(edges)
    edges = edges[~again]
    left, right = _numbers(edges["a"], edges["b"]), _numbers(edges["c"], edges["d"])
    matched = bytearray(len(edges)), bytearray(len(edges))
    taken = np.zeros(len(edges), bool)
    for start in range(0, len(edges), columns.SLICE):
        block = slice(start, start + columns.SLICE)
        for i, (a, b) in enumerate(zip(left[block].tolist(), right[block].tolist(), strict=True), start):
            if not matched[0][a] and not matched[1][b]:
                matched[0][a] = matched[1][b] = taken[i] = True
    return edges[taken]


def _numbers(high: Array, low: Array) -> Array:
    """The ids by their halves as numbers from 0, equal where they are: (N,) int32."""
    order = np.lexsort((low, high))
    fresh = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    number = np.zeros(len(order), np.int32)
    number[order[1:]] = np.cumsum(fresh, dtype=np.int32)
    return number


@operator(
    "build", version="2",
    reads={"passage_id": row_id, "side": text, "candidate_ids": ids, "margin_scores": scores, "margin_by": text},
)  # fmt: skip
def match_pairs(p: MatchPairs) -> _Fold:
    """Take the margins of both directions, told apart by ``side``, and match left with right."""
    return _Fold(p)


def example() -> Example:
    """Two texts a side; both of the left propose the same one."""
    a, b, x, y = columns.content_ids(list("abxy")).to_pylist()
    table = pa.table({
        "passage_id": pa.array([a, b, x, y], row_id), "side": pa.array(["left", "left", "right", "right"], text),
        "candidate_ids": pa.array([[x, y], [x, y], [a, b], [b]], ids),
        "margin_scores": pa.array([[1.2, 0.9], [1.1, 1.05], [1.2, 1.1], [1.05]], pa.list_(score)),
        "margin_by": pa.array(["ratio of 4"] * 4, text),
    })  # fmt: skip
    return Example(table.sort_by("passage_id"), MatchPairs())
