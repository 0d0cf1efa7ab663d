"""Which rows hang together: rows that share a document, a near-duplicate, a positive or a query are one component (C45).

A split by any one id leaks through the others: two documents hold near-duplicates, a boilerplate passage has fifty parents.
Here two rows are one where any id of theirs is, and so are the rows that these are joined with (connected components, as
cross-validation by group has it; the gap between splits by row and by id is CADET's, arXiv:2505.19274).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.batches import PAIR
from operators.content import Array, codes, parents
from operators.contract import Columns, Example, Params, ids, operator, row_id
from operators.fit_classes import DuplicateClasses
from operators.index_documents import Documents


class FitComponents(Params):
    """Which ids join rows."""

    key: str = Field(default="query_id", min_length=1, description="the id of a row; rows of one id are one anyway")
    by: tuple[str, ...] = Field(default=("positive_ids",), min_length=1, description="`…_ids` are lists, others an id a row")
    passages: tuple[str, ...] = Field(
        default=("positive_ids",), description="those of them, or key, that are passages: their documents and classes join, too"
    )
    max_share: float = Field(default=0.5, gt=0, le=1, description="of all rows, that a component may have; else the step fails")

    @model_validator(mode="after")
    def _acts(self) -> Self:
        if len(set(self.by)) < len(self.by) or self.key in self.by:
            raise ValueError("by names a column twice, or the key, which joins its rows anyway")
        if other := [name for name in self.passages if name not in (*self.by, self.key)]:
            raise ValueError(f"passages: {other[0]} is not among by, and joins nothing; name it there")
        return self


class Components:
    """The component of each row: sorted keys (N,) and (N,) the smallest key of its component."""

    def __init__(self, keys: Any, component: Any) -> None:
        self.keys, self.component = keys, component

    def of(self, ids: pa.Array | pa.ChunkedArray) -> pa.Array:
        """(N,) binary(16); an id that is in none is its own."""
        raw = columns.id_matrix(ids).copy()
        at = columns.places(self.keys["hi"], self.keys["lo"], columns.id_pairs(ids))
        known = np.flatnonzero(at >= 0)
        pairs = np.asarray(self.component)[at[known]]
        raw[known] = np.stack([pairs["hi"], pairs["lo"]], axis=1).astype(">u8").view(np.uint8).reshape(-1, 16)
        return pa.Array.from_buffers(row_id, len(raw), [None, pa.py_buffer(raw)])

    def save(self, folder: Path) -> None:
        """Two .npy files."""
        for name in ("keys", "component"):
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map what ``save`` wrote."""
        return cls(*(np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in ("keys", "component")))


class _Joiner:
    """Ids under way: 16 bytes an id, at the end some sixty more."""

    def __init__(self, p: FitComponents, classes: DuplicateClasses | None, documents: Documents | None) -> None:
        self.p, self.classes, self.documents = p, classes, documents
        self.tables: list[pa.Table] = []

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        self.tables.append(table.select([self.p.key, *self.p.by]))

    def merge(self, later: "_Joiner") -> None:
        """Take in later parts."""
        self.tables += later.tables

    def finish(self) -> Components:
        """Join the keys that share an id."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        empty = pa.schema([(name, kind) for name, kind in _reads(self.p).items()]).empty_table()
        table = pa.concat_tables([empty, *self.tables])
        code = codes([table[self.p.key]])[0]
        _, first = np.unique(code, return_index=True)
        keys = columns.id_pairs(table[self.p.key])[first].astype(PAIR)  # by id, as `codes` counts
        one, other, count = [np.empty(0, np.int64)], [np.empty(0, np.int64)], len(keys)
        for met in self._met(table, code).values():
            number = np.concatenate(codes([found for _, found in met]))
            one += [owner for owner, _ in met]
            other.append(number + count)
            count += int(number.max(initial=-1)) + 1
        ends = (np.concatenate(one), np.concatenate(other))
        graph = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(count, count))
        label = connected_components(graph, directed=False)[1][: len(keys)]
        _, least, place = np.unique(label, return_index=True, return_inverse=True)
        return Components(keys, keys[least[place]])

    def _met(self, table: pa.Table, code: Array) -> dict[str, list[tuple[Array, pa.Array]]]:
        """Ids that join the keys of a ``code``, by what they are ids of: passages in any column, classes, documents, others."""
        met: dict[str, list[tuple[Array, pa.Array]]] = {}
        for name in (self.p.key, *self.p.by):
            offsets, values = columns.flat(table[name]) if name.endswith("_ids") else _single(table[name])
            owner = code[parents(offsets)]
            if name not in self.p.passages:
                met.setdefault(name, []).append((owner, values))
                continue
            met.setdefault("passage_id", []).append((owner, values))
            if self.classes is not None:
                met.setdefault("classes", []).append((owner, self.classes.of(values)))
            if self.documents is not None:
                ends, found = self.documents.of(values)
                met.setdefault("doc_id", []).append((np.repeat(owner, np.diff(ends)), found))
        return met


def _single(column: pa.ChunkedArray) -> tuple[Array, pa.Array]:
    return np.arange(len(column) + 1), columns.one_array(column)


def measure_components(made: Components, p: FitComponents) -> dict[str, int]:
    """Ids, components, and the ids of the largest."""
    _, sizes = np.unique(np.asarray(made.component), return_counts=True)
    return {"ids": len(made.keys), "components": len(sizes), "ids in the largest": int(sizes.max(initial=0))}


def _floor(measured: Mapping[str, int], p: FitComponents) -> str | None:
    if measured["ids"] > 1 and measured["ids in the largest"] > p.max_share * measured["ids"]:
        told = f"{measured['ids in the largest']} of {measured['ids']} ids hang together, more than max_share {p.max_share:g}"
        return f"{told}: no split into shares is fair; drop what joins them, boilerplate say, or name fewer columns in by"
    return None


def _reads(p: FitComponents) -> Columns:
    return {name: ids if name.endswith("_ids") else row_id for name in (p.key, *p.by)}


@operator("build", version="1", reads=_reads, measure=measure_components, floor=_floor)
def fit_components(
    p: FitComponents, *, classes: DuplicateClasses | None = None, documents: Documents | None = None
) -> _Joiner:
    """N rows; `split_rows` then keeps each component on one side."""
    return _Joiner(p, classes, documents)


def example() -> Example:
    """Four queries, two of which share a positive."""
    w, x, y = columns.content_ids(["", "", ""], list("wxy")).to_pylist()
    table = pa.table({
        "query_id": columns.content_ids(list("abcd")), "positive_ids": pa.array([[w], [x, w], [y], []], ids),
    })  # fmt: skip
    return Example(table.sort_by("query_id"), FitComponents())
