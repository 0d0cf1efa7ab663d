"""Pair the texts that share a band, each with a bounded number of others: candidates, by ids alone.

Boilerplate fills a bucket with a hundred thousand texts; all its pairs would be five billion. A small bucket gives all
pairs. In a larger one each text is paired with those right before it in the order of `sign_bands`, which stand there
because they share more, with the first of its run of that order, and with the longest of all: n · (neighbours + 2) pairs,
which hold together whatever belongs together. Every other band gives a text other neighbours.
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
    "group", version="1", key="band", reads=_reads, closed=True,
    writes={"pair_id": row_id, "id_a": row_id, "id_b": row_id},
)  # fmt: skip
def pair_bands(table: pa.Table, p: PairBands) -> Outcome:
    """Rows of `sign_bands` in, pairs out with id_a < id_b; a pair of several bands comes as often.

    A pair stems from one of its two rows. The first row of a bucket, whose pairs stem from the others, is a reject, and so is
    a row that is alone or has an id that the bucket has already.
    """
    rows, bucket, order = _sorted(table, p.key)
    ids = columns.id_pairs(table[p.key])[rows]
    heads = np.flatnonzero(np.diff(bucket, prepend=-1))
    first, size = np.repeat(heads, np.diff(np.append(heads, len(rows)))), np.bincount(bucket)[bucket]
    late, early = _pairs(bucket, first, size, order >> np.uint64(32), p.neighbours)
    turned = _above(ids[early], ids[late])
    a, b = np.where(turned, late, early), np.where(turned, early, late)
    raw = columns.id_matrix(table[p.key])[rows]
    kept = pa.table({
        "pair_id": _packed(_pair_ids(ids[a], ids[b])), "id_a": _packed(raw[a]), "id_b": _packed(raw[b]),
        ROW: pa.array(table[ROW].to_numpy()[rows[late]], pa.int32()),
    })  # fmt: skip
    again = np.setdiff1d(np.arange(len(table)), rows)
    alone, told = rows[heads][size[heads] == 1], rows[heads][size[heads] > 1]
    reasons = (
        (again, "its id is in the bucket already"), (alone, "alone in its bucket"), (told, "in the pairs of its bucket's others"),
    )  # fmt: skip
    reason = pa.array([said for some, said in reasons for _ in range(len(some))], text)
    where = pa.array(table[ROW].to_numpy()[np.concatenate([some for some, _ in reasons])], pa.int32())
    return Outcome(kept, pa.table([where, reason, pa.array([""] * len(where), text)], schema=REJECTS))


def _sorted(table: pa.Table, key: str) -> tuple[Array, Array, Array]:
    """Rows of distinct (band, id): by band, the longest first, then by order, length and id; their bucket and order."""
    band, ids = columns.id_pairs(table["band"]), columns.id_pairs(table[key])
    length, order = -table["length"].to_numpy().astype(np.int64), table["order"].to_numpy()
    by_id = np.lexsort((table[ROW].to_numpy(), ids["lo"], ids["hi"], band["lo"], band["hi"]))
    fresh = np.ones(len(by_id), bool)
    fresh[1:] = (band[by_id][1:] != band[by_id][:-1]) | (ids[by_id][1:] != ids[by_id][:-1])
    rows = by_id[fresh]
    band, length, order = band[rows], length[rows], order[rows]
    bucket = np.cumsum(np.append(False, band[1:] != band[:-1])) if len(rows) else np.zeros(0, np.int64)
    longest = np.ones(len(rows), np.int64)
    by_length = np.lexsort((np.arange(len(rows)), length, bucket))
    longest[by_length[np.flatnonzero(np.diff(bucket, prepend=-1))]] = 0
    whole = np.lexsort((np.arange(len(rows)), length, order, longest, bucket))
    return rows[whole], bucket[whole].astype(np.int64), order[whole]


def _pairs(bucket: Array, first: Array, size: Array, run: Array, neighbours: int) -> tuple[Array, Array]:
    """Places (later, earlier) of the pairs of each bucket, every one once."""
    place = np.arange(len(bucket))
    reach = np.where(size > 2 * neighbours + 1, neighbours, size - 1)  # places back that a text is paired over
    fresh = (np.diff(bucket, prepend=-1) != 0) | (np.diff(run.astype(np.int64), prepend=-1) != 0)
    fresh |= place == first + 1  # the longest stands first, out of its order
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
