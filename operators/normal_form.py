"""Unicode's normal forms in time that grows with a text's length alone.

Python sorts a run of combining marks by insertion: 80,000 of them took 6.5 s, a million would take hours. A run that is longer
than any writing has (UAX 15 asks of Stream-Safe Text for 30 at most) is brought into its canonical order before.
"""

import itertools
import re
import sys
import unicodedata
from functools import lru_cache
from typing import Literal

import numpy as np

_LONG = 1000  # marks in a row; what is not longer Python sorts in some milliseconds


def normal(value: str, form: Literal["NFC", "NFD", "NFKC", "NFKD"] = "NFC") -> str:
    """What `unicodedata.normalize` gives."""
    if value.isascii():
        return value
    return unicodedata.normalize(form, value if len(value) <= _LONG else _marks().sub(_inorder, value))


@lru_cache(maxsize=1)
def _marks() -> re.Pattern[str]:
    found = [point for point in range(sys.maxunicode + 1) if unicodedata.combining(chr(point))]
    edges = np.flatnonzero(np.diff(found, prepend=-2) > 1).tolist()
    runs = [(found[a], found[b - 1]) for a, b in itertools.pairwise([*edges, len(found)])]
    return re.compile("[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in runs) + f"]{{{_LONG},}}")


def _inorder(run: re.Match[str]) -> str:
    return "".join(sorted(run[0], key=unicodedata.combining))
