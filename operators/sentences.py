"""Sentences and words of a text as exact character offsets; scripts without spaces count by character."""

import re

Span = tuple[int, int]

# Scripts that set no spaces between words: kana, Han, Thai, Lao, Myanmar, Khmer. Hangul sets them.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
UNSPACED += "\U00020000-\U0003134f"
UNSPACED_RANGES = [(ord(UNSPACED[i]), ord(UNSPACED[i + 2])) for i in range(0, len(UNSPACED), 3)]  # first and last, as code points
# A run without a space is cut at 64 characters, so that one blob of base64 cannot pass for one word.
_WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]{{1,64}}")
_END = re.compile(
    r"(?P<full>[。！？｡]+[」』）】》”’]*)"
    # From the first mark of a run, never given back: 20,000 dots in a row took 7 s.
    r"|(?P<stop>(?<![.!?…؟।۔])[.!?…؟।۔]++[\"'”’»)\]]*+)(?=\s)"
    r"|(?P<block>\n[ \t\r]*\n|\n(?=[ \t]*(?:[-*•‣+]|\d{1,3}[.)]|\#{1,6})[ \t]))"
)
_BEFORE = re.compile(r"[^\s(\[\"“‘]+$")
_NEVER = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "vs",
        "e.g",
        "i.e",
        "cf",
        "figs",
        "eqs",
        "ed",
        "eds",
        "al",
        "approx",
        "dept",
        "ca",
        "resp",
        "gen",
        "col",
        "sgt",
        "rev",
        "hon",
        "viz",
        "z.b",
        "bzw",
        "d.h",
        "vgl",
        "hrsg",
        "sog",
        "mme",
        "mlle",
        "dra",
        "sra",
    ]
)
_NUMBERED = frozenset(
    ["no", "nos", "nr", "fig", "eq", "vol", "pp", "p", "sec", "ch", "art", "bd"]
)  # abbreviations before a number
_SELDOM = frozenset(
    ["etc", "inc", "ltd", "co", "corp", "jr", "sr", "u.s", "u.k", "a.m", "p.m", "usw", "ph.d"]
)  # may end a sentence


def sentences(text: str) -> list[Span]:
    """The sentences of ``text`` in order, without outer white space; nothing but that is left out.

    A blank line and the start of a list item or heading end one; a single newline does not, for
    much text is hard-wrapped.
    """
    found: list[Span] = []
    start = 0
    for match in _END.finditer(text):
        if match["stop"] and not _ends(text, start, match):
            continue
        _add(found, text, start, match.end())
        start = match.end()
    _add(found, text, start, len(text))
    return found


def words(text: str) -> list[Span]:
    """The words of ``text``: runs between spaces, single characters in scripts without spaces."""
    return [match.span() for match in _WORD.finditer(text)]


def count_words(text: str) -> int:
    """How many `words` there are."""
    return len(_WORD.findall(text))


def trim(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())


def _add(found: list[Span], text: str, start: int, end: int) -> None:
    span = trim(text, start, end)
    if span[0] < span[1]:
        found.append(span)


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether this full stop ends a sentence rather than an abbreviation or a list number."""
    if match["stop"][0] not in ".…":
        return True
    follows = text[match.end() : match.end() + 40].lstrip()[:1]
    if follows.islower():
        return False
    if match["stop"] != ".":
        return True
    before = _BEFORE.search(text, max(start, match.start() - 24), match.start())
    word = before[0].casefold() if before else ""
    if word in _NEVER or (len(word) == 1 and word.isalpha() and before is not None and before[0].isupper()):
        return False
    if word in _NUMBERED and follows.isdigit():
        return False
    if word.isdigit() and not text[start : match.start()].replace(word, "", 1).strip():
        return False
    return word not in _SELDOM or follows.isupper()
