"""Drop lines by the rules of C4 and FineWeb, and those that stand in many documents; what is left of the text stays as it was.

C4 (arXiv:1910.10683, section 2.2) keeps lines with a terminal mark and five words, without JavaScript; its code (c4_utils of
tensorflow-datasets) also drops those with a word of over 1,000 characters or a policy's words. FineWeb (datatrove's
examples/fineweb.py) takes C4's rules but that of terminal marks, with three words, which is the default here. Of a repeated line
no copy stays, where C4 keeps one and CCNet (arXiv:1911.00359, section 3.1) the first of a shard: it is boilerplate everywhere.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators import columns
from operators.characters import class_counts
from operators.content import parents
from operators.contract import ARTIFACTS, Columns, Example, InputError, Outcome, Params, operator, reject, row_id, text, texts
from operators.count_lines import LineCounts, counted, enough
from operators.lines import c4_faults, cuts, matches, words_of

Array = np.ndarray[Any, Any]
Rule = Literal["c4.long_word", "c4.terminal", "c4.words", "c4.javascript", "c4.policy", "symbols"]
REPEATED = "repeated"
NAMES = ("c4.long_word", "c4.terminal", "c4.words", "c4.javascript", "c4.policy", "symbols", REPEATED)  # of several the first


class DropLines(Params):
    """Which column, which rules, and the ids that are hashes of that column."""

    column: str = Field(default="text", min_length=1)
    rules: tuple[Rule, ...] = Field(
        default=("c4.long_word", "c4.words", "c4.javascript", "c4.policy"), description="symbols: not a letter, mark or digit"
    )
    words: int = Field(default=3, ge=2, description="of c4.words: a line of fewer is dropped; C4 took 5, FineWeb 3")
    repeated: int | None = Field(default=None, ge=2, description="lines of at least so many documents; using: {counts: STEP}")
    identify: dict[str, list[str]] = Field(
        default={"doc_id": ["title", "text"]}, description='id column: the columns that it is the hash of; "" is an empty one'
    )

    @model_validator(mode="after")
    def every_option_acts(self) -> Self:
        """Refuse what does nothing."""
        if not self.rules and self.repeated is None:
            raise ValueError("rules are empty and repeated is null: no line would be dropped")
        if len(set(self.rules)) < len(self.rules):
            raise ValueError("rules name each once")
        if self.moved("words") and "c4.words" not in self.rules:
            raise ValueError("words does nothing where rules lack c4.words; leave it out")
        for name, of in self.identify.items():
            if self.column not in of:
                raise ValueError(f"identify.{name}: lacks {self.column}, so that id never changes; leave it out")
        return self


def _reads(p: DropLines) -> Columns:
    hashed = [c for of in p.identify.values() for c in of if c]
    return {**dict.fromkeys(p.identify, row_id), **dict.fromkeys(dict.fromkeys([p.column, *hashed]), text)}


def _writes(p: DropLines) -> Columns:
    return {**dict.fromkeys(p.identify, row_id), p.column: text, "dropped_lines": texts}


def _measure(table: pa.Table, p: DropLines) -> Mapping[str, int]:
    found = Counter(columns.flat(table["dropped_lines"])[1].to_pylist())
    return {f"lines dropped by {name}": found[name] for name in NAMES if found[name]}


def _lacks(p: DropLines, there: bool) -> list[str]:
    if there == (p.repeated is not None):
        return []
    return ["counts do nothing where repeated is null: give it" if there else "repeated lacks using: {counts: STEP}"]


@operator(
    "map", version="1", reads=_reads, writes=_writes, rows="fewer", measure=_measure,
    check=lambda p, using: _lacks(p, "counts" in using[ARTIFACTS]) if ARTIFACTS in using else [],
)  # fmt: skip
def drop_lines(table: pa.Table, p: DropLines, *, counts: LineCounts | None = None) -> Outcome:
    """The rows without those lines, and in ``dropped_lines`` the rule of each; a text without a line left is a reject.

    An empty line behind a dropped one goes with it where another empty line or nothing stands before, or nothing behind. The
    manifest counts lines by rule. The ids of changed rows are made anew, so passages and what else refers to them come later.
    """
    if fault := _lacks(p, counts is not None):
        raise InputError(fault[0])
    if counts is not None and p.repeated is not None:
        enough(counts, p.repeated)
    said = table[p.column].combine_chunks()
    made: list[str] = []
    dropped: list[list[str]] = [[] for _ in range(len(table))]
    for start, end in cuts(said):
        part = said.slice(start, end - start)
        rows, which, why = _bad(part, p, counts)
        edges = np.searchsorted(rows, np.arange(len(part) + 1))
        for i in np.flatnonzero(np.diff(edges)).tolist():
            own = slice(edges[i], edges[i + 1])
            dropped[start + i] = [NAMES[n] for n in why[own].tolist()]
            made.append(without(part[i].as_py().split("\n"), which[own].tolist()))
    changed = np.array([bool(one) for one in dropped], bool)
    new = pc.replace_with_mask(said, pa.array(changed), pa.array(made, text)) if made else said
    wide = columns.put(columns.put(table, p.column, new), "dropped_lines", pa.array(dropped, texts))
    wide = columns.renewed(wide, p.identify, changed)
    gone = changed & ~matches(new, r"[^\s\p{Z}]")
    told = [f"{len(one)} lines, {Counter(one).most_common(1)[0][0]}" if g else "" for one, g in zip(dropped, gone, strict=True)]
    return reject(wide, gone, "no line left", told)


def _bad(said: pa.Array, p: DropLines, counts: LineCounts | None) -> tuple[Array, Array, Array]:
    """(rows, numbers of the line in its text, numbers of the rule in `NAMES`) of every line that goes."""
    offsets, lines = columns.flat(pc.split_pattern(said, "\n"))
    rows, lines = parents(offsets), pc.utf8_trim_whitespace(lines)
    full = np.flatnonzero(pc.greater(pc.binary_length(lines), 0).to_numpy(zero_copy_only=False))
    lines, rows = lines.take(pa.array(full)), rows[full]
    of = class_counts(said)
    faults = dict[str, Array]()
    if any(rule.startswith("c4.") for rule in p.rules):
        words, owner = words_of(lines, (2 * of["unspaced"] > of["letter"])[rows])
        faults = c4_faults(lines, words, owner, p.words)
        faults["c4.terminal"] &= ~(2 * of["unended"] > of["letter"])[rows]
    faults["symbols"] = ~matches(lines, r"[\p{L}\p{M}\p{N}]")
    if counts is not None and p.repeated is not None:
        faults[REPEATED] = counts.documents(lines) >= p.repeated
    why = np.full(len(lines), -1)
    for n in reversed([n for n, name in enumerate(NAMES) if name in p.rules or name == REPEATED and name in faults]):
        why[faults[NAMES[n]]] = n
    bad = why >= 0
    return rows[bad], (full - offsets[:-1][rows])[bad] if len(rows) else full, why[bad]


def without(lines: Sequence[str], dropped: Sequence[int]) -> str:
    """The lines that stay, joined; an empty line behind a dropped one only where no other stands before it."""
    gone, kept, behind = set(dropped), list[str](), False
    for i, line in enumerate(lines):
        if i in gone:
            behind = True
        elif line.strip() or not behind or (kept and kept[-1].strip()):
            kept.append(line)
            behind = behind and not line.strip()
    while behind and kept and not kept[-1].strip():
        kept.pop()
    return "\n".join(kept)


def example() -> Example:
    """Four pages: with a foot that all have, with a line of JavaScript, with nothing but the foot, calm."""
    foot = "All rights reserved by us."
    said = [
        f"Iron rusts in rain.\n\n{foot}\n\nOwls hunt at night.", f"Please enable JavaScript here.\nIce melts in spring.\n{foot}",
        foot,     "Nothing is wrong here.",
    ]  # fmt: skip
    titles = ["Iron", "Ice", "Foot", "Calm"]
    table = pa.table({"title": pa.array(titles, text), "text": pa.array(said, text)})
    table = table.append_column("doc_id", columns.content_ids(titles, said))
    return Example(table, DropLines(repeated=3), {"counts": counted(said)})
