"""Compose batches of one source and one cluster (C35; Merrick arXiv:2407.18887, TAS-B arXiv:2104.06967).

In a batch no query, no passage and no text stands twice, and no row's positive is another's negative, so
in-batch negatives are never false by content. Rerun whole: batches are a property of the whole set.
"""

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.columns import flat, id_matrix, id_pairs, row_seed
from operators.contract import Example, Params, ids, operator, row_id, text
from operators.index_texts import Texts

OPEN = 32  # batches of a stratum that are filled side by side; a row that fits none opens another


class ComposeBatches(Params):
    """How large, within what, and what becomes of rows that fill no batch.

    ``remainder``: ``drop`` leaves out batches that are not full; ``short`` keeps them short; ``mix`` fills
    batches of one source from the leftovers of its clusters first and drops what is left then.
    """

    batch_size: int = Field(default=64, ge=1)
    by: list[Literal["source", "cluster", "query_type"]] = ["source", "cluster"]
    remainder: Literal["drop", "short", "mix"] = "drop"
    negatives: bool = True  # whether rows carry hard negatives
    seed: int = 0


class Batches:
    """Where each query stands: its batch and its place in the set."""

    def __init__(self, keys: Any, batch: Any, position: Any) -> None:
        self.keys, self.batch, self.position = keys, batch, position  # (N,) sorted (hi, lo), int64, int64

    def save(self, folder: Path) -> None:
        """Three .npy files."""
        for name in ("keys", "batch", "position"):
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map what ``save`` wrote."""
        names = ("keys", "batch", "position")
        return cls(*(np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in names))


class _Open:
    """A batch being filled: its rows, and the contents that stand in it."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.seen: set[bytes] = set()  # queries and positives
        self.negative: set[bytes] = set()

    def fits(self, own: set[bytes], negative: set[bytes]) -> bool:
        return self.seen.isdisjoint(own) and self.negative.isdisjoint(own) and self.seen.isdisjoint(negative)

    def put(self, row: int, own: set[bytes], negative: set[bytes]) -> None:
        self.rows.append(row)
        self.seen |= own
        self.negative |= negative


class _Composer:
    """Collects ids and strata; composes at the end."""

    def __init__(self, p: ComposeBatches, texts: Texts) -> None:
        self.p, self.texts = p, texts
        self.tables: list[pa.Table] = []

    def add(self, table: pa.Table, turn: int) -> None:
        """Keep the ids of one part."""
        self.tables.append(table)

    def merge(self, later: "_Composer") -> None:
        """Keep the ids of later parts."""
        self.tables += later.tables

    def finish(self) -> Batches:
        """Fill the batches of every stratum, shuffle them, number their rows."""
        table = pa.concat_tables(self.tables).combine_chunks()
        if not len(table):
            return Batches(np.empty(0, [("hi", "u8"), ("lo", "u8")]), np.empty(0, np.int64), np.empty(0, np.int64))
        own, negative = self._contents(table)
        strata = _strata(table, self.p.by)
        order = sorted(range(len(table)), key=self._draw(table))
        full, loose = self._fill(order, strata, own, negative)
        if self.p.remainder == "short":
            full += loose
        elif self.p.remainder == "mix":
            left = {r for rows in loose for r in rows}
            sources = _strata(table, ["source"])
            full += self._fill([r for r in order if r in left], sources, own, negative)[0]
        names = id_matrix(table["query_id"])
        full.sort(key=lambda rows: row_seed(self.p.seed, "batch", min(bytes(names[r]) for r in rows)))
        return _numbered(full, table)

    def _draw(self, table: pa.Table) -> Any:
        keys = [row_seed(self.p.seed, bytes(k)) for k in id_matrix(table["query_id"])]
        names = [bytes(k) for k in id_matrix(table["query_id"])]
        return lambda i: (keys[i], names[i])

    def _contents(self, table: pa.Table) -> tuple[list[set[bytes]], list[set[bytes]]]:
        own = self._keys_of(table["positive_ids"])
        for row, key in zip(own, id_matrix(table["query_id"]), strict=True):
            row.add(bytes(key))
        negative: list[set[bytes]] = [set() for _ in own]
        return own, self._keys_of(table["negative_ids"]) if self.p.negatives else negative

    def _keys_of(self, column: pa.ChunkedArray) -> list[set[bytes]]:
        offsets, values = flat(column)
        keys = self.texts.keys(values).to_pylist() if len(values) else []
        return [set(keys[a:b]) for a, b in zip(offsets, offsets[1:], strict=False)]

    def _fill(self, order: list[int], strata: list[Any], own: list[set[bytes]], negative: list[set[bytes]]) -> Any:
        """(full batches, those that are not) by first fit over the stratum's open batches."""
        open_ones: dict[Any, list[_Open]] = {}
        full, loose = [], []
        for row in order:
            mine = open_ones.setdefault(strata[row], [])
            fitting = next((b for b in mine if b.fits(own[row], negative[row])), None)
            if fitting is None:
                fitting = _Open()
                mine.append(fitting)
                if len(mine) > OPEN:
                    loose.append(mine.pop(0).rows)
            fitting.put(row, own[row], negative[row])
            if len(fitting.rows) == self.p.batch_size:
                full.append(fitting.rows)
                mine.remove(fitting)
        return full, loose + [b.rows for mine in open_ones.values() for b in mine]


def _strata(table: pa.Table, by: list[Any]) -> list[Any]:
    return list(zip(*(table[c].to_pylist() for c in by), strict=True)) if by else [()] * len(table)


def _numbered(batches: list[list[int]], table: pa.Table) -> Batches:
    rows = np.array([r for b in batches for r in b], np.int64)
    batch = np.repeat(np.arange(len(batches)), [len(b) for b in batches]).astype(np.int64)
    keys = id_pairs(table["query_id"])[rows] if len(rows) else np.empty(0, [("hi", "u8"), ("lo", "u8")])
    order = np.argsort(keys, order=("hi", "lo"))
    return Batches(keys[order], batch[order], np.arange(len(rows), dtype=np.int64)[order])


def _reads(p: ComposeBatches) -> dict[str, pa.DataType]:
    columns: dict[str, pa.DataType] = {"query_id": row_id, "positive_ids": ids}
    columns |= {c: pa.int32() if c == "cluster" else text for c in [*p.by, *(["source"] if p.remainder == "mix" else [])]}
    return columns | ({"negative_ids": ids} if p.negatives else {})


@operator("build", version="1", reads=_reads)
def compose_batches(p: ComposeBatches, *, texts: Texts) -> _Composer:
    """N rows, ids only: some hundred bytes a row are held."""
    return _Composer(p, texts)


def example() -> Example:
    """Five rows of two clusters; two rows share a positive."""
    from operators.columns import content_ids
    from operators.index_texts import IndexTexts, index_texts

    names = sorted(content_ids(["", "", "", ""], list("wxyz")).to_pylist())
    fold = index_texts(IndexTexts())
    fold.add(pa.table({"passage_id": pa.array(names, row_id), "title": pa.array([""] * 4, text),
                       "passage": pa.array(["w", "x", "y", "z"], text)}), 0)  # fmt: skip
    w, x, y, z = names
    table = pa.table({
        "query_id": content_ids(list("abcde")), "positive_ids": pa.array([[w], [w], [x], [y], [z]], ids),
        "negative_ids": pa.array([[x], [y], [w], [w], [w]], ids), "source": pa.array(["s"] * 5, text),
        "cluster": pa.array([0, 0, 1, 1, 1], pa.int32()),
    })  # fmt: skip
    return Example(table, ComposeBatches(batch_size=2, remainder="short"), {"texts": fold.finish()})
