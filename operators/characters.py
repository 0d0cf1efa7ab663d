"""Count the characters of many texts by what they are."""

import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.sentences import UNSPACED_RANGES

Array = np.ndarray[Any, Any]
CLASSES = ("letter", "digit", "space", "unspaced", "unended", "unreadable", "hash", "curly")
_AT_ONCE = 1 << 20  # characters: 22 bytes of tables each


def class_counts(said: pa.Array) -> dict[str, Array]:
    """How many ``characters``, and how many of each of `CLASSES`, every text has: (N,) float64 each.

    ``unspaced``: of scripts that set no blanks, as in `sentences`; ``unended``: of Thai and Lao, which mark no sentence's end.
    """
    lengths = pc.utf8_length(said).to_numpy(zero_copy_only=False).astype(np.int64)
    total = np.zeros((len(CLASSES), len(said)))
    ends = np.cumsum(lengths)
    whole = "".join(said.to_pylist())
    for start in range(0, len(whole), _AT_ONCE):
        flags = _table()[np.frombuffer(whole[start : start + _AT_ONCE].encode("utf-32-le"), np.uint32)]
        low, high = (np.clip(at - start, 0, len(flags)) for at in (ends - lengths, ends))
        there = int(np.bitwise_or.reduce(flags, initial=0))
        for number in [i for i in range(len(CLASSES)) if there >> i & 1]:
            summed = np.concatenate([[0], np.cumsum((flags >> number) & 1, dtype=np.int64)])
            total[number] += summed[high] - summed[low]
    return {**dict(zip(CLASSES, total, strict=True)), "characters": lengths.astype(float)}


@lru_cache(maxsize=1)
def _table() -> Array:
    """The classes of every character, a bit each: (1114112,) uint8."""
    flags = np.zeros(0x110000, np.uint8)
    bits = {name: 1 << i for i, name in enumerate(CLASSES)}
    for code in range(0x323B0):  # no letter stands above
        kind = unicodedata.category(chr(code))
        if kind[0] == "L" or kind == "Nd" or chr(code).isspace():
            flags[code] = bits["letter" if kind[0] == "L" else "digit" if kind == "Nd" else "space"]
    for low, high in UNSPACED_RANGES:
        flags[low : high + 1] |= bits["unspaced"]
    flags[0x0E00:0x0F00] |= bits["unended"]
    for name, marks in (("unreadable", "\ufffd"), ("hash", "#"), ("curly", "{}")):
        flags[[ord(c) for c in marks]] |= bits[name]
    return flags
