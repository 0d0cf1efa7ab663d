"""Fit classes of near-duplicates over their edges: each text's representative.

Connected components chain what differs: boilerplate links A to B and B to C until A and Z have nothing in common. So a text
belongs to a representative only if it is nearly that text itself:

1. In each connected component the longest text, of equally long ones that of the smallest id, is a representative.
2. Its class grows along edges: a text joins if an edge leads to it from the class and its own Jaccard with the representative
   is the threshold at least.
3. What is left falls into connected components again, of which the same is done, until each text has a class.

The rule hangs on the edges and the texts alone. An edge of the representative is compared already; another text is compared
once for each class that an edge leads from, so there are no more comparisons than edges. A text that vanishes takes its edges
with it: over those that are left, its class falls apart where it alone held it together.
"""

import tempfile
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import codes, indexed
from operators.contract import Example, InputError, operator, row_id, score
from operators.index_texts import Texts
from operators.mapped import Mapped, mapped
from operators.shingles import Shingles, cut_as, likeness

Array = np.ndarray[Any, Any]
_FILES = {"hi.bin": "<u8", "lo.bin": "<u8", "representatives.bin": "u1"}
_EDGES = pa.schema([("id_a", row_id), ("id_b", row_id), ("score", score)])


class FitClasses(Shingles):
    """How near a text must be to its representative: at least as near as the edges are."""

    threshold: float = Field(default=0.8, gt=0, le=1, description="least score of a text and its representative")
    score: Literal["jaccard", "cosine"] = "jaccard"  # cosine: of `link_similar`; without an edge none are alike

    @model_validator(mode="after")
    def _used(self) -> Self:
        idle = [name for name, field in Shingles.model_fields.items() if getattr(self, name) != field.default]
        if self.score == "cosine" and idle:
            raise ValueError(f"{', '.join(idle)}: where score is cosine no text is cut; leave it out")
        return self


class DuplicateClasses(Mapped):
    """The representative of each text that has a near-duplicate; sorted, memory-mapped. A class is known by its representative.

    As of `Texts`, a map may take of it only the classes of the ids in a row, which are in that row's `_key`.
    """

    content_addressed: ClassVar[bool] = True
    files = tuple(_FILES)

    def __init__(self, folder: Path, owner: object = None) -> None:
        """Map the files of ``folder``; ``owner`` keeps a temporary folder alive."""
        super().__init__(folder, owner)
        self._hi, self._lo, raw = (mapped(folder / name, kind) for name, kind in _FILES.items())
        self._raw = raw.reshape(-1, 16)

    def __len__(self) -> int:
        """How many texts are in a class of two or more."""
        return len(self._hi)

    def of(self, ids: pa.Array | pa.ChunkedArray) -> pa.Array:
        """The representative of each id: (N,) binary(16); an id without a near-duplicate is its own."""
        raw = self.exact(ids)
        return pa.Array.from_buffers(row_id, len(raw), [None, pa.py_buffer(raw)])

    def exact(self, ids: pa.Array | pa.ChunkedArray) -> Array:
        """The representative of each id, which is all that a map takes of it: (N, 16) bytes."""
        raw, places = columns.id_matrix(ids).copy(), columns.places(self._hi, self._lo, columns.id_pairs(ids))
        raw[places >= 0] = self._raw[places[places >= 0]]
        return raw


class ClassesFold:
    """Edges under way: 36 bytes an edge in memory, at the end 275 more (2 million of a million texts: 0.6 GB)."""

    def __init__(self, p: FitClasses, texts: Texts) -> None:
        """Start with no edge."""
        self._p, self._texts = p, texts
        self._parts: list[pa.Table] = []

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in edges; one met twice counts once."""
        self._parts.append(table.select(["id_a", "id_b", self._p.score]).rename_columns(_EDGES.names))

    def merge(self, later: "ClassesFold") -> None:
        """Take in the fold of later edges."""
        self._parts += later._parts

    def finish(self) -> DuplicateClasses:
        """Grow the classes and write each text of one with its representative."""
        edges = pa.concat_tables([_EDGES.empty_table(), *self._parts]).combine_chunks()
        both = pa.concat_arrays([chunk for name in ("id_a", "id_b") for chunk in edges[name].chunks] or [pa.array([], row_id)])
        number = codes([both])[0]
        _, first = np.unique(number, return_index=True)
        ids = both.take(pa.array(first))  # by id: `codes` counts in the order of ids
        if not self._texts.has(ids).all():
            raise InputError("fit_classes: texts: an edge names an id that the index lacks; index the texts that were signed")
        one, other = np.split(number, 2)
        graph = Graph(one, other, edges["score"].to_numpy(), self._texts.lengths(ids))

        def told(one: Array, other: Array) -> Array:
            by_words = self._p.score == "jaccard"
            return likeness(self._texts, ids, one, other, self._p) if by_words else np.zeros(len(one), np.float32)

        return _written(ids, graph.classes(self._p.threshold, told))


class Graph:
    """Texts by number, in the order of their ids, and their edges, both ways."""

    def __init__(self, one: Array, other: Array, jaccard: Array, lengths: Array) -> None:
        """Edges (E,) between texts of these lengths (N,)."""
        count = len(lengths)
        both = np.concatenate([one * count + other, other * count + one])
        order = np.argsort(both)
        self.edges, self.jaccard = both[order], np.concatenate([jaccard, jaccard])[order]  # source · count + target
        self.target = self.edges % max(count, 1)
        self.starts = np.searchsorted(self.edges, np.arange(count + 1) * count)
        rank = np.empty(count, np.int64)  # the best is 0
        rank[np.lexsort((np.arange(count), -lengths.astype(np.int64)))] = np.arange(count)
        self.rank = rank

    def classes(self, threshold: float, likeness: Any) -> Array:
        """The representative's number of each text: (N,) int64. ``likeness`` tells the Jaccard of pairs.

        Of each component the best text that is left begins a class, all components at once. Whether a component still hangs
        together changes no class, only how many begin at once: it is looked up before turns 0, 1, 3, 7, … So a chain of N
        texts, of which each class takes two, costs N / 2 turns of a few texts, not N / 2 looks at all of them.
        """
        owner, refused = np.full((2, len(self.rank)), -1, np.int64)
        turn, queues = 0, self._queues(owner)
        while len(frontier := queues.next(owner)):
            owner[frontier] = frontier
            while len(frontier):
                frontier = self._grown(owner, refused, frontier, np.float32(threshold), likeness)
            turn += 1
            if turn & (turn + 1) == 0:
                queues = self._queues(owner)
        return owner

    def _queues(self, owner: Array) -> "_Queues":
        """The texts without a class, those of each connected component by rank."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        left = np.flatnonzero(owner < 0)
        place = np.full(len(owner), -1, np.int64)
        place[left] = np.arange(len(left))
        source = np.repeat(place, np.diff(self.starts))
        inside = (source >= 0) & (place[self.target] >= 0)
        ends = (source[inside], place[self.target[inside]])
        matrix = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(len(left), len(left)))
        _, labels = connected_components(matrix, directed=False)
        order = np.lexsort((self.rank[left], labels))
        return _Queues(left[order], np.flatnonzero(np.diff(labels[order], prepend=-1)))

    def _grown(self, owner: Array, refused: Array, frontier: Array, threshold: np.float32, likeness: Any) -> Array:
        """The texts that join the classes of those on the ``frontier``, next to them; others are ``refused`` by these."""
        sizes = self.starts[frontier + 1] - self.starts[frontier]
        _, at = columns.ragged(self.starts[frontier], sizes)
        asked = np.repeat(owner[frontier], sizes)  # a component has one class that grows, so a text is asked by one
        text = self.target[at]
        free = (owner[text] < 0) & (refused[text] != asked)
        text, once = np.unique(text[free], return_index=True)
        asked = asked[free][once]
        found = self._edge(asked, text)
        new = np.isnan(found)
        if new.any():
            found[new] = likeness(asked[new], text[new])
        joins = found >= threshold
        owner[text[joins]], refused[text[~joins]] = asked[joins], asked[~joins]
        joined: Array = text[joins]
        return joined

    def _edge(self, one: Array, other: Array) -> Array:
        """The Jaccard of each pair that has an edge, NaN of others."""
        wanted = one * len(self.rank) + other
        at = np.minimum(np.searchsorted(self.edges, wanted), len(self.edges) - 1)
        return np.where(self.edges[at] == wanted, self.jaccard[at], np.float32(np.nan))


class _Queues:
    """Texts in several queues, each of which gives its first that has no class."""

    def __init__(self, order: Array, starts: Array) -> None:
        """The queues begin at ``starts`` of ``order`` (N,)."""
        self._order, self._at = order, starts.copy()
        self._ends = np.append(starts[1:], len(order))

    def next(self, owner: Array) -> Array:
        """The first of each queue that is not empty."""
        gone = np.arange(len(self._at))  # only these are moved on: one long queue is no matter of the others
        while len(gone := gone[owner[self._order[self._at[gone]]] >= 0]):
            self._at[gone] += 1
            gone = gone[self._at[gone] < self._ends[gone]]
        full = self._at < self._ends
        self._at, self._ends = self._at[full], self._ends[full]
        first: Array = self._order[self._at]
        return first


def _written(ids: pa.Array, owner: Array) -> DuplicateClasses:
    """Of every class of two or more."""
    temporary = tempfile.TemporaryDirectory(prefix="pithead-classes-")
    kept = np.flatnonzero(np.bincount(owner, minlength=len(owner))[owner] > 1)
    pairs, raw = columns.id_pairs(ids)[kept], columns.id_matrix(ids)[owner[kept]]
    for name, part in zip(_FILES, (pairs["hi"].astype("<u8"), pairs["lo"].astype("<u8"), raw), strict=True):
        (Path(temporary.name) / name).write_bytes(np.ascontiguousarray(part).tobytes())
    return DuplicateClasses(Path(temporary.name), temporary)


@operator(
    "build", version="3", reads=lambda p: {"id_a": row_id, "id_b": row_id, p.score: score},
    agrees=lambda p: cut_as(p) if p.score == "jaccard" else {}, rises=lambda p: {p.score: p.threshold},
)  # fmt: skip
def fit_classes(p: FitClasses, *, texts: Texts) -> ClassesFold:
    """Fit the classes of near-duplicates."""
    return ClassesFold(p, texts)


def example() -> Example:
    """A chain of three edges whose ends are other texts, and a pair."""
    words = [f"word{i}" for i in range(20)]
    said = [" ".join(words[i : i + 16]) for i in range(4)] + ["owls hunt mice at night", "Owls hunt mice at night"]
    ids, texts = indexed(said)
    ends = [sorted((ids[a], ids[b])) for a, b in ((0, 1), (1, 2), (2, 3), (4, 5))]
    made = [pa.array([one[0] for one in ends], row_id), pa.array([one[1] for one in ends], row_id)]
    table = pa.table([*made, pa.array([11 / 13, 11 / 13, 11 / 13, 1.0], score)], names=["id_a", "id_b", "jaccard"])
    return Example(table, FitClasses(), {"texts": texts})
