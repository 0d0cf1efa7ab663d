"""Compare listed passages by what they say: whole numbers that are equal where the texts are."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from operators import columns
from operators.contract import ContractError, row_id, text
from operators.index_texts import IndexTexts, Texts, index_texts

Array = np.ndarray[Any, Any]
_LONG = 2048  # characters of a passage whose runs are not kept by the thousand


def parents(offsets: Array) -> Array:
    """The row that each value of a flattened list column stands in: (M,) int64."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def codes(arrays: Sequence[pa.Array]) -> list[Array]:
    """The ids of all arrays as numbers from 0, in the order of the ids: one (M,) int64 an array."""
    known, number = _distinct(arrays)
    return _split(_ranks(known)[number], arrays)


def text_codes(texts: Texts, arrays: Sequence[pa.Array]) -> list[Array]:
    """`codes` of the passages' content, so that two ids of one text count as one."""
    known, number = _distinct(arrays)
    return _split(_text_ranks(texts, known)[number], arrays)


def both_codes(texts: Texts, arrays: Sequence[pa.Array]) -> tuple[list[Array], list[Array]]:
    """`codes` and `text_codes`."""
    known, number = _distinct(arrays)
    return _split(_ranks(known)[number], arrays), _split(_text_ranks(texts, known)[number], arrays)


def _distinct(arrays: Sequence[pa.Array]) -> tuple[pa.Array, Array]:
    """Every id of the arrays once, of a search's lists a tenth, and where each stands in it: the rest is done for so few."""
    chunks = [chunk for one in arrays for chunk in (one.chunks if isinstance(one, pa.ChunkedArray) else [one])]
    coded = pa.concat_arrays(chunks or [pa.array([], row_id)]).dictionary_encode()
    return coded.dictionary, coded.indices.to_numpy()


def _split(number: Array, arrays: Sequence[pa.Array]) -> list[Array]:
    return np.split(number, np.cumsum([len(one) for one in arrays])[:-1])


def _ranks(known: pa.Array) -> Array:
    """The place of each of these distinct ids (N,) among them by size: (N,) int64."""
    pairs = columns.id_pairs(known)
    rank = np.empty(len(pairs), np.int64)
    rank[np.lexsort((pairs["lo"], pairs["hi"]))] = np.arange(len(pairs))
    return rank


def _text_ranks(texts: Texts, known: pa.Array) -> Array:
    keys, number = _distinct([texts.keys(known)])
    return _ranks(keys)[number]


def told(texts: Texts, wanted: Iterable[bytes]) -> dict[bytes, str]:
    """The text of each of these ids, by id."""
    distinct = sorted(set(wanted))
    return dict(zip(distinct, texts.take(pa.array(distinct, row_id)).to_pylist(), strict=True))


def in_row(rows: Array, number: Array, of_rows: Array, of_number: Array) -> Array:
    """Whether each (row, number) is among the others: (M,) bool."""
    width = max(int(number.max(initial=0)), int(of_number.max(initial=0))) + 1
    asked, known = rows * width + number, np.sort(of_rows * width + of_number)
    if not len(known):
        return np.zeros(len(asked), bool)
    found: Array = known[np.minimum(np.searchsorted(known, asked), len(known) - 1)] == asked
    return found


def looked_up(rows: Array, number: Array, of_rows: Array, of_number: Array, value: Array) -> Array:
    """The value of each (row, number) among the others, which have ``value``: (M,) float64, NaN where it is not there."""
    width = max(int(number.max(initial=0)), int(of_number.max(initial=0))) + 1
    known, asked = of_rows * width + of_number, rows * width + number
    order = np.argsort(known, kind="stable")
    if not len(known):
        return np.full(len(asked), np.nan)
    at = np.minimum(np.searchsorted(known[order], asked), len(known) - 1)
    return np.where(known[order][at] == asked, value[order][at], np.nan)


def matches(wanted: Array, known: Array) -> tuple[Array, Array]:
    """Every pair of places that hold the same number, in ``wanted`` and in the sorted ``known``; by the first."""
    starts, ends = (np.searchsorted(known, wanted, side) for side in ("left", "right"))  # type: ignore[call-overload]
    counts = ends - starts
    return np.repeat(np.arange(len(wanted)), counts), columns.ragged(starts, counts)[1]


def best_of_each(rows: Array, number: Array, value: Array) -> Array:
    """Where the highest value of each (row, number) stands, the earliest of equals: a mask (M,)."""
    both = rows * (int(number.max(initial=0)) + 1) + number
    inorder, mask = np.sort(both), np.ones(len(rows), bool)
    again = inorder[1:][inorder[1:] == inorder[:-1]]
    if len(again):  # of a search's candidates few: sorting them all by two keys took six times as long
        at = np.flatnonzero(again[np.minimum(np.searchsorted(again, both), len(again) - 1)] == both)
        order = at[np.lexsort((-value[at], both[at]))]  # stable: of equals the earliest
        mask[order[1:][np.diff(both[order]) == 0]] = False
    return mask


def aligned(table: pa.Table, name: str, offsets: Array) -> Array:
    """The scores (M,) of a list column that stands beside ids with these offsets, NaN where there is none."""
    ends, values = columns.flat(table[name])
    if not np.array_equal(ends, offsets):
        raise ContractError(f"{name} is not aligned to its ids")
    return floats(values)


def floats(values: pa.Array) -> Array:
    """Scores as float64, null as NaN."""
    numbers: Array = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers


def indexed(passages: list[str]) -> tuple[list[bytes], Texts]:
    """The ids of passages without titles, and their texts: what an example needs."""
    table = pa.table({"title": pa.array([""] * len(passages), text), "passage": pa.array(passages, text)})
    table = table.append_column("passage_id", columns.content_ids([""] * len(passages), passages))
    fold = index_texts(IndexTexts())
    fold.add(table.sort_by("passage_id"), 0)
    return table["passage_id"].to_pylist(), fold.finish()


def echoes(table: pa.Table) -> Array:
    """Whether a row's query and passage say the same but for case and white space: (N,) bool."""
    said = []
    for part in columns.slices(table):
        both = zip(part["query"].to_pylist(), part["passage"].to_pylist(), strict=True)
        said += [columns.normalise(a).casefold() == columns.normalise(b).casefold() for a, b in both]
    return np.array(said, bool)


def near(texts: Texts, rows: Array, ids: pa.Array, of_rows: Array, of_ids: pa.Array, share: float) -> Array:
    """Whether each passage is nearly one that ``of_ids`` has in the same row: (M,) bool.

    Nearly: their lengths are within a factor of two, and of all their runs of three words they have ``share`` in common
    (Jaccard, as in Broder, "On the resemblance and containment of documents", 1997).
    """
    length, of_length = texts.lengths(ids), texts.lengths(of_ids)
    one, other = matches(rows, of_rows)
    short, long = np.minimum(length[one], of_length[other]), np.maximum(length[one], of_length[other])
    pairs = np.flatnonzero(2 * short >= long)
    one, other = one[pairs], other[pairs]
    # Row by row, so that few texts are held at a time.
    said, wanted = _texts_at(texts, ids, one), _texts_at(texts, of_ids, other)
    alike = [_jaccard(_runs(a), _runs(b)) >= share for a, b in zip(said, wanted, strict=True)]
    mask: Array = np.bincount(one[np.array(alike, bool)], minlength=len(rows)) > 0
    return mask


def _texts_at(texts: Texts, ids: pa.Array, where: Array) -> Iterator[str]:
    for start in range(0, len(where), columns.SLICE):
        yield from texts.take(ids.take(pa.array(where[start : start + columns.SLICE]))).to_pylist()


def _runs(passage: str) -> frozenset[tuple[str, ...]]:
    """`_cut_runs`, kept for a while."""
    return (_few if len(passage) > _LONG else _many)(passage)


def _cut_runs(passage: str) -> frozenset[tuple[str, ...]]:
    """The runs of three words of a text, of a shorter one all its words as one run; of letters where there are no blanks."""
    words = passage.casefold().split()
    if len(passage) > 16 * len(words):  # Japanese, Chinese or Thai
        words = list("".join(words))
    return frozenset(zip(*(words[i:] for i in range(3)), strict=False)) or frozenset([tuple(words)])


# Of 1,500 words they are 0.3 MB: 4,096 such documents took 1.3 GB a worker. 128 hold a row's candidates and its positives.
_few, _many = lru_cache(maxsize=128)(_cut_runs), lru_cache(maxsize=4096)(_cut_runs)


def _jaccard(one: frozenset[Any], other: frozenset[Any]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both)
