"""Headings of Markdown and of HTML within a text, as exact character offsets; what stands in a code fence is none."""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
# Headings do not nest: a million <h1> without an end took 46 s where each looked 1,000 characters ahead.
# One line between a blank one and its underline: more lines before would be a paragraph, or a table.
_HEADING = re.compile(
    r"^ {0,3}(?P<hash>\#{1,6})[ \t]+(?P<atx>[^\s#][^\n]*)$"
    r"|(?:(?<=\n\n)|\A)(?P<under>[^\s#<|>*+`~-][^\n]{0,199})\n(?P<line>=+|-{2,})[ \t]*$"
    r"|<h(?P<level>[1-6])(?:\s[^<>]{0,500})?>(?P<html>(?:(?!<h[1-6][\s>])[^\0]){0,1000}?)</h(?P=level)\s{0,9}>",
    re.MULTILINE | re.IGNORECASE,
)
_TAG = re.compile(r"<[^<>]{0,500}>")


class Heading(NamedTuple):
    """Where it stands, its level from 1, and what it says."""

    start: int
    end: int
    level: int
    said: str


def in_fence(body: str) -> Callable[[int], bool]:
    """Whether a place of the text stands in a fence of ``` or ~~~."""
    fenced = [match.span() for match in _FENCE.finditer(body)]
    opens, closes = [a for a, _ in fenced], [0, *(b for _, b in fenced)]
    return lambda at: at < closes[bisect_right(opens, at)]


def headings(body: str) -> list[Heading]:
    """Every heading, in order: # to ######, a line underlined by = or -, and <h1> to <h6>."""
    hidden, found = in_fence(body), []
    for match in _HEADING.finditer(body):
        if hidden(match.start()):
            continue
        if match["hash"]:
            level, said = len(match["hash"]), match["atx"].rstrip().rstrip("#")
        elif match["under"]:
            level, said = (1 if match["line"][0] == "=" else 2), match["under"]
        else:
            level, said = int(match["level"]), _TAG.sub(" ", match["html"])
        if said := " ".join(said.split()):
            found.append(Heading(match.start(), match.end(), level, said))
    return found


def paths(found: Sequence[Heading]) -> list[tuple[str, ...]]:
    """Of each heading those above it and itself, the outermost first."""
    stack: list[Heading] = []
    told = []
    for one in found:
        while stack and stack[-1].level >= one.level:
            stack.pop()
        stack.append(one)
        told.append(tuple(above.said for above in stack))
    return told


def joint(several: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The path of a passage that holds these sections: the deepest, where all others lie above it, else what they share."""
    deepest = max(several, key=len)
    if all(one == deepest[: len(one)] for one in several):
        return deepest
    shared = 0
    while all(len(one) > shared and one[shared] == several[0][shared] for one in several):
        shared += 1
    return several[0][:shared]
