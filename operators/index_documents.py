"""Index which documents a passage stands in, so that a query's own document gives it no negative.

Boilerplate stands in many documents, so a passage has a list of them. A whole document stands in itself. A passage is
known with its title and without.
"""

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from operators import columns
from operators.content import codes, in_row, parents
from operators.contract import Example, Params, operator, row_id, text
from operators.mapped import Mapped, mapped
from operators.spill import Spill

Array = np.ndarray[Any, Any]
_FILES = {"hi.bin": "<u8", "lo.bin": "<u8", "ends.bin": "<i8", "documents.bin": "u1"}
_NAMES = ("passage_id", "doc_id")


class IndexDocuments(Params):
    """Nothing to choose."""


class Documents(Mapped):
    """The documents of each passage; sorted, memory-mapped.

    As of `Texts`, a map may take of it only the documents of the ids in a row, which are in that row's `_key`.
    """

    content_addressed: ClassVar[bool] = True
    files = tuple(_FILES)

    def __init__(self, folder: Path, owner: object = None) -> None:
        """Map the files of ``folder``; ``owner`` keeps a temporary folder alive."""
        super().__init__(folder, owner)
        self.counters = {"positives_without_document": 0}
        self._hi, self._lo, self._ends, raw = (mapped(folder / name, kind) for name, kind in _FILES.items())
        self._raw = raw.reshape(-1, 16)

    def of(self, ids: pa.Array | pa.ChunkedArray) -> tuple[Array, pa.Array]:
        """The documents of each passage: offsets (N+1,) into ids (M,) of binary(16); an unknown passage has none."""
        rows = columns.places(self._hi, self._lo, columns.id_pairs(ids))
        starts, sizes = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        behind, known = rows > 0, rows >= 0
        starts[behind] = self._ends[rows[behind] - 1]
        sizes[known] = self._ends[rows[known]] - starts[known]
        offsets, at = columns.ragged(starts, sizes)
        raw = np.ascontiguousarray(self._raw[at])
        return offsets, pa.Array.from_buffers(row_id, len(raw), [None, pa.py_buffer(raw)])

    def own(self, rows: Array, ids: pa.Array, of_rows: Array, of_ids: pa.Array) -> Array:
        """Whether each passage (M,) shares a document with one that ``of_ids`` has in the same row: (M,) bool."""
        offsets, found = self.of(ids)
        of_offsets, wanted = self.of(of_ids)
        number, of_number = codes([found, wanted])
        shared = in_row(np.repeat(rows, np.diff(offsets)), number, np.repeat(of_rows, np.diff(of_offsets)), of_number)
        mask: Array = np.bincount(parents(offsets)[shared], minlength=len(ids)) > 0
        return mask

    def count_strays(self, positives: pa.Array) -> None:
        """Count the positives that stand in no document: nothing bars what else their page says."""
        self.counters["positives_without_document"] += int((np.diff(self.of(positives)[0]) == 0).sum())

    def exact(self, ids: pa.Array | pa.ChunkedArray) -> Array:
        """A hash of each passage's documents: (N, 16) bytes, zeros where it has none."""
        offsets, documents = self.of(ids)
        raw, found = columns.id_matrix(documents).tobytes(), np.zeros((len(offsets) - 1, 16), np.uint8)
        for i in np.flatnonzero(np.diff(offsets)):
            digest = xxhash.xxh3_128_digest(raw[offsets[i] * 16 : offsets[i + 1] * 16])
            found[i] = np.frombuffer(digest, np.uint8)
        return found


class DocumentsFold:
    """Documents under way: rows wait on disk, cut by their passage."""

    def __init__(self) -> None:
        """Start with no passage."""
        self._spill = Spill("passage_id")

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in passages."""
        self._spill.add(table.select(list(_NAMES)))
        # A positive may be a whole document whose passages are searched: of one title and text, their ids are equal.
        whole = pc.unique(table["doc_id"])
        self._spill.add(pa.table([whole, whole], names=list(_NAMES)))
        # A user's pairs seldom have the titles of the corpus, and an id is of both: a passage is known without its title, too.
        for part in columns.slices(table.filter(pc.not_equal(table["title"], ""))):
            plain = columns.content_ids([""] * len(part), part["passage"].to_pylist())
            self._spill.add(pa.table([plain, part["doc_id"]], names=list(_NAMES)))

    def merge(self, later: "DocumentsFold") -> None:
        """Take in the fold of later passages."""
        for table in later._spill.tables():
            self._spill.add(table)

    def finish(self) -> Documents:
        """Write each passage with its documents, every one once, and map the files."""
        temporary = tempfile.TemporaryDirectory(prefix="pithead-documents-")
        folder, total = Path(temporary.name), 0
        files = [(folder / name).open("wb") for name in _FILES]
        for table in self._spill.tables():
            passages, documents = (columns.id_pairs(table[name]) for name in _NAMES)
            order = np.lexsort((documents["lo"], documents["hi"], passages["lo"], passages["hi"]))
            p, d = passages[order], documents[order]
            fresh, first = np.ones(len(order), bool), np.ones(len(order), bool)
            first[1:] = p[1:] != p[:-1]
            fresh[1:] = first[1:] | (d[1:] != d[:-1])
            sizes = np.bincount(np.cumsum(first[fresh]) - 1)
            raw = columns.id_matrix(table["doc_id"])[order[fresh]]
            parts = (p[first]["hi"].astype("<u8"), p[first]["lo"].astype("<u8"), (total + np.cumsum(sizes)).astype("<i8"), raw)
            for file, part in zip(files, parts, strict=True):
                file.write(np.ascontiguousarray(part).tobytes())
            total += len(raw)
        for file in files:
            file.close()
        return Documents(folder, temporary)


@operator("build", version="3", reads={"passage_id": row_id, "doc_id": row_id, "title": text, "passage": text})
def index_documents(p: IndexDocuments) -> DocumentsFold:
    """Index the documents of each passage."""
    return DocumentsFold()


def example() -> Example:
    """Three passages, one of which stands in two documents, one twice in a document."""
    titles, passages = ["", "b", "", "", ""], ["a", "b", "a", "c", "c"]
    table = pa.table({
        "passage_id": columns.content_ids(titles, passages), "title": pa.array(titles, text), "passage": pa.array(passages, text),
        "doc_id": columns.content_ids(["x", "x", "y", "y", "y"]),
    })  # fmt: skip
    return Example(table, IndexDocuments())
