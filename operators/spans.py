"""Parts of a text as exact spans: runs of whole sentences, questions with their answers, spans drawn by a seed."""

import random
import re
from bisect import bisect_right

from operators.headings import in_fence
from operators.sentences import Span, count_words, sentences, trim, word_spans, words

_LINE = re.compile(r"^[^\n]{1,240}$", re.MULTILINE)
_MARKS = re.compile(
    r"[ \t]*(?P<mark>(?:\#{1,6}|\d{1,3}(?:\.\d{1,3}){0,3}[.)]?)[ \t]+)?(?P<bold>\*\*|__)?"
    r"(?P<q>Q(?:uestion)?[ \t]?\d{0,4}[.:)][ \t]*)?(?:\*\*|__)?", re.IGNORECASE
)  # fmt: skip
_HASHES = re.compile(r"^\#{1,6}[ \t]", re.MULTILINE)
_ANSWER = re.compile(r"(?:\*\*|__)?A(?:nswer)?[ \t]?\d{0,4}[.:)](?:\*\*|__)?[ \t]*", re.IGNORECASE)


def cut(body: str, start: int, end: int, limit: int) -> Span:
    """The longest run of whole sentences from ``start`` within ``limit`` words; of one sentence too long, its words."""
    total, stop = 0, start
    for a, b in sentences(body[start:end]):
        size = count_words(body[start + a : start + b])
        if total + size > limit:
            return (start, stop) if total else (start, start + words(body[start:end])[limit - 1][1])
        total, stop = total + size, start + b
    return start, stop


def windows(body: str, limit: int) -> list[Span]:
    """The whole text as consecutive windows of whole sentences, each of at most ``limit`` words."""
    found: list[Span] = []
    total = 0
    for a, b in sentences(body):
        inner = words(body[a:b])
        size = len(inner)
        if size > limit:
            found += [(a + inner[i][0], a + inner[min(i + limit, size) - 1][1]) for i in range(0, size, limit)]
            total = limit
        elif found and total + size <= limit:
            found[-1], total = (found[-1][0], b), total + size
        else:
            found.append((a, b))
            total = size
    return found


def questions(body: str) -> list[tuple[str, Span]]:
    """The questions of an FAQ, each with the span of its answer: all up to the next question or Markdown heading.

    A question is a line of its own: behind ``Q:``, or ending in a question mark and marked as a heading, by a number or in
    bold, or standing behind a blank line. An answer may be empty: two questions in a row.
    """
    asked = {m.start(): (said, m.end()) for m in _LINE.finditer(body) if (said := _question(body, m.start(), m[0]))}
    hidden = in_fence(body)
    starts = [at for at in asked if not hidden(at)]
    edges = sorted({*starts, *(m.start() for m in _HASHES.finditer(body)), len(body)})
    found = []
    for at in starts:
        said, behind = asked[at]
        start, end = trim(body, behind, edges[bisect_right(edges, at)])
        opening = _ANSWER.match(body, start, end)
        found.append((said, trim(body, opening.end(), end) if opening else (start, end)))
    return found


def _question(body: str, start: int, line: str) -> str:
    """What a line asks, without its marks; empty where it is no question."""
    marks = _MARKS.match(line)
    assert marks is not None  # each of its parts is optional
    said = line[marks.end() :].strip(" \t#*_")
    alone = start == 0 or body.endswith("\n\n", 0, start)
    asks = bool(marks["q"]) or said[-1:] in ("?", "？") and bool(marks["mark"] or marks["bold"] or alone)
    return said if asks else ""


def drawn(body: str, anchors: int, positives: int, sizes: tuple[int, int], seed: int) -> list[tuple[Span, list[Span]]]:
    """Anchors, each with its positives, as DeCLUTR draws them (arXiv:2006.03659 §3.1); none where the text is too short.

    An anchor's length is Beta(4, 2) between ``sizes`` in words, a positive's Beta(2, 4): the fourth and the second of
    five uniform numbers. An anchor lies in its own ``anchors``-th of the text; a positive begins where it still
    touches its anchor, so it overlaps it, stands in it, or follows on it. DeCLUTR asks for texts of four times the
    longest span; here a shorter one has shorter spans.
    """
    every = word_spans(body)
    room, (least, most) = len(every) // anchors, sizes
    if room < least:
        return []
    draw = random.Random(seed)  # its stream is fixed for all versions of Python

    def length(rank: int, limit: int) -> int:
        return least + int(sorted(draw.random() for _ in range(5))[rank - 1] * (min(most, limit) - least + 1))

    def span(start: int, size: int) -> Span:
        return int(every[start, 0]), int(every[start + size - 1, 1])

    found = []
    for i in range(anchors):
        size = length(4, room)
        start = i * room + int(draw.random() * (room - size + 1))
        near = []
        for _ in range(positives):
            other = length(2, len(every))
            low, high = max(0, start - other), min(start + size, len(every) - other)
            near.append(span(low + int(draw.random() * (high - low + 1)), other))
        found.append((span(start, size), near))
    return found
