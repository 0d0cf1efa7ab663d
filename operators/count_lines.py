"""Count in how many documents each line stands, so that what a site repeats on every page can be dropped (`drop_lines`).

C4 (arXiv:1910.10683, section 2.2) and CCNet (arXiv:1911.00359, section 3.1) find repeated lines by their hashes, too.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from operators import columns
from operators.contract import Example, InputError, Params, operator, row_id, text
from operators.lines import cuts, split
from operators.mapped import Mapped, mapped
from operators.spill import Spill

Array = np.ndarray[Any, Any]
_FILES = {"hi.bin": "<u8", "lo.bin": "<u8", "documents.bin": "<i4"}
_META = "lines.json"


class CountLines(Params):
    """Which column, which lines are one, and which are kept."""

    column: str = Field(default="text", min_length=1)
    fold_digits: bool = Field(default=False, description="Page 3 and Page 4 are one line, as in CCNet")
    at_least: int = Field(default=2, ge=2, description="lines of fewer documents are left out: of one they are nearly all")


class LineCounts(Mapped):
    """The lines that stand in some documents, as 128-bit hashes, with their counts: 20 bytes a line; sorted, memory-mapped."""

    files = (*_FILES, _META)

    def __init__(self, folder: Path, owner: object = None) -> None:
        """Map the files of ``folder``; ``owner`` keeps a temporary folder alive."""
        super().__init__(folder, owner)
        self._hi, self._lo, self._documents = (mapped(folder / name, kind) for name, kind in _FILES.items())
        said = json.loads((folder / _META).read_text(encoding="utf-8"))
        self.at_least: int = said["at_least"]
        self._fold: bool = said["fold_digits"]

    def __len__(self) -> int:
        """How many lines there are."""
        return len(self._hi)

    def documents(self, lines: pa.Array) -> Array:
        """In how many documents each line (N,) stands: (N,) int64, 0 below ``at_least``."""
        coded = folded(lines, self._fold).dictionary_encode()
        rows = columns.places(self._hi, self._lo, columns.id_pairs(_hashes(coded.dictionary)))
        known = np.zeros(len(rows), np.int64)
        known[rows >= 0] = self._documents[rows[rows >= 0]]
        found: Array = known[coded.indices.to_numpy(zero_copy_only=False)]
        return found


class LineFold:
    """Counts under way: hashes wait on disk, 20 bytes a document and line; in memory are those of one part's slice, or a cut."""

    def __init__(self, p: CountLines) -> None:
        """Start with no line."""
        self._p = p
        self._spill = Spill("line")

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part; a line counts once a document."""
        said = table[self._p.column].combine_chunks()
        for start, end in cuts(said):
            lines, rows = split(said.slice(start, end - start), "\n")
            coded = folded(lines, self._p.fold_digits).dictionary_encode()
            width = max(len(coded.dictionary), 1)
            pairs = np.unique(rows * width + coded.indices.to_numpy(zero_copy_only=False))
            counts = np.bincount(pairs % width, minlength=len(coded.dictionary)).astype(np.int32)
            self._spill.add(pa.table({"line": _hashes(coded.dictionary), "documents": pa.array(counts)}))

    def merge(self, later: "LineFold") -> None:
        """Take in the fold of later parts."""
        for table in later._spill.tables():
            self._spill.add(table)

    def finish(self) -> LineCounts:
        """Add up each line's counts, a cut at a time, and write those of enough documents."""
        temporary = tempfile.TemporaryDirectory(prefix="pithead-lines-")
        folder = Path(temporary.name)
        files = [(folder / name).open("wb") for name in _FILES]
        for table in self._spill.tables():
            pairs = columns.id_pairs(table["line"])
            first = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]]))
            total = np.add.reduceat(table["documents"].to_numpy().astype(np.int64), first)
            some = total >= self._p.at_least
            kept = pairs[first[some]]
            for file, values in zip(files, (kept["hi"], kept["lo"], total[some]), strict=True):
                file.write(values.astype(_FILES[Path(file.name).name]).tobytes())
        for file in files:
            file.close()
        said = {"at_least": self._p.at_least, "fold_digits": self._p.fold_digits}
        (folder / _META).write_text(json.dumps(said, sort_keys=True), encoding="utf-8")
        return LineCounts(folder, temporary)


def folded(lines: pa.Array, digits: bool) -> pa.Array:
    """Lines as they are compared: without case and outer space, white space folded, every digit 0 where asked."""
    said = pc.replace_substring_regex(pc.utf8_lower(pc.utf8_trim_whitespace(lines)), r"[\s\p{Z}]+", " ")
    return pc.replace_substring_regex(said, r"\p{Nd}", "0") if digits else said


def _hashes(lines: pa.Array) -> pa.Array:
    found = [xxhash.xxh3_128_digest(line.as_buffer()) for line in lines]
    return pa.array(found, row_id)


def enough(counts: LineCounts, documents: int) -> None:
    """Raise `InputError` where lines of so many documents were left out of the counts."""
    if documents < counts.at_least:
        raise InputError(f"repeated: {documents} is below the at_least: {counts.at_least} of count_lines; lower that one")


@operator("build", version="1", reads=lambda p: {p.column: text}, measure=lambda made, p: {"repeated lines": len(made)})
def count_lines(p: CountLines) -> LineFold:
    """Count the documents of each line; drop duplicates before, or a page that was read twice repeats all its lines."""
    return LineFold(p)


def counted(said: list[str], p: CountLines | None = None) -> LineCounts:
    """The counts of texts: what an example needs."""
    fold = count_lines(p or CountLines())
    fold.add(pa.table({"text": pa.array(said, text)}), 0)
    made: LineCounts = fold.finish()
    return made


def example() -> Example:
    """Three pages with one foot, in two cases, and a line that only one of them repeats."""
    said = ["Iron.\nAll rights reserved.", "Owls hunt.\nOwls hunt.\n\nALL  rights reserved.", "Page 3\nall rights reserved."]
    return Example(pa.table({"text": pa.array(said, text)}), CountLines())
