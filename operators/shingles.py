"""Shingles of a text as 64-bit numbers, their MinHash signature and the Jaccard of two texts; all in numpy, a slice at a time.

Shingles are the runs of words or of characters of Broder, "On the resemblance and containment of documents", 1997. The
number of a run is a rolling polynomial hash (Karp and Rabin, 1987) modulo 2**64: a difference of two prefix sums, so a run of
64 words costs as much as one of five. A word is such a hash of its characters' numbers, a run of words one of the words'. Each
is mixed at the end, since the low bits of such a hash are poor.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from operators import columns
from operators.contract import Params
from operators.index_texts import Texts
from operators.normal_form import normal
from operators.sentences import UNSPACED_RANGES

Array = np.ndarray[Any, Any]
_WRAP, _BASE, _MIX = 1 << 64, 0x9E3779B97F4A7C15, np.uint64(0xD6E8FEB86659FD93)
_INVERSE = pow(_BASE, -1, _WRAP)
_BLANK, _ALONE = 1, 2  # kinds of characters: white space, and of scripts that set none: each is a word
_CHARS = 1 << 17  # bytes of text hashed at once: 1 MB an array, which a core's cache holds
_READ = 1 << 25  # characters of the texts whose sets are held at once: at most 256 MB, a sixth of that where words are cut
_TAKEN = 1 << 22  # characters that are shingled at once
_PAIRED = 1 << 21  # shingles of the pairs compared at once
_ROW = 20  # bits of a row beside a shingle's upper 44; fixed, so that what else is compared changes no bit of a Jaccard


class Shingles(Params):
    """What a text is cut into. The steps of one chain (sign, link, fit) are refused where they are given different ones.

    A text below ``min_words`` and one above it are cut apart and have nothing in common, though they differ by a word.
    """

    words: int = Field(default=5, ge=1, le=64, description="words of a shingle")
    characters: int = Field(default=5, ge=1, le=64, description="characters of a shingle of a text below min_words")
    min_words: int = Field(default=9, ge=0, description="texts of fewer words are cut into characters; 0: none is")


def cut_as(p: Shingles) -> Mapping[str, int]:
    """What the steps of a chain must agree on."""
    return {"words": p.words, "characters": p.characters, "min_words": p.min_words}


def folded(value: str) -> str:
    """A text as it is compared, but for white space, of which every run counts as one blank: NFC, casefolded."""
    return normal(value).casefold()


def shingled(texts: pa.Array, p: Shingles) -> Iterator[tuple[int, Array, Array]]:
    """Of strings (N,): (first row, rows (M,) from it, rising, shingles (M,) uint64), some `_CHARS` bytes of text at a time.

    A text too short for a run is one shingle, one without a word has none. A shingle may come more than once. A longer text
    than `_CHARS` comes alone: some 40 bytes a character at most.
    """
    sizes = pc.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    for part in _runs_of(sizes, _CHARS):
        said = [folded(value) for value in texts.slice(part.start, part.stop - part.start).to_pylist()]
        for rows, numbers in _hashed(said, p):
            if len(rows):
                yield part.start, rows, numbers


def _hashed(said: list[str], p: Shingles) -> Iterator[tuple[Array, Array]]:
    """Of folded texts: the rows and the numbers of their runs of words, then of those that are cut into characters."""
    kinds, values = _characters()
    points = np.frombuffer(("\n".join(said) + "\n").encode("utf-32-le"), "<u4").astype(np.intp)  # a blank behind each text
    ends = np.cumsum([len(value) + 1 for value in said])
    kind = kinds[points]
    solid = kind != _BLANK
    # A word begins behind a blank and ends before one; a character of a script without blanks is one, whatever is beside it.
    edge = (kind[1:] | kind[:-1]) != 0
    starts = np.flatnonzero(solid & np.append(True, edge))
    stops = np.flatnonzero(solid & np.append(edge, True)) + 1
    last = np.searchsorted(starts, ends)
    counts = np.diff(last, prepend=0)
    by_words = counts >= p.min_words
    each = values[points]
    words = _finished(_rolled(each, starts, stops))
    rows = np.flatnonzero(by_words & (counts > 0))
    a, b, row = _runs(last[rows] - counts[rows], counts[rows], p.words)
    yield rows[row], _finished(_rolled(words, a, b))
    rows = np.flatnonzero(~by_words & (counts > 0))
    if len(rows):
        keep = solid | np.append(False, solid[:-1])  # of blanks the first
        keep[stops[last[rows] - 1]] = False  # but not that behind the last word
        size = np.diff(ends, prepend=0)
        offsets, at = columns.ragged(ends[rows] - size[rows], size[rows])
        kept = keep[at]
        counted = np.append(0, np.cumsum(kept))[offsets]
        a, b, row = _runs(counted[:-1], np.diff(counted), p.characters)
        yield rows[row], _finished(_rolled(each[at[kept]], a, b))


@lru_cache(maxsize=1)
def _characters() -> tuple[Array, Array]:
    """Of each code point whether it is a letter, a blank or a word of its own, and its number; every blank has one."""
    kinds = np.zeros(sys.maxunicode + 1, np.uint8)
    for first, last in UNSPACED_RANGES:
        kinds[first : last + 1] = _ALONE
    blanks = [point for point in range(1 << 16) if chr(point).isspace()]
    kinds[blanks] = _BLANK
    values = columns.mix(np.arange(len(kinds), dtype=np.uint64))
    values[blanks] = values[ord(" ")]
    return kinds, values


def _rolled(values: Array, starts: Array, ends: Array) -> Array:
    """The polynomial hash of each range of values (M,), which begin and end in rising order: (N,) uint64."""
    powers, inverse = _powers(_CHARS)
    before, until, back = np.empty((3, len(starts)), np.uint64)
    carry, scale, unscale = 0, 1, 1
    for low in range(0, len(values), _CHARS):
        size = min(_CHARS, len(values) - low)
        sums = np.zeros(size + 1, np.uint64)
        np.cumsum(values[low : low + size] * powers[:size], out=sums[1:])
        if low:  # what stands before this piece
            sums *= np.uint64(scale)
            sums += np.uint64(carry)
        a, b = np.searchsorted(starts, (low, low + size))
        at = starts[a:b] - low
        before[a:b], back[a:b] = sums[at], inverse[at] * np.uint64(unscale)
        a, b = np.searchsorted(ends, (low, low + size), "right")
        until[a:b] = sums[ends[a:b] - low]
        carry, scale, unscale = int(sums[-1]), scale * int(powers[size]) % _WRAP, unscale * int(inverse[size]) % _WRAP
    until -= before
    until *= back
    return until


def _runs(first: Array, counts: Array, size: int) -> tuple[Array, Array, Array]:
    """Where each run of ``size`` of the ``counts`` (T,) > 0 units from ``first`` on begins and ends, and whose it is.

    Of fewer units all are one run.
    """
    short = np.minimum(counts, size)
    runs = counts - short + 1
    at = columns.ragged(first, runs)[1]
    whose = np.repeat(np.arange(len(first)), runs)
    return at, at + short[whose], whose


@lru_cache(maxsize=2)
def _powers(size: int) -> tuple[Array, Array]:
    """The powers of the base and of its inverse modulo 2**64: (size + 1,) each."""
    bases = np.full((2, size + 1), [[_BASE], [_INVERSE]], np.uint64)
    bases[:, 0] = 1
    powers = np.cumprod(bases, axis=1, dtype=np.uint64)
    return powers[0], powers[1]


def _finished(h: Array) -> Array:
    """The finaliser of MurmurHash3, in place: every bit of the result hangs on every bit of the number."""
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):
        h ^= h >> np.uint64(shift)
        h *= np.uint64(factor)
    h ^= h >> np.uint64(33)
    return h


def mixed(parts: Sequence[Array], seed: int) -> Array:
    """A hash (N,) uint64 of the uint64 arrays (N,) that ``parts`` are."""
    h = np.full(len(parts[0]), seed, np.uint64)
    for part in parts:
        h = _finished((h + np.uint64(_BASE)) * _MIX ^ part.astype(np.uint64))
    return h


def signatures(texts: pa.Array, p: Shingles, permutations: int) -> tuple[Array, Array]:
    """MinHash (Broder 1997): for each text the least of its shingles under each permutation, (N, permutations) uint32.

    And whether it has a shingle: (N,) bool. A permutation is x → a·x + b modulo 2**32 with odd a; x is hashed well already.
    """
    rng = np.random.default_rng(0x5EED)
    factors = rng.integers(0, 1 << 32, permutations, dtype=np.uint32) | np.uint32(1)
    shifts = rng.integers(0, 1 << 32, permutations, dtype=np.uint32)
    signed = np.full((len(texts), permutations), 0xFFFFFFFF, np.uint32)
    has = np.zeros(len(texts), bool)
    for start, rows, numbers in shingled(texts, p):
        x = (numbers >> np.uint64(32)).astype(np.uint32)
        heads = np.flatnonzero(np.diff(rows, prepend=-1))
        least, room = np.empty((permutations, len(heads)), np.uint32), np.empty_like(x)
        for i in range(permutations):
            np.multiply(x, factors[i], out=room)
            room += shifts[i]
            np.minimum.reduceat(room, heads, out=least[i])
        signed[start + rows[heads]] = least.T
        has[start + rows[heads]] = True
    return signed, has


def sets(texts: pa.Array, p: Shingles) -> tuple[Array, Array]:
    """The shingles of each text, every one once: sizes (N,) of (M,) uint64, sorted within a text, the upper 44 bits of each.

    A text of n runs has n² / 2⁴⁵ pairs of two runs that count as one: 10,000 runs, one in 350,000 texts.
    """
    told = [(start + rows, numbers) for start, rows, numbers in shingled(texts, p)]
    rows = np.concatenate([np.empty(0, np.int64), *(one[0] for one in told)])
    numbers = np.concatenate([np.empty(0, np.uint64), *(one[1] for one in told)])
    keys = _sorted(rows, numbers)
    keys = keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys
    return np.bincount((keys >> np.uint64(64 - _ROW)).astype(np.int64), minlength=len(texts)), keys << np.uint64(_ROW)


def _sorted(rows: Array, numbers: Array) -> Array:
    """Each row, below 2**20, and the upper 44 bits of its number in one uint64 (M,), sorted.

    A sort by both at once took a fifth of the time of one by each.
    """
    keys = (rows.astype(np.uint64) << np.uint64(64 - _ROW)) | (numbers >> np.uint64(_ROW))
    keys.sort()
    return keys


def jaccard(sizes: Array, numbers: Array, one: Array, other: Array) -> Array:
    """|A ∩ B| / |A ∪ B| of the sets, as of `sets`, of each pair (P,), below 2**20: (P,) float32; 0 where both are empty."""
    a, b = sizes[one], sizes[other]
    ends = np.cumsum(sizes)
    pair = np.concatenate([np.repeat(np.arange(len(one)), a), np.repeat(np.arange(len(one)), b)])
    told = numbers[np.concatenate([columns.ragged(ends[x] - sizes[x], sizes[x])[1] for x in (one, other)])]
    keys = _sorted(pair, told)
    same = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(64 - _ROW)
    both = np.bincount(same.astype(np.int64), minlength=len(one))
    found: Array = (both / np.maximum(a + b - both, 1)).astype(np.float32)
    return found


def likeness(texts: Texts, ids: pa.Array, one: Array, other: Array, p: Shingles) -> Array:
    """The Jaccard of the texts that ``ids`` (N,) have, in rising order, for each pair of their places: (P,) float32.

    The sets of texts of some `_READ` characters are held at once. A text is read once for these, and pairs go by their second
    text, so that what is read next stands beside it: to read texts for each few pairs unpacked the whole index 100 times.
    """
    lengths = texts.lengths(ids).astype(np.int64)
    found = np.empty(len(one), np.float32)
    order = np.argsort(other, kind="stable")
    waiting = [order] if len(order) else []
    while waiting:
        part = waiting.pop()
        places, at = np.unique(np.concatenate([one[part], other[part]]), return_inverse=True)
        if lengths[places].sum() > _READ and len(part) > 1:
            waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
            continue
        said = _sets_of(texts, ids.take(pa.array(places)), lengths[places], p)
        a, b = np.split(at, 2)
        for some in _runs_of(said[0][a] + said[0][b] + (_PAIRED >> 14), _PAIRED):
            found[part[some]] = jaccard(*said, a[some], b[some])
    return found


def _sets_of(texts: Texts, ids: pa.Array, lengths: Array, p: Shingles) -> tuple[Array, Array]:
    """`sets` of the texts of these ids."""
    parts = (ids.slice(part.start, part.stop - part.start) for part in _runs_of(lengths + 256, _TAKEN))
    sizes, numbers = zip(*(sets(texts.take(part), p) for part in parts), strict=True)
    return np.concatenate(sizes), np.concatenate(numbers)


def _runs_of(sizes: Array, most: int) -> Iterator[slice]:
    """Slices in a row whose sizes (N,) add up to some ``most``."""
    cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // most)) + 1
    return (slice(a, b) for a, b in pairwise([0, *cuts.tolist(), len(sizes)]) if a < b)
