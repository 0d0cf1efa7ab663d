r"""Repair what encodings and tools broke in a text, and nothing else: mojibake, control and invisible characters, line ends, NFC.

Mojibake is ftfy's (Speer, "ftfy", 2019): a line of UTF-8 that was read as another encoding is read again where that makes
sense. Repairs go in the order of `KINDS`; a text that none of them could touch is left out by one look at its bytes.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators import columns
from operators.contract import Columns, Example, Outcome, Params, operator, reject, row_id, text, texts
from operators.normal_form import normal

Kind = Literal["mojibake", "entities", "escapes", "line_ends", "control", "invisible", "normal_form"]
KINDS: tuple[Kind, ...] = ("mojibake", "entities", "escapes", "line_ends", "control", "invisible", "normal_form")
_LONG = 1 << 20  # characters that are repaired at a time
_PLAIN = r"^[\t\n -~]*$"  # nothing but entities can be wrong with it
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[()][0-9A-B])|[^\n\x08]\x08")
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff]")
# Zero width joiners have a meaning in Arabic, Indic, Khmer and Mongolian letters and in emoji; the tags of a flag follow U+1F3F4.
_JOINED = "\u0600-\u109f\u1780-\u18af\u1a20-\u1aaf\ua8e0-\ua8ff\u2190-\u2bff\ufe0f\U00010a00-\U00011fff\U0001f000-\U0001faff"
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0]"
    f"|(?<![{_JOINED}])[\u200c\u200d]|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]+"
)


class RepairText(Params):
    """Which columns, which repairs, and the ids that are hashes of these columns."""

    columns: tuple[str, ...] = Field(default=("title", "text"), min_length=1)
    repairs: tuple[Kind, ...] = Field(
        default=("mojibake", "escapes", "line_ends", "control", "invisible", "normal_form"), min_length=1,
        description="entities: &eacute; and &amp; of HTML, where the text holds no tag",
    )  # fmt: skip
    identify: dict[str, list[str]] = Field(
        default={"doc_id": ["title", "text"]}, description='id column: the columns that it is the hash of; "" is an empty one'
    )

    @model_validator(mode="after")
    def ids_follow_the_text(self) -> Self:
        """Refuse repairs twice, and an id of no column that is repaired."""
        if len(set(self.repairs)) < len(self.repairs) or len(set(self.columns)) < len(self.columns):
            raise ValueError("repairs and columns name each once")
        for name, of in self.identify.items():
            if not set(of) & set(self.columns):
                raise ValueError(f"identify.{name}: none of {', '.join(of)} is repaired, so that id never changes; leave it out")
        return self


def _reads(p: RepairText) -> Columns:
    hashed = [c for of in p.identify.values() for c in of if c]
    return {**dict.fromkeys(p.identify, row_id), **dict.fromkeys(dict.fromkeys([*p.columns, *hashed]), text)}


def _writes(p: RepairText) -> Columns:
    return {**dict.fromkeys(p.identify, row_id), **dict.fromkeys(p.columns, text), "repairs": texts}


def _measure(table: pa.Table, p: RepairText) -> Mapping[str, int]:
    found = columns.flat(table["repairs"])[1].value_counts().to_pylist()
    return {f"repaired {one['values']}": one["counts"] for one in sorted(found, key=lambda one: KINDS.index(one["values"]))}


@operator(
    "map", version="3", reads=_reads, writes=_writes, rows="fewer", measure=_measure, libraries=lambda p: ["ftfy"],
)  # fmt: skip
def repair_text(table: pa.Table, p: RepairText) -> Outcome:
    """The rows with their texts repaired, and in ``repairs`` which changed one; a text of which nothing stays is a reject.

    The manifest counts the rows of each repair. The ids of changed rows are made anew (``source_id`` stays), so what refers to
    them comes later: repair documents before they are split, for ``start`` and ``end`` of a passage count in its document as it
    was, and drop duplicates behind it, for two texts may have become one. The text is the last of ``columns``; empty ones stay.
    """
    done: list[list[str]] = [[] for _ in range(len(table))]
    changed = np.zeros(len(table), bool)
    wide = table
    for name in p.columns:
        values, suspect = table[name].combine_chunks(), _suspects(table[name], p.repairs)
        fixed: list[str] = []
        for i in suspect:
            was = values[int(i)].as_py()
            said, kinds = repaired(was, p.repairs)
            fixed.append(said)
            changed[i] |= said != was
            done[i] += [kind for kind in kinds if kind not in done[i]]
        if len(suspect):
            mask = np.zeros(len(table), bool)
            mask[suspect] = True
            wide = columns.put(wide, name, pc.replace_with_mask(values, pa.array(mask), pa.array(fixed, text)))
    wide = columns.put(wide, "repairs", pa.array([[kind for kind in KINDS if kind in kinds] for kinds in done], texts))
    wide = columns.renewed(wide, p.identify, changed)
    was, now = (pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(t[p.columns[-1]])), 0).to_numpy() for t in (table, wide))
    gone = now & ~was
    return reject(wide, gone, "nothing left of the text", table[p.columns[-1]].to_pylist() if gone.any() else None)


def _suspects(column: pa.ChunkedArray, kinds: tuple[Kind, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The rows that a repair may touch: with a character that is neither printable ASCII, tab nor line feed, or an entity."""
    odd = pc.invert(pc.match_substring_regex(column, _PLAIN))
    if "entities" in kinds:
        odd = pc.or_(odd, pc.match_substring(column, "&"))
    return np.flatnonzero(odd.to_numpy())


def repaired(said: str, kinds: tuple[Kind, ...]) -> tuple[str, list[str]]:
    """The text repaired, and the kinds that changed it."""
    done: list[str] = []
    for kind in KINDS:
        if kind in kinds and (new := _REPAIRS[kind](said)) != said:
            said = new
            done.append(kind)
    return said, done


def _encoding(said: str) -> str:
    """Each line by ftfy; by pieces of a text, so that time and memory grow with its length alone."""
    if said.isascii() or not _misread().search(said):
        return said
    return "".join(map(_read_again, _pieces(said)))


def _read_again(piece: str) -> str:
    import ftfy

    misread = _misread()
    return "\n".join(ftfy.fix_encoding(line) if misread.search(line) else line for line in piece.split("\n"))


@lru_cache(maxsize=1)
def _misread() -> re.Pattern[str]:
    """What a line must hold for ftfy to read it again: the bytes of one UTF-8 character in an encoding of one byte each, or C1.

    ftfy's own test reads 3 million characters a second, this one 35: of Danish, Italian or Japanese almost no line passes.
    """
    from ftfy.chardata import CHARMAP_ENCODINGS

    def read(low: int, high: int) -> str:
        said = {bytes([b]).decode(name, "ignore") for name in CHARMAP_ENCODINGS for b in range(low, high)}
        return "[" + re.escape("".join(sorted(said))) + "]"

    more = read(0x80, 0xC0)[:-1] + " \x1a\ufffd?]"  # ftfy also mends what stands for a lost byte
    two, three, four = read(0xC2, 0xE0), read(0xE0, 0xF0), read(0xF0, 0xF5)
    return re.compile(f"{two}{more}|{three}{more}{{2}}|{four}{more}{{3}}|[\x80-\x9f]")


def _pieces(said: str) -> list[str]:
    """Cut behind a line feed, else a blank, where there is one."""
    cuts, start = [0], 0
    while len(said) - start > _LONG:
        end = start + _LONG
        start = next((at + 1 for mark in "\n " if (at := said.rfind(mark, start, end)) >= start), end)
        cuts.append(start)
    return [said[a:b] for a, b in zip(cuts, [*cuts[1:], len(said)], strict=True)]


def _entities(said: str) -> str:
    import ftfy.fixes

    return said if "<" in said else str(ftfy.fixes.unescape_html(said))


def _escapes(said: str) -> str:
    """Without terminal escapes and overstriking: the rendered pages of man write N, backspace, N for a bold N."""
    return _ESCAPE.sub("", said) if "\x1b" in said or "\b" in said else said


_REPAIRS: Mapping[Kind, Callable[[str], str]] = {
    "mojibake": _encoding, "entities": _entities, "escapes": _escapes,
    "line_ends": lambda said: _LINE_END.sub("\n", said),
    "control": lambda said: _CONTROL.sub("", said),
    "invisible": lambda said: said if said.isascii() else _INVISIBLE.sub("", said),
    "normal_form": normal,
}  # fmt: skip


def example() -> Example:
    """Five documents: one whole, one read as Latin-1, marks that nobody sees, two line ends, nothing else."""
    titles = ["Ice", "Caf\u00c3\u00a9", "Soft\u00adhyphen", "Lines", "Empty"]
    bodies = ["It melts.", "The caf\u00c3\u00a9 is open.", "zero\u200bwidth \x1b[1mbold\x1b[0m", "one\r\ntwo\rthree"]
    bodies.append("\ufeff\x01")
    table = pa.table({"title": pa.array(titles, text), "text": pa.array(bodies, text)})
    return Example(table.append_column("doc_id", columns.content_ids(titles, bodies)), RepairText())
