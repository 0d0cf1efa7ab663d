"""Texts as hashed words and runs of words, whatever their case, punctuation and white space."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from operators.contract import text
from operators.normal_form import normal
from operators.sentences import UNSPACED

Array = np.ndarray[Any, Any]
LOT = 1 << 22  # characters that are words at a time: some 100 MB of Python strings
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads a product over all bits (Knuth 3, 6.4)
_DENSE = re.compile(f"[{UNSPACED}]")


class _Fold(dict[int, str]):
    """What each character becomes: a gap, nothing, itself, or a word of its own in scripts without spaces."""

    def __missing__(self, point: int) -> str:
        kind = unicodedata.category(chr(point))
        if kind == "Cf":  # soft hyphens, joiners: nobody sees them
            said = ""
        elif kind[0] in "PZ" or kind in ("Cc", "Cs"):
            said = " "
        else:
            said = f" {chr(point)} " if _DENSE.match(chr(point)) else chr(point)
        self[point] = said
        return said


_FOLD = _Fold()


def folded(value: str) -> list[str]:
    """The words of a text: NFKC, casefolded, without punctuation; symbols such as + stay."""
    said = value.lower() if value.isascii() else _nfkc_casefold(value)
    return said.translate(_FOLD).split()


def _nfkc_casefold(value: str) -> str:
    return normal(normal(value, "NFKC").casefold(), "NFKC")


class Hashed(NamedTuple):
    """N texts as hashes: of each as a whole, and of their words."""

    whole: Array  # (N,) uint64, of the words without gaps; what has no word has the hash of nothing
    words: Array  # (W,) uint64
    offsets: Array  # (N+1,) int64 into words

    @property
    def sizes(self) -> Array:
        """Words of each text: (N,)."""
        return np.diff(self.offsets)


def hashed(texts: Sequence[str]) -> Hashed:
    """Hash texts; equal words have equal hashes in every process."""
    said = [folded(one) for one in texts]
    whole = np.fromiter((xxhash.xxh3_64_intdigest("".join(one).encode()) for one in said), np.uint64, len(said))
    offsets = np.concatenate([[0], np.cumsum(np.fromiter(map(len, said), np.int64, len(said)))]).astype(np.int64)
    coded = pa.array([word for one in said for word in one], text).dictionary_encode()  # each word is hashed once
    known = coded.dictionary.to_pylist()
    number = np.fromiter((xxhash.xxh3_64_intdigest(word.encode()) for word in known), np.uint64, len(known))
    return Hashed(whole, number[coded.indices.to_numpy()], offsets)


def runs(said: Hashed, shortest: int, longest: int) -> Iterator[tuple[int, Array, Array]]:
    """(n, hashes (R,), the text of each (R,)) of all runs of n words that lie in one text, for n from shortest to longest."""
    owner = np.repeat(np.arange(len(said.sizes)), said.sizes)
    ahead = np.repeat(said.offsets[1:], said.sizes) - np.arange(len(owner))  # words from here to the text's end
    state = np.zeros(len(owner), np.uint64)
    for n in range(1, min(longest, int(said.sizes.max(initial=0))) + 1):
        state = (state[: len(owner) - n + 1] ^ said.words[n - 1 :]) * _ODD
        state ^= state >> np.uint64(29)
        if n >= shortest:
            inside = np.flatnonzero(ahead[: len(state)] >= n)
            yield n, state[inside], owner[inside]


def lots(column: pa.Array | pa.ChunkedArray) -> Iterator[tuple[int, list[str]]]:
    """(place of the first, texts) of lots of some `LOT` characters, a longer text alone."""
    sizes = pc.utf8_length(column).to_numpy().astype(np.int64)
    lot = np.cumsum(sizes) // LOT
    starts = np.flatnonzero(np.diff(lot, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(column)], strict=False):
        yield start, column.slice(start, end - start).to_pylist()
