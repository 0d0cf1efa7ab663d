"""The ways to cut a text into passages, as spans of it: by sentences, windows of them, words, recursively, by headings.

A size is counted by a `Measure`, in words or tokens, and the sizes of pieces add up. Nothing but white space is left out.
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from operators.headings import headings, joint, paths
from operators.sentences import Span, sentences, trim, words

Measure = Callable[[Sequence[str]], list[int]]
Piece = tuple[int, int, int]  # start, end, size
_BLANK, _LINE = re.compile(r"\n[ \t\r]*\n\s*"), re.compile(r"\n")


@dataclass(frozen=True)
class Sizes:
    """At most, and below which a passage joins its neighbour, so that one has at most ``most + 2 * (least - 1)``."""

    most: int | None
    least: int
    measure: Measure

    @property
    def limit(self) -> int:
        """The most, where there is one."""
        return sys.maxsize if self.most is None else self.most


def by_sentences(body: str, sizes: Sizes, overlap: int) -> list[Span]:
    """Whole sentences, packed up to the most; each passage starts ``overlap`` sentences before its new ones."""
    pieces = _pieces(body, 0, len(body), sizes)
    return _spans(_packed([size for *_, size in pieces], sizes.limit, overlap), pieces, sizes.least)


def by_windows(body: str, sizes: Sizes, window: int, stride: int) -> list[Span]:
    """Windows of so many sentences, each ``stride`` behind the last: 10 and 5 in Ragnarök (arXiv:2406.16828).

    A window that reaches the most ends there; the next starts at its end at the latest, and as late as it must to hold
    something new.
    """
    pieces = _pieces(body, 0, len(body), sizes)
    runs: list[Span] = []
    start = end = 0
    while end < len(pieces):
        start = min(start + stride, end) if runs else 0
        while start < end and sum(size for *_, size in pieces[start : end + 1]) > sizes.limit:
            start += 1
        end, total = start, 0
        while end < len(pieces) and end - start < window and (end == start or total + pieces[end][2] <= sizes.limit):
            total += pieces[end][2]
            end += 1
        runs.append((start, end))
    return _spans(runs, pieces, sizes.least)


def by_words(body: str, sizes: Sizes, overlap: int) -> list[Span]:
    """Runs of words, of which ``overlap`` (in the unit of sizes) are those before."""
    return _overlapping(body, _cut(body, 0, len(body), sizes.limit - overlap, sizes.measure), sizes, overlap)


def recursively(body: str, sizes: Sizes, overlap: int) -> list[Span]:
    """At blank lines; what is longer at lines, at sentences, at words. Neighbours at one level are packed up to the most.

    Dewey (arXiv:2503.20376) cuts 70 % of its texts so and 30 % by words: 64 to 500, overlapping by 0.3 to 0.6.
    """
    return _overlapping(body, _recursive(body, 0, len(body), sizes, sizes.limit - overlap, 0), sizes, overlap)


def by_headings(body: str, sizes: Sizes, overlap: int) -> list[tuple[Span, tuple[str, ...]]]:
    """Sections with their headings and the path of these; a long one is cut by sentences, a short one joins the next."""
    found = headings(body)
    starts = [0, *(one.start for one in found)]
    of = [(), *paths(found)]
    pieces: list[Piece] = []
    runs: list[Span] = []
    owner: list[int] = []  # the section of each run
    for section, (start, end) in enumerate(zip(starts, [*starts[1:], len(body)], strict=True)):
        mine = _pieces(body, start, end, sizes)
        packed = _packed([size for *_, size in mine], sizes.limit, overlap)
        runs += [(len(pieces) + a, len(pieces) + b) for a, b in packed]
        owner += [section] * len(packed)
        pieces += mine
    told = []
    for a, b, first, last in _joined(runs, pieces, sizes.least):
        told.append(((pieces[a][0], pieces[b - 1][1]), joint([of[one] for one in owner[first:last]])))
    return told


def _pieces(body: str, start: int, end: int, sizes: Sizes) -> list[Piece]:
    """Sentences with their sizes; one above the most is cut at words, a word at characters."""
    spans = [(start + a, start + b) for a, b in sentences(body[start:end])]
    pieces: list[Piece] = []
    for (a, b), size in zip(spans, sizes.measure([body[a:b] for a, b in spans]), strict=True):
        pieces += [(a, b, size)] if size <= sizes.limit else _cut(body, a, b, sizes.limit, sizes.measure)
    return pieces


def _cut(body: str, start: int, end: int, limit: int, measure: Measure) -> list[Piece]:
    parts = [(start + a, start + b) for a, b in words(body[start:end])]
    if len(parts) == 1:  # one word of too many tokens
        parts = [(i, i + 1) for i in range(*parts[0])]
    sizes = measure([body[a:b] for a, b in parts])
    pieces: list[Piece] = []
    for (a, b), size in zip(parts, sizes, strict=True):
        if size > limit and b - a > 1:
            pieces += _cut(body, a, b, limit, measure)
        elif pieces and pieces[-1][2] + size <= limit:
            pieces[-1] = (pieces[-1][0], b, pieces[-1][2] + size)
        else:
            pieces.append((a, b, size))
    return pieces


def _recursive(body: str, start: int, end: int, sizes: Sizes, limit: int, level: int) -> list[Piece]:
    if level == 3:
        return _cut(body, start, end, limit, sizes.measure)
    parts = _parts(body, start, end, level)
    pieces: list[Piece] = []
    open_run = False  # whether the last piece may still grow: what came of a deeper level may not
    for (a, b), size in zip(parts, sizes.measure([body[a:b] for a, b in parts]), strict=True):
        if size > limit:
            pieces += _recursive(body, a, b, sizes, limit, level + 1)
        elif open_run and pieces[-1][2] + size <= limit:
            pieces[-1] = (pieces[-1][0], b, pieces[-1][2] + size)
        else:
            pieces.append((a, b, size))
        open_run = size <= limit
    return pieces


def _parts(body: str, start: int, end: int, level: int) -> list[Span]:
    if level == 2:
        return [(start + a, start + b) for a, b in sentences(body[start:end])]
    cuts = [match.span() for match in (_BLANK, _LINE)[level].finditer(body, start, end)]
    spans = zip([start, *(b for _, b in cuts)], [*(a for a, _ in cuts), end], strict=True)
    return [one for a, b in spans if (one := trim(body, a, b))[0] < one[1]]


def _packed(sizes: Sequence[int], most: int, overlap: int) -> list[Span]:
    """Greedy runs of pieces within the most; each starts ``overlap`` pieces before its new ones."""
    runs: list[Span] = []
    start = end = 0
    while end < len(sizes):
        total = sum(sizes[start:end])
        while start < end and total + sizes[end] > most:
            total -= sizes[start]  # the overlap gives way: every passage has something new
            start += 1
        while end < len(sizes) and (end == start or total + sizes[end] <= most):
            total += sizes[end]
            end += 1
        runs.append((start, end))
        start = max(end - overlap, start + 1)
    return runs


def _joined(runs: Sequence[Span], pieces: Sequence[Piece], least: int) -> list[tuple[int, int, int, int]]:
    """A short run joins the next, for a heading belongs to what follows; the last joins the one before: (pieces, runs).

    To the one before, short runs in a row (windows of short sentences) would all join one.
    """
    merged: list[tuple[int, int, int, int]] = []
    short = False
    for i, (a, b) in enumerate(runs):
        first, run = (merged[-1][0], merged[-1][2]) if short else (a, i)
        merged[len(merged) - short :] = [(first, b, run, i + 1)]
        short = sum(size for *_, size in pieces[first:b]) < least
    if short and len(merged) > 1:
        first, _, run, _ = merged[-2]
        merged[-2:] = [(first, merged[-1][1], run, merged[-1][3])]
    return merged


def _spans(runs: Sequence[Span], pieces: Sequence[Piece], least: int) -> list[Span]:
    """Where each run begins and ends in the text, the short ones joined."""
    return [(pieces[a][0], pieces[b - 1][1]) for a, b, *_ in _joined(runs, pieces, least)]


def _overlapping(body: str, pieces: Sequence[Piece], sizes: Sizes, overlap: int) -> list[Span]:
    """The pieces, a short one joined to a neighbour, each begun with words of the one before of at most that size."""
    spans = _spans([(i, i + 1) for i in range(len(pieces))], pieces, sizes.least)
    if not overlap:
        return spans
    found = spans[:1]
    for (before, _), (start, end) in zip(spans, spans[1:], strict=False):
        parts = [(before + a, before + b) for a, b in words(body[before:start])]
        first, left = start, overlap
        for (a, _), size in zip(parts[::-1], sizes.measure([body[a:b] for a, b in parts])[::-1], strict=True):
            left -= size
            if left < 0:
                break
            first = a
        found.append((first, end))
    return found
