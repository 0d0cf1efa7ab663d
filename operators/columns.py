"""Row identity and the small pyarrow moves that operators share."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from operators.contract import InputError, row_id
from operators.normal_form import normal

_FOLDED = 1 << 18  # bytes
SLICE = 8192  # rows turned into Python objects at a time, so that memory stays flat


def normalise(value: str) -> str:
    """NFC, white space folded to single spaces, ends stripped: what identity is taken of."""
    # `split` knows the same white space as the pattern \s, of which it took a seventh of the time.
    return " ".join(normal(value).split())


def content_id(*fields: str) -> bytes:
    """128 bits of the normalised fields: `doc_id` of (title, text), `passage_id` of (title, passage),
    `query_id` of (query, instruction)."""  # noqa: D205, D209
    return xxhash.xxh3_128_digest("\x1f".join(map(normalise, fields)).encode("utf-8", "surrogatepass"))


def content_ids(*columns: Iterable[str]) -> pa.Array:
    """`content_id` of every row, as binary(16)."""
    made = [xxhash.xxh3_128_digest(b"\x1f".join(row)) for row in zip(*map(_normalised, columns), strict=True)]
    return pa.Array.from_buffers(row_id, len(made), [None, pa.py_buffer(b"".join(made))])


def _normalised(values: Iterable[str]) -> Iterator[bytes]:
    """`normalise` of each value as UTF-8, white space folded in some `_FOLDED` bytes at once: seven tenths of the time."""
    held, size = list[bytes](), 0
    for value in values:
        held.append(normal(value).encode("utf-8", "surrogatepass"))
        size += len(held[-1]) + 1
        if size >= _FOLDED:
            yield from _folded(held)
            held, size = [], 0
    yield from _folded(held)


def _folded(values: list[bytes]) -> Iterator[bytes]:
    if not values:
        return
    table, codes = _blanks()
    raw = np.frombuffer((b"\n".join(values) + b"\n\n\n").translate(table), np.uint8)
    blank = raw == 32
    lead = np.flatnonzero((raw == 0xC2) | (raw - np.uint8(0xE1) <= 2))  # what other white space begins with
    for width, known in codes.items() if len(lead) else ():
        found = lead[np.isin(sum(raw[lead + i].astype(np.int64) << 8 * i for i in range(width)), known)]
        for i in range(width):
            blank[found + i] = True
    raw = np.where(blank, np.uint8(32), raw)
    gone = blank.copy()
    gone[1:] &= blank[:-1]  # of a run of blanks the first stays, so one behind each text that says something
    told, gone = raw[~gone].tobytes(), np.flatnonzero(gone)
    ends = np.cumsum([len(value) + 1 for value in values])
    stops = (ends - np.searchsorted(gone, ends)).tolist()
    yield from (told[a : max(b - 1, a)] for a, b in zip([0, *stops], stops, strict=False))


@lru_cache(maxsize=1)
def _blanks() -> tuple[bytes, dict[int, np.ndarray[Any, Any]]]:
    """Bytes with one blank for all of ASCII, as `str.split` knows them; of others the bytes, as a number, by how many."""
    codes: dict[int, list[int]] = {1: [], 2: [], 3: []}
    for one in (chr(point).encode() for point in range(1 << 16) if chr(point).isspace()):
        codes[len(one)].append(int.from_bytes(one, "little"))
    table = bytes(32 if byte in codes[1] else byte for byte in range(256))
    return table, {width: np.array(codes[width]) for width in (2, 3)}


def renewed(table: pa.Table, identify: Mapping[str, Sequence[str]], changed: np.ndarray[Any, Any]) -> pa.Table:
    """The ids of the rows whose text ``changed`` (N,) made anew of these columns, "" being an empty one; the rest stay."""
    where = pa.array(np.flatnonzero(changed))
    for name, of in identify.items():
        rows = table.take(where)
        ids = content_ids(*(rows[c].to_pylist() if c else [""] * len(rows) for c in of))
        table = put(table, name, pc.replace_with_mask(table[name].combine_chunks(), pa.array(changed), ids))
    return table


def row_seed(seed: int, *key: str | bytes | int) -> int:
    """Seed a row by what it is, never by where it stands, so that no cut changes the result."""
    return xxhash.xxh3_64_intdigest(repr((seed, *key)).encode()) >> 1


def draws(column: pa.Array | pa.ChunkedArray, seed: int) -> np.ndarray[Any, Any]:
    """A number of 64 bits for each id, by the id and the seed alone: (N,) uint64."""
    wide = id_pairs(column)
    return mix(wide["hi"] ^ mix(wide["lo"] ^ mix(np.array([seed], np.uint64))))


def mix(number: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """splitmix64 (Steele, Lea and Flood, 2014) of each number: (N,) uint64."""
    number = number.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray[Any, Any] = number ^ (number >> np.uint64(31))
    return mixed


def one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as one array; a single chunk as it is, which `combine_chunks` would copy."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def id_matrix(column: pa.Array | pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """A binary(16) column as (N,) big-endian sortable numpy bytes ``V16`` viewed as ``S16``-free void."""
    array = one_array(column)
    raw = np.frombuffer(array.buffers()[1] or b"", dtype=np.uint8)
    return raw[array.offset * 16 : (array.offset + len(array)) * 16].reshape(-1, 16)


def id_pairs(column: pa.Array | pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """A binary(16) column as (N,) structured (hi, lo) uint64: sorts and searches as the bytes do."""
    wide = np.ascontiguousarray(id_matrix(column)).view(">u8").astype("u8")
    return wide.view([("hi", "u8"), ("lo", "u8")]).reshape(-1)


def told_apart(keys: pa.Array, by: pa.Array | None = None) -> pa.Array:
    """Each key (N,) with which of its rows it is, in the order of ``by`` or as they stand: (N,) binary(24), no two alike."""
    pairs = id_pairs(keys)
    inner = () if by is None else (id_pairs(by)["lo"], id_pairs(by)["hi"])
    order = np.lexsort((*inner, pairs["lo"], pairs["hi"]))
    fresh = np.ones(len(order), bool)
    fresh[1:] = pairs[order][1:] != pairs[order][:-1]
    starts = np.flatnonzero(fresh)
    times = np.empty(len(order), ">u8")
    times[order] = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    wide = np.ascontiguousarray(np.concatenate([id_matrix(keys), times.view(np.uint8).reshape(-1, 8)], axis=1))
    return pa.Array.from_buffers(pa.binary(24), len(keys), [None, pa.py_buffer(wide)])


def hexed(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A binary(16) column as people see ids: 32 hex digits."""
    raw, ends = id_matrix(column), np.arange(len(column) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(len(column), pa.py_buffer(ends), pa.py_buffer(raw.tobytes().hex().encode()))


def places(hi: np.ndarray[Any, Any], lo: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where each wanted id, as of `id_pairs`, stands among sorted ones by their halves: (N,) int64, -1 where it does not."""
    rows = np.full(len(wanted), -1, np.int64)
    if not len(hi):
        return rows
    at = np.searchsorted(hi, wanted["hi"])
    behind = np.flatnonzero(hi[np.minimum(at + 1, len(hi) - 1)] == wanted["hi"])
    for i in behind[at[behind] + 1 < len(hi)]:  # equal upper halves: 1 in 2**64 but for a contrived id
        end = np.searchsorted(hi, wanted["hi"][i], side="right")
        at[i] += np.searchsorted(lo[at[i] : end], wanted["lo"][i])
    near = np.minimum(at, len(hi) - 1)
    known = (hi[near] == wanted["hi"]) & (lo[near] == wanted["lo"])
    rows[known] = near[known]
    return rows


def ranks(hi: np.ndarray[Any, Any], lo: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """How many of the sorted ids, by their halves, are smaller than each wanted one: (N,) int64."""
    at, end = (np.searchsorted(hi, wanted["hi"], side) for side in ("left", "right"))
    one = np.flatnonzero(end - at == 1)
    at[one] += lo[at[one]] < wanted["lo"][one]
    for i in np.flatnonzero(end - at > 1):  # equal upper halves, as in `places`
        at[i] += np.searchsorted(lo[at[i] : end[i]], wanted["lo"][i])
    return at


def buckets(column: pa.Array | pa.ChunkedArray, count: int) -> np.ndarray[Any, Any]:
    """Which of ``count`` buckets each id falls into: (N,) int64, a range of ids a bucket.

    Ranges, not remainders: parts in bucket order are the table in id order, whatever the count.
    """
    top = np.ascontiguousarray(id_matrix(column)[:, :4]).view(">u4").reshape(-1).astype(np.uint64)
    return ((top * np.uint64(count)) >> np.uint64(32)).astype(np.int64)


def flat(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray[Any, Any], pa.Array]:
    """A list column as (offsets (N+1,), values (M,)), with the offsets starting at 0."""
    array = one_array(column)
    offsets = array.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0], array.flatten()


def ragged(starts: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The ``sizes`` (N,) places from ``starts`` (N,) on, one run behind the other: offsets (N+1,) into the places (M,)."""
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return offsets, np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)


def lists(offsets: np.ndarray[Any, Any], values: pa.Array) -> pa.Array:
    """The list column with these (N+1,) offsets into ``values``."""
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def shown(table: pa.Table) -> list[str]:
    """Each row's passage as a model reads it: the title, if there is one, on a line above."""
    both = zip(table["title"].to_pylist(), table["passage"].to_pylist(), strict=True)
    return [f"{title}\n{passage}" if title else passage for title, passage in both]


def vectors(column: pa.Array | pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """A column of equally long float lists as an (N, d) float32 matrix."""
    offsets, values = flat(column)
    rows, sizes = len(offsets) - 1, np.diff(offsets)
    if (sizes != sizes[:1]).any():
        raise InputError(f"vectors of {sizes.min()} and of {sizes.max()} numbers are in one column; embed all with one encoder")
    return values.to_numpy(zero_copy_only=False).reshape(rows, -1) if rows else np.zeros((0, 0), np.float32)


def repeat(table: pa.Table, times: int | Sequence[int]) -> pa.Table:
    """Repeat each row ``times`` times, in order."""
    return table.take(pa.array(np.repeat(np.arange(len(table)), times)))


def apart(**names: str) -> None:
    """Raise a `ValueError` where two params name one column to write, which would hold what the later one wrote."""
    for name, column in names.items():
        if twice := [other for other in names if other != name and names[other] == column]:
            raise ValueError(f"{name} and {twice[0]} both name the column {column!r}; give each its own")


def put(table: pa.Table, name: str, values: Any) -> pa.Table:
    """Add the column ``name``, or set it where it is there already."""
    at = table.schema.get_field_index(name)
    return table.append_column(name, values) if at < 0 else table.set_column(at, name, values)


def slices(table: pa.Table, size: int = SLICE) -> Iterator[pa.Table]:
    """The table in slices of at most ``size`` rows."""
    return (table.slice(i, size) for i in range(0, len(table), size))


def row_keys(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """`_key`: 128 bits of each row's values in ``columns``: (N,) binary(16)."""
    if not columns:  # a slice of a table without columns has as many rows as it was asked for
        return pa.array([xxhash.xxh3_128_digest(b"")] * len(table), row_id)
    keys: list[bytes] = []
    for part in slices(table):
        if fixed := _fixed_bytes(part, columns):
            wide, width = fixed
            keys += [xxhash.xxh3_128_digest(wide[i : i + width]) for i in range(0, len(wide), width)]
            continue
        for values in zip(*(_field_bytes(part[name]) for name in columns), strict=True):
            hasher = xxhash.xxh3_128()
            for value in values:
                hasher.update(len(value).to_bytes(8, "little"))
                hasher.update(value)
            keys.append(hasher.digest())
    return pa.array(keys, row_id)


def _fixed_bytes(table: pa.Table, columns: Sequence[str]) -> tuple[bytes, int] | None:
    """What `row_keys` hashes of rows whose columns are all ids, and bytes a row: a tenth of the time of a loop over values."""
    if not len(table) or any(table.schema.field(name).type != row_id or table[name].null_count for name in columns):
        return None
    size = np.broadcast_to(np.frombuffer((16).to_bytes(8, "little"), np.uint8), (len(table), 8))
    beside = [one for name in columns for one in (size, id_matrix(table[name]))]
    return np.concatenate(beside, axis=1).tobytes(), 24 * len(columns)


def _field_bytes(column: pa.ChunkedArray) -> list[bytes]:
    array = one_array(column)
    if pa.types.is_string(array.type):
        return [v.encode("utf-8", "surrogatepass") for v in array.to_pylist()]
    if pa.types.is_binary(array.type) or pa.types.is_fixed_size_binary(array.type):
        return list(array.to_pylist())
    if pa.types.is_list(array.type):
        (offsets, values), inner = flat(array), array.type.value_type
        if not array.null_count and not values.null_count and (pa.types.is_floating(inner) or inner == row_id):
            raw = id_matrix(values) if inner == row_id else values.to_numpy(zero_copy_only=False)
            wide, size = raw.tobytes(), raw.itemsize * (16 if inner == row_id else 1)
            return [wide[a:b] for a, b in zip(offsets[:-1] * size, offsets[1:] * size, strict=True)]
    return [repr(v).encode() for v in array.to_pylist()]
