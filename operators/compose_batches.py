"""Compose batches of one source and one cluster (C35; Merrick arXiv:2407.18887, TAS-B arXiv:2104.06967).

In a batch no query text (case, white space and instruction aside) and no positive text stands twice, and no row's
positive is another's negative, so in-batch negatives are never false by content. A negative may serve several rows of
a batch: keeping those apart too made the batches of 1105 queries of scifact (64 rows, four negatives, short) 12 %
smaller, and left out 8 % of the rows under drop. Rerun whole: batches are a property of the whole set.
"""

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field

from operators.columns import content_ids, flat, id_matrix, id_pairs, normalise, row_seed, slices
from operators.content import text_codes
from operators.contract import Example, InputError, Params, ids, operator, row_id, text
from operators.index_texts import Texts

OPEN = 32  # batches of a stratum that are filled side by side; a row that fits none closes the oldest
PASSES = 16  # over the rows of closed batches; two do unless a few texts are everywhere
ASKED = "_asked"
PAIR = [("hi", "u8"), ("lo", "u8")]
Filled = tuple[list[list[int]], list[list[int]]]  # rows of the full batches, and of the others


class ComposeBatches(Params):
    """How large, within what, and what becomes of rows that fill no batch.

    ``remainder``: ``drop`` leaves out the rows of batches that are not full; ``short`` keeps those batches,
    short; ``mix`` pools the leftovers of all strata of a source, fills batches of that one source from them,
    and leaves out what is left then. ``seed`` and the rows' ids alone decide who meets whom.
    """

    batch_size: int = Field(default=64, ge=1)
    by: list[Literal["source", "cluster", "query_type"]] = ["source", "cluster"]
    remainder: Literal["drop", "short", "mix"] = "drop"
    negatives: bool = True  # whether rows carry hard negatives
    seed: int = Field(default=0, ge=0)


class Batches:
    """Where each query stands: its batch and its place in the set."""

    def __init__(self, keys: Any, batch: Any, position: Any) -> None:
        self.keys, self.batch, self.position = keys, batch, position  # (N,) sorted (hi, lo), int64, int64

    def __len__(self) -> int:
        """How many rows are in a batch."""
        return len(self.keys)

    @property
    def count(self) -> int:
        """How many batches there are."""
        return int(self.batch.max(initial=-1)) + 1

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
        self.asked: set[int] = set()
        self.positive: set[int] = set()
        self.negative: set[int] = set()

    def fits(self, asked: int, own: list[int], negative: list[int]) -> bool:
        apart = asked not in self.asked and self.positive.isdisjoint(own) and self.negative.isdisjoint(own)
        return apart and self.positive.isdisjoint(negative)

    def put(self, row: int, asked: int, own: list[int], negative: list[int]) -> None:
        self.rows.append(row)
        self.asked.add(asked)
        self.positive.update(own)
        self.negative.update(negative)


class _Contents:
    """What each row holds, as numbers that are equal where the texts are: some ten bytes an id."""

    def __init__(self, table: pa.Table, names: list[str], texts: Texts) -> None:
        self.offsets, values = zip(*(flat(table[name]) for name in names), strict=True)
        self.numbers = text_codes(texts, list(values))
        self.asked = table[ASKED].to_numpy()

    def of(self, row: int) -> list[list[int]]:
        """The contents of one row, a list a column."""
        pairs = zip(self.offsets, self.numbers, strict=True)
        return [numbers[offsets[row] : offsets[row + 1]].tolist() for offsets, numbers in pairs]


class _Composer:
    """Collects ids and strata; composes at the end."""

    def __init__(self, p: ComposeBatches, texts: Texts) -> None:
        self.p, self.texts = p, texts
        self.tables: list[pa.Table] = []

    def add(self, table: pa.Table, turn: int) -> None:
        """Keep the ids of one part, and eight bytes of each query."""
        kept = table.select([c for c in _reads(self.p) if c != "query"])
        self.tables.append(kept.append_column(ASKED, _asked(table)))

    def merge(self, later: "_Composer") -> None:
        """Keep the ids of later parts."""
        self.tables += later.tables

    def finish(self) -> Batches:
        """Fill the batches of every stratum, shuffle them, number their rows."""
        if not any(len(table) for table in self.tables):
            return Batches(np.empty(0, PAIR), np.empty(0, np.int64), np.empty(0, np.int64))
        table = pa.concat_tables(self.tables).combine_chunks()
        names = [bytes(k) for k in id_matrix(table["query_id"])]
        _refuse_repeats(names)
        order = sorted(range(len(table)), key=lambda i: (row_seed(self.p.seed, names[i]), names[i]))
        contents = _Contents(table, ["positive_ids", *(["negative_ids"] if self.p.negatives else [])], self.texts)
        full, loose = self._settle(order, _strata(table, self.p.by), contents)
        if self.p.remainder == "short":
            full += loose
        elif self.p.remainder == "mix":
            left = {r for rows in loose for r in rows}
            full += self._settle([r for r in order if r in left], _strata(table, ["source"]), contents)[0]
        full.sort(key=lambda rows: row_seed(self.p.seed, "batch", min(names[r] for r in rows)))
        return _numbered(full, table)

    def _settle(self, order: list[int], strata: list[Any], contents: _Contents) -> Filled:
        """Fill; then fill again from what was left over, as long as that makes full batches."""
        full, loose = self._fill(order, strata, contents)
        for _ in range(PASSES):
            left = {r for rows in loose for r in rows}
            more, rest = self._fill([r for r in order if r in left], strata, contents)
            if not more:
                break
            full, loose = full + more, rest
        return full, loose

    def _fill(self, order: list[int], strata: list[Any], contents: _Contents) -> Filled:
        """(full batches, those that are not) by first fit over the stratum's open batches."""
        open_ones: dict[Any, list[_Open]] = {}
        full, loose = [], []
        for row in order:
            asked, (own, *others) = int(contents.asked[row]), contents.of(row)
            negative = others[0] if others else []
            mine = open_ones.setdefault(strata[row], [])
            fitting = next((b for b in mine if b.fits(asked, own, negative)), None)
            if fitting is None:
                fitting = _Open()
                mine.append(fitting)
                if len(mine) > OPEN:
                    loose.append(mine.pop(0).rows)
            fitting.put(row, asked, own, negative)
            if len(fitting.rows) == self.p.batch_size:
                full.append(fitting.rows)
                mine.remove(fitting)
        return full, loose + [b.rows for mine in open_ones.values() for b in mine]


def _asked(table: pa.Table) -> pa.Array:
    """(N,) uint64, equal where two queries are, case and white space aside; by chance too, which only keeps them apart."""
    said = (q for part in slices(table.select(["query"])) for q in part["query"].to_pylist())
    hashes = [xxhash.xxh3_64_intdigest(normalise(q.casefold()).encode("utf-8", "surrogatepass")) for q in said]
    return pa.array(hashes, pa.uint64())


def _refuse_repeats(names: list[bytes]) -> None:
    seen: set[bytes] = set()
    for name in names:
        if name in seen:
            raise InputError(
                f"compose_batches: query {name.hex()} stands on more than one row; "
                "put group_positives, or drop_duplicates with key query_id, before it"
            )
        seen.add(name)


def _strata(table: pa.Table, by: list[Any]) -> list[Any]:
    return list(zip(*(table[c].to_pylist() for c in by), strict=True)) if by else [()] * len(table)


def _numbered(batches: list[list[int]], table: pa.Table) -> Batches:
    rows = np.array([r for b in batches for r in b], np.int64)
    batch = np.repeat(np.arange(len(batches)), [len(b) for b in batches]).astype(np.int64)
    keys = id_pairs(table["query_id"])[rows] if len(rows) else np.empty(0, PAIR)
    order = np.lexsort((keys["lo"], keys["hi"]))
    return Batches(keys[order], batch[order], np.arange(len(rows), dtype=np.int64)[order])


def _reads(p: ComposeBatches) -> dict[str, pa.DataType]:
    columns: dict[str, pa.DataType] = {"query_id": row_id, "query": text, "positive_ids": ids}
    columns |= {c: pa.int32() if c == "cluster" else text for c in [*p.by, *(["source"] if p.remainder == "mix" else [])]}
    return columns | ({"negative_ids": ids} if p.negatives else {})


@operator("build", version="3", reads=_reads)
def compose_batches(p: ComposeBatches, *, texts: Texts) -> _Composer:
    """N rows, ids and a hash of the query only: with two lists of ten ids, some four hundred bytes a row are held."""
    return _Composer(p, texts)


def example() -> Example:
    """Five rows of two clusters; two rows share a positive."""
    from operators.index_texts import IndexTexts, index_texts

    names = sorted(content_ids(["", "", "", ""], list("wxyz")).to_pylist())
    fold = index_texts(IndexTexts())
    fold.add(pa.table({"passage_id": pa.array(names, row_id), "title": pa.array([""] * 4, text),
                       "passage": pa.array(["w", "x", "y", "z"], text)}), 0)  # fmt: skip
    w, x, y, z = names
    table = pa.table({
        "query_id": content_ids(list("abcde")), "query": pa.array(list("abcde"), text),
        "positive_ids": pa.array([[w], [w], [x], [y], [z]], ids),
        "negative_ids": pa.array([[x], [y], [w], [w], [w]], ids), "source": pa.array(["s"] * 5, text),
        "cluster": pa.array([0, 0, 1, 1, 1], pa.int32()),
    })  # fmt: skip
    return Example(table, ComposeBatches(batch_size=2, remainder="short"), {"texts": fold.finish()})
