"""Pair the texts that share a band, each with a bounded number of others: candidates, by ids alone.

Boilerplate fills a bucket with a hundred thousand texts; all its pairs would be five billion. A small bucket gives all
pairs. In a larger one each text is paired with those right before it in the order of `sign_bands`, which stand there
because they share more, with the first of its run of that order, and with the longest of all: n · (neighbours + 2) pairs,
which hold together whatever belongs together. Every other band gives a text other neighbours. From 64 · neighbours texts on
it has fewer, at last two: a class of 20,000 equal texts gave 6.1 million pairs of 18 bands, then 1.1 million.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import REJECTS, ROW, Columns, Example, Outcome, Params, operator, row_id, text
from operators.shingles import mixed

Array = np.ndarray[Any, Any]


class PairBands(Params):
    """How many others a text of a large bucket is paired with."""

    key: str = Field(default="passage_id", description="the column of the texts' ids")
    neighbours: int = Field(default=16, ge=1, le=1024, description="all pairs of a bucket up to 2 · neighbours + 1")


def _reads(p: PairBands) -> Columns:
    return {"band": row_id, p.key: row_id, "length": pa.int32(), "order": pa.uint64()}


@operator(
    "group", version="2", key="band", reads=_reads, closed=True,
    writes={"pair_id": row_id, "id_a": row_id, "id_b": row_id},
)  # fmt: skip
def pair_bands(table: pa.Table, p: PairBands) -> Outcome:
    """Rows of `sign_bands` in, pairs out with id_a < id_b; a pair of several bands comes as often.

    A pair stems from one of its two rows. The first row of a bucket, whose pairs stem from the others, is a reject, and so is
    a row that is alone or has an id that the bucket has already.
    """
    rows, bucket, order, again = _sorted(table, p.key)
    size = np.bincount(bucket)[bucket]
    heads = np.flatnonzero(np.diff(bucket, prepend=-1))
    first = np.repeat(heads, size[heads])
    late, early = _pairs(bucket, first, size, order >> np.uint64(32), p.neighbours)
    raw = columns.id_matrix(table[p.key])[rows]
    ids = columns.id_pairs(table[p.key])[rows]
    turned = _above(ids[early], ids[late])
    a, b = np.where(turned, late, early), np.where(turned, early, late)
    kept = pa.table({
        "pair_id": _packed(_pair_ids(ids[a], ids[b])), "id_a": _packed(raw[a]), "id_b": _packed(raw[b]),
        ROW: pa.array(table[ROW].to_numpy()[rows[late]], pa.int32()),
    })  # fmt: skip
    mask = np.ones(len(table), bool)
    mask[rows] = mask[again] = False
    told = rows[heads]
    alone = size[heads] == 1
    reasons = (
        (np.append(np.flatnonzero(mask), told[alone]), "alone in its bucket"), (again, "its id is in the bucket already"),
        (told[~alone], "in the pairs of its bucket's others"),
    )  # fmt: skip
    reason = pa.chunked_array([pa.repeat(pa.scalar(said, text), len(some)) for some, said in reasons])
    where = pa.array(table[ROW].to_numpy()[np.concatenate([some for some, _ in reasons])], pa.int32())
    return Outcome(kept, pa.table([where, reason, pa.repeat(pa.scalar("", text), len(where))], schema=REJECTS))


def _sorted(table: pa.Table, key: str) -> tuple[Array, Array, Array, Array]:
    """The rows of the buckets of several: by band, the longest first, then by order, length and id; their bucket and order.

    And those whose id the bucket has already, which are not among them. The table is sorted by band; most rows are alone.
    """
    band = columns.id_pairs(table["band"])
    fresh = np.append(True, band[1:] != band[:-1])[: len(band)]
    number = np.cumsum(fresh) - 1
    rows = np.flatnonzero(np.bincount(number)[number] > 1)
    ids, place = columns.id_pairs(table[key])[rows], table[ROW].to_numpy()[rows]
    by_id = np.lexsort((place, ids["lo"], ids["hi"], number[rows]))
    rows, ids = rows[by_id], ids[by_id]
    again = np.append(False, (ids[1:] == ids[:-1]) & (np.diff(number[rows]) == 0))[: len(rows)]
    doubled, rows = rows[again], rows[~again]
    bucket, order = number[rows], table["order"].to_numpy()[rows]
    length, at = -table["length"].to_numpy()[rows].astype(np.int64), np.arange(len(rows))
    others = np.ones(len(rows), bool)
    others[np.lexsort((at, length, bucket))[np.flatnonzero(np.diff(bucket, prepend=-1))]] = False
    whole = np.lexsort((at, length, order, others, bucket))
    return rows[whole], np.unique(bucket[whole], return_inverse=True)[1], order[whole], doubled


def _pairs(bucket: Array, first: Array, size: Array, run: Array, neighbours: int) -> tuple[Array, Array]:
    """Places (later, earlier) of the pairs of each bucket, every one once."""
    place = np.arange(len(bucket))
    fewer = np.clip(64 * neighbours**2 // size, min(neighbours, 2), neighbours)
    reach = np.where(size > 2 * neighbours + 1, fewer, size - 1)  # places back that a text is paired over
    fresh = (np.diff(bucket, prepend=-1) != 0) | (np.diff(run.astype(np.int64), prepend=-1) != 0)
    runs = np.maximum.accumulate(np.where(fresh, place, 0)) if len(place) else place
    late, early = [], []
    for back in range(1, int(reach.max(initial=0)) + 1):
        far = np.flatnonzero((place - first >= back) & (reach >= back))
        late.append(far)
        early.append(far - back)
    for other, known in ((runs, first), (first, place)):
        far = np.flatnonzero((place - other > reach) & (other != known))
        late.append(far)
        early.append(other[far])
    empty = np.empty(0, np.int64)
    return np.concatenate([empty, *late]), np.concatenate([empty, *early])


def _above(one: Array, other: Array) -> Array:
    found: Array = (one["hi"] > other["hi"]) | ((one["hi"] == other["hi"]) & (one["lo"] > other["lo"]))
    return found


def _pair_ids(a: Array, b: Array) -> Array:
    """(P, 2) big-endian: half of the first id, so that pairs lie where their texts do, and a hash of both ids."""
    return np.stack([a["hi"], mixed([a["hi"], a["lo"], b["hi"], b["lo"]], 3)], axis=1).astype(">u8")


def _packed(raw: Array) -> pa.Array:
    raw = np.ascontiguousarray(raw)
    return pa.Array.from_buffers(row_id, len(raw), [None, pa.py_buffer(raw)])


def example() -> Example:
    """A bucket of three texts, one of two, one that is alone."""
    said = [(b"b", b"1"), (b"b", b"2"), (b"b", b"3"), (b"c", b"1"), (b"c", b"2"), (b"d", b"4")]
    table = pa.table({
        "band": pa.array([band * 16 for band, _ in said], row_id), "passage_id": pa.array([one * 16 for _, one in said], row_id),
        "length": pa.array([9, 8, 9, 9, 8, 7], pa.int32()), "order": pa.array([5, 5, 6, 7, 7, 1], pa.uint64()),
    })  # fmt: skip
    return Example(table, PairBands())
