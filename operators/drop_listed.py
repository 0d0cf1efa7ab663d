"""Drop texts that hold words of a block list, and documents from listed domains or URLs.

C4 (arXiv:1910.10683, section 2.2) drops every page with a word of a list, FineWeb (arXiv:2406.17557, section 3.1) listed URLs and
domains (UT1's lists have this form). Words are found by an Aho-Corasick automaton, whatever the list's length.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.contract import Example, Outcome, Params, join, operator, reject, text
from operators.list_file import Listed, ListFile
from operators.normal_form import normal
from operators.sentences import UNSPACED_RANGES

Found = Callable[[str], list[str]]
_HIDDEN = re.compile("[\u00ad\u034f\u200b-\u200f\u2060\ufeff]")  # sp\u200bam is spam
_LONG = 1 << 20  # characters that are looked through at a time: a find is 100 bytes


class DropListed(Params):
    """Which column, what it holds, and the lists by name: `with: {lists: {words: blocked.txt}}`."""

    column: str = Field(default="text", min_length=1)
    match: Literal["words", "urls"] = Field(default="words", description="urls: the column is a URL; entries are domains or URLs")
    lists: dict[str, ListFile] = Field(min_length=1)
    at_least: int = Field(default=1, ge=1, description="so many different words of one list; of URLs one always does")

    @model_validator(mode="after")
    def urls_need_no_count(self) -> Self:
        """Refuse a count that does nothing."""
        if self.match == "urls" and self.at_least > 1:
            raise ValueError("at_least does nothing where match is urls; leave it out")
        return self


@operator("map", version="2", reads=lambda p: {p.column: text}, rows="fewer")
def drop_listed(table: pa.Table, p: DropListed) -> Outcome:
    """The rows that no list names; a reject tells the first list and what of it was found.

    Words and phrases match without case, as NFKC, between characters that are no letters, marks or digits; in scripts that set no
    blanks anywhere, as in C4. A domain matches itself and all below it; a URL itself and all paths below it, whatever its
    scheme, port or "www.".
    """
    finders = [(name, _finder(p.match, one)) for name, one in p.lists.items()]
    outcomes = [Outcome(table.slice(0, 0))]
    for part in columns.slices(table):
        reasons, values = [""] * len(part), [""] * len(part)
        for i, said in enumerate(part[p.column].to_pylist()):
            for name, find in finders:
                if len(found := find(said)) >= p.at_least:
                    reasons[i], values[i] = f"listed in {name}", ", ".join(found[:10])
                    break
        outcomes.append(reject(part, [bool(r) for r in reasons], reasons, values))
    return join(outcomes)


@lru_cache(maxsize=16)
def _finder(match: str, listed: Listed) -> Found:
    return _word_finder(listed.entries) if match == "words" else _url_finder(listed.entries)


def _folded(said: str) -> str:
    """As it is compared: NFKC, without case and invisible signs, white space folded."""
    return " ".join((said if said.isascii() else _HIDDEN.sub("", normal(said, "NFKC"))).casefold().split())


def _word_finder(words: tuple[str, ...]) -> Found:
    """Text → the different entries that stand in it, in order."""
    import ahocorasick_rs

    wanted = [one for one in dict.fromkeys(map(_folded, words)) if one]
    longest = max(map(len, wanted), default=0)
    automaton: Any = ahocorasick_rs.AhoCorasick(wanted)

    def find(said: str) -> list[str]:
        folded, found = _folded(said), dict[str, None]()
        for at in range(0, len(folded), _LONG):
            hits = automaton.find_matches_as_indexes(folded[at : at + _LONG + longest], overlapping=True)
            found |= dict.fromkeys(wanted[i] for i, start, end in hits if _whole(folded, at + start, at + end))
        return list(found)

    return find


def _whole(said: str, start: int, end: int) -> bool:
    """Whether a word is not part of a longer one."""
    return not (_joined(said[start - 1 : start], said[start]) or _joined(said[end - 1], said[end : end + 1]))


def _joined(one: str, other: str) -> bool:
    # Marks: Hindi's vowels.
    both = [c for c in (one, other) if c and (c.isalnum() or c == "_" or unicodedata.category(c)[0] == "M")]
    return len(both) == 2 and not any(low <= ord(c) <= high for c in both for low, high in UNSPACED_RANGES)


def _url_finder(entries: tuple[str, ...]) -> Found:
    """URL → the entry that it falls under, if there is one."""
    names = {key: entry for entry in reversed(entries) if (key := "/".join(_parts(entry)))}

    def find(url: str) -> list[str]:
        host, *path = _parts(url) or [""]
        labels = host.split(".")
        hosts = [".".join(labels[i:]) for i in range(len(labels))]
        below = ["/".join([host, *path[:i]]) for i in range(len(path), 0, -1)]
        return [names[key] for key in [*below, *hosts] if key in names][:1]

    return find


def _parts(url: str) -> list[str]:
    """Host and path segments, as they are compared; nothing of what is no URL."""
    said = url.strip()
    try:
        found = urlsplit(said if "://" in said else f"//{said.removeprefix('//')}")
        host = (found.hostname or "").removesuffix(".")
        host = host if host.isascii() else host.encode("idna").decode()
    except ValueError:  # a broken IPv6 host, a label of 64 letters
        return []
    query = f"?{found.query}" if found.query else ""
    return [host.removeprefix("www."), *[part for part in (unquote(found.path) + query).split("/") if part]] if host else []


def example(folder: Path) -> Example:
    """Four texts, of which one holds a word of the list and one a phrase."""
    (folder / "words.txt").write_text("# not in an index\nspam\nbuy now\n")
    said = ["A calm text.", "This is Spam!", "Buy  Now or never.", "spammers buy, now and then"]
    listed = Listed.model_validate(str(folder / "words.txt"))
    return Example(pa.table({"text": pa.array(said, text)}), DropListed(lists={"words": listed}))
