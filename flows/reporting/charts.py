"""Numbers as places on a page: bars, axes, points in per cent, so that a drawing is as wide as its column and letters stay.

Nothing here makes markup; the template does, and escapes all it is given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flows.reporting.fold import LONGEST, Lengths, Scores
from operators.content import Array

BARS = 48  # of a histogram
TONES = 8  # colours that clusters have; the rest is grey


@dataclass(frozen=True)
class Bar:
    """One bar, in per cent of the drawing, and what it says."""

    x: str
    width: str
    y: str
    height: str
    said: str


@dataclass(frozen=True)
class Tick:
    """A number below an axis."""

    x: str
    label: str
    anchor: str


@dataclass(frozen=True)
class Histogram:
    """Bars over an axis; ``marks`` are lines at numbers that matter."""

    name: str
    tone: str
    bars: list[Bar]
    ticks: list[Tick]
    top: str  # what the highest bar counts
    marks: list[Tick] = field(default_factory=list)


def percent(share: float) -> str:
    """A place as the page writes it, to a hundredth of a per cent."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def count(number: float) -> str:
    """A whole number with thin groups."""
    return f"{number:,.0f}".replace(",", "\u202f")


def share(number: float, of: float) -> str:
    """A share of a whole for people."""
    part = 100 * number / of if of else 0.0
    return f"{part:.0f} %" if part in (0, 100) else "< 0.1 %" if part < 0.1 else f"{part:.1f} %"


def size(number: int) -> str:
    """Bytes for people."""
    step = next((i for i, top in enumerate((1e3, 1e6, 1e9)) if number < top), 3)
    return f"{number / 1000**step:.3g} {('bytes', 'kB', 'MB', 'GB')[step]}"


def number(value: float) -> str:
    """A score for people."""
    return (f"{value:.3g}" if abs(value) < 1000 else count(value)).replace("-", "\u2212")


def ticks_of(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two ends."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step = next(s for s in (step, 2 * step, 5 * step, 10 * step) if (high - low) / s <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick(at: float, label: str) -> Tick:
    """A tick whose label stays on the drawing."""
    return Tick(percent(at), label, "start" if at < 0.04 else "end" if at > 0.96 else "middle")


def bars_of(counts: Array, edges: Sequence[float], told: Any = number) -> list[Bar]:
    """A bar a bin, the highest of full height; empty ones are left out."""
    top, n = max(int(counts.max(initial=0)), 1), len(counts)
    said = [f"{told(a)} to {told(b)}" for a, b in zip(edges, edges[1:], strict=False)]
    return [_bar(i / n, 1 / n, c / top, f"{said[i]}: {count(c)}") for i, c in enumerate(counts.tolist()) if c]


def _bar(x: float, width: float, height: float, said: str) -> Bar:
    return Bar(percent(x), percent(width), percent(1 - height), percent(height), said)


def of_scores(name: str, tone: str, scores: Scores, low: float, high: float) -> Histogram:
    """Scores on an axis between two ends, with a line at their median."""
    fine = np.linspace(scores.low, scores.high, len(scores.bins) + 1)
    at = np.clip((((fine[:-1] + fine[1:]) / 2 - low) / (high - low) * BARS).astype(np.int64), 0, BARS - 1)
    counts = np.bincount(at, scores.bins, BARS).astype(np.int64)
    bars = bars_of(counts, np.linspace(low, high, BARS + 1).tolist())
    middle = scores.percentile(0.5)
    lines = [tick((middle - low) / (high - low), f"median {number(middle)}")]
    ticks = [tick((x - low) / (high - low), number(x)) for x in ticks_of(low, high)]
    return Histogram(name, tone, bars, ticks, count(counts.max()), lines)


def of_lengths(name: str, tone: str, lengths: Lengths, longest: int) -> Histogram:
    """Characters on an axis of powers of two up to ``longest``, in bins of half a power."""
    ends = edges_of(longest)
    cumulated = np.concatenate([[0], np.cumsum(lengths.counts)])
    limits = np.array(ends[:-1] + [LONGEST + 1])
    counts = np.diff(cumulated[np.minimum(limits, LONGEST + 1)])
    counts[0] += cumulated[limits[0]]  # empty texts
    powers = [p for p in range(18) if 2**p <= ends[-1]]
    span = math.log2(ends[-1] / ends[0])
    every = 2 if len(powers) > 7 else 1
    marks = [tick((p - math.log2(ends[0])) / span, count(2**p)) for p in powers if p % every == 0 and 2**p >= ends[0]]
    return Histogram(name, tone, bars_of(counts, ends, count), marks, count(counts.max()))


def edges_of(longest: int) -> list[int]:
    """Ends of bins of lengths: half powers of two from 4 on, the last one above ``longest``."""
    top = max(math.ceil(2 * math.log2(max(min(longest, LONGEST) + 1, 8))), 6)
    return [round(2 ** (h / 2)) for h in range(4, top + 1)]


def of_shares(values: Sequence[float], bars: int = 20) -> list[Bar]:
    """Shares between 0 and 1."""
    counts = np.histogram(np.array(values), bars, (0, 1))[0]
    return bars_of(counts, np.linspace(0, 1, bars + 1).tolist(), lambda x: f"{x:.0%}")


def of_whole(values: dict[int, int], bars: int = 40) -> tuple[list[Bar], list[Tick]]:
    """Whole numbers: a bar a number, or bins of equally many."""
    low, high = min(values), max(values)
    width = max(1, math.ceil((high - low + 1) / bars))
    counts = np.zeros(max((high - low) // width + 1, 1), np.int64)
    for value, rows in values.items():
        counts[(value - low) // width] += rows
    n = len(counts)
    edges = [low + i * width for i in range(n + 1)]
    said = [str(a) if width == 1 else f"{a} to {b - 1}" for a, b in zip(edges, edges[1:], strict=False)]
    top = max(int(counts.max()), 1)
    made = [_bar(i / n, 1 / n, c / top, f"{said[i]}: {count(c)}") for i, c in enumerate(counts.tolist()) if c]
    every = max(1, math.ceil(n / 8))
    return made, [tick((i + 0.5) / n, count(edges[i])) for i in range(0, n, every)]


def points_of(places: Array) -> list[tuple[str, str]]:
    """Places (N, 2) as per cent of a drawing, with a rim."""
    low, high = places.min(axis=0), places.max(axis=0)
    scaled = (places - low) / np.where(high > low, high - low, 1)
    return [(percent(0.03 + 0.94 * x), percent(0.03 + 0.94 * (1 - y))) for x, y in scaled.tolist()]
