"""Names of parts: ``00003-of-00008`` is a range of ids; of several inputs the second's is ``00003-of-00008@1``."""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any


def span(part: str) -> tuple[float, float]:
    """The range of ids, as shares of them all."""
    bucket, _, of = part.split("@")[0].partition("-of-")
    return int(bucket) / int(of or 1), (int(bucket) + 1) / int(of or 1)


def order(part: str) -> tuple[tuple[int, ...], float]:
    """Sorts parts so that their rows stand in one order, however finely they are cut: by input, then by id."""
    return tuple(int(i) for i in reversed(part.split("@")[1:])), span(part)[0]


def overlap(a: str, b: str) -> bool:
    """Whether two parts, perhaps of different cuts, may hold the same id."""
    (low, high), (start, end) = span(a), span(b)
    return low < end and start < high


class Spans:
    """Parts of one cut, found by the range of ids that they cover."""

    def __init__(self, parts: Iterable[dict[str, Any]]) -> None:
        self._parts = sorted(parts, key=lambda p: span(p["part"]))
        self._ends = [span(p["part"])[1] for p in self._parts]

    def overlapping(self, part: str) -> list[dict[str, Any]]:
        """Those that may hold an id of ``part``."""
        low, high = span(part)
        found = []
        for p in self._parts[bisect_left(self._ends, low) :]:
            if span(p["part"])[0] >= high:
                break
            if overlap(p["part"], part):
                found.append(p)
        return found
