"""Index texts: sorted ids, compressed blocks, memory-mapped, so that texts join late by id alone.

Ids travel through a flow; whoever needs the text takes it here. No file is read whole. Passages may
arrive in any order, but in the order of `passage_id`, as behind a group by it, none is written twice.
"""

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Params, operator, row_id, text
from operators.mapped import Mapped, mapped
from operators.spill import Spill

Array = np.ndarray[Any, Any]
_ROWS = 256  # rows a block: what one random read has to decompress
# Keys as bytes: numpy's S16 drops the zero bytes that one may end in.
_FILES = {"hi.bin": "<u8", "lo.bin": "<u8", "keys.bin": "u1", "lengths.bin": "<i4", "exact.bin": "u1"}
_TEXTS, _SCHEMA = "texts.arrow", pa.schema([("text", text)])
_CACHED = 64 << 20  # bytes of blocks kept decompressed: a teacher's candidates come from everywhere, part after part


class IndexTexts(Params):
    """Of what the texts are, and how hard to compress them."""

    level: int = Field(default=3, ge=1, le=19)
    of: Literal["passages", "documents"] = "passages"  # documents: `doc_id` and `text`, before they are split

    @property
    def named(self) -> tuple[str, str]:
        """The columns of the ids and of the texts."""
        return ("passage_id", "passage") if self.of == "passages" else ("doc_id", "text")


class Texts(Mapped):
    """Texts by id: each passage with its title, its content key and its length.

    A map may take of it only the texts of the ids in a row: they are in that row's `_key`, the artifact not in the recipe.
    """

    content_addressed: ClassVar[bool] = True
    files = (*_FILES, _TEXTS)

    def __init__(self, folder: Path, owner: object = None) -> None:
        """Map the files of ``folder``; ``owner`` keeps a temporary folder alive."""
        super().__init__(folder, owner)
        self._hi, self._lo, keys, self._lengths, exact = (mapped(folder / name, kind) for name, kind in _FILES.items())
        self._keys, self._exact = keys.reshape(-1, 16), exact.reshape(-1, 16)
        self._file = pa.ipc.open_file(pa.memory_map(str(folder / _TEXTS)))
        self._blocks, self._held, self._turn = OrderedDict[int, pa.Array](), 0, threading.Lock()  # parts may be done at once

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self._hi)

    def __contains__(self, one: object) -> bool:
        """Whether there is a text of this id."""
        return isinstance(one, bytes) and len(one) == 16 and bool(self.has(pa.array([one], row_id))[0])

    def has(self, ids: pa.Array | pa.ChunkedArray) -> Array:
        """Which of these ids have a text: (N,) bool; a null has none."""
        return self._find(_clean(ids)) >= 0

    def ranks(self, ids: pa.Array | pa.ChunkedArray) -> Array:
        """How many texts have a smaller id: (N,) int64. It hangs on every other text."""
        return columns.ranks(self._hi, self._lo, columns.id_pairs(_clean(ids)))

    def take(self, ids: pa.Array | pa.ChunkedArray) -> pa.Array:
        """The text of each id, the title on a line above; an unknown id is a KeyError, null stays null."""
        rows = self._rows(ids)
        known = rows[rows >= 0]
        order = np.argsort(known, kind="stable")
        blocks, starts = np.unique(known[order] // _ROWS, return_index=True)
        found = [
            self._block(int(block)).take(pa.array(part % _ROWS))
            for block, part in zip(blocks, np.split(known[order], starts[1:]), strict=False)
        ]
        place = np.empty(len(known), np.int64)
        place[order] = np.arange(len(known))
        return _join(found).take(_spread(place, rows >= 0))

    def keys(self, ids: pa.Array | pa.ChunkedArray) -> pa.Array:
        """The key of each passage's content, casefolded and without its title: binary(16)."""
        rows = self._rows(ids)
        picked = np.ascontiguousarray(self._keys[rows[rows >= 0]])
        known = pa.Array.from_buffers(row_id, len(picked), [None, pa.py_buffer(picked)])
        return known if len(known) == len(rows) else known.take(_spread(np.arange(len(known)), rows >= 0))

    def exact(self, ids: pa.Array | pa.ChunkedArray) -> Array:
        """A hash of each text as `take` gives it, white space and case included: (N, 16) bytes, zeros where there is none."""
        rows = self._find(_clean(ids))
        found = np.zeros((len(rows), 16), np.uint8)
        found[rows >= 0] = self._exact[rows[rows >= 0]]
        return found

    def lengths(self, ids: pa.Array | pa.ChunkedArray) -> Array:
        """The length of each text that `take` gives, in characters: (N,) int32, 0 for null."""
        rows = self._rows(ids)
        lengths = np.zeros(len(rows), np.int32)
        lengths[rows >= 0] = self._lengths[rows[rows >= 0]]
        return lengths

    def blocks(self) -> Iterator[tuple[pa.Array, Array, pa.Array]]:
        """Ids, keys and texts of every block, by id."""
        for start in range(0, len(self), _ROWS):
            rows = slice(start, start + _ROWS)
            wide = np.stack([self._hi[rows], self._lo[rows]], axis=1).astype(">u8")
            ids = pa.Array.from_buffers(row_id, len(wide), [None, pa.py_buffer(wide)])
            yield ids, np.asarray(self._keys[rows]), self._block(start // _ROWS)

    def _rows(self, ids: pa.Array | pa.ChunkedArray) -> Array:
        array = _clean(ids)
        rows = self._find(array)
        missing = np.flatnonzero((rows < 0) & array.is_valid().to_numpy(zero_copy_only=False))
        if len(missing):
            raise KeyError(f"no text has the id {array[int(missing[0])].as_py().hex()}")
        return rows

    def _find(self, array: pa.Array) -> Array:
        """Where each id stands, -1 where it does not."""
        rows = columns.places(self._hi, self._lo, columns.id_pairs(array))
        return np.where(array.is_valid().to_numpy(zero_copy_only=False), rows, -1)

    def _block(self, number: int) -> pa.Array:
        with self._turn:
            if (block := self._blocks.pop(number, None)) is None:
                block = self._file.get_batch(number).column(0)
                self._held += block.nbytes
            self._blocks[number] = block
            while self._held > _CACHED and len(self._blocks) > 1:
                self._held -= self._blocks.popitem(last=False)[1].nbytes
            return block


class TextsFold:
    """Texts under way. While ids rise, less than one block is in memory; from the first that does not, all are spilled."""

    def __init__(self, p: IndexTexts) -> None:
        """Start with no text."""
        self._p = p
        self._spill: Spill | None = None
        self._temporary = tempfile.TemporaryDirectory(prefix="pithead-texts-")
        self._folder = Path(self._temporary.name)
        self._files = {name: (self._folder / name).open("wb") for name in _FILES}
        options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=p.level))
        self._writer = pa.ipc.new_file(str(self._folder / _TEXTS), _SCHEMA, options=options)
        self._waiting: list[pa.Array] = []
        self._last: bytes = b""
        # Blocks are compressed and written while the next rows are hashed.
        self._packer, self._packing = ThreadPoolExecutor(1, "texts"), list[Future[None]]()

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in passages; of equal ids the first stays."""
        for part in columns.slices(table):
            title, said = (part[name].combine_chunks() for name in ("title", self._p.named[1]))
            keys = columns.content_ids([one.casefold() for one in said.to_pylist()])
            bare = pc.fill_null(pc.equal(pc.binary_length(title), 0), True)
            whole = said if pc.all(bare).as_py() else pc.if_else(bare, said, pc.binary_join_element_wise(title, said, "\n"))
            self._take(_clean(part[self._p.named[0]]), columns.id_matrix(keys), whole)

    def merge(self, later: "TextsFold") -> None:
        """Take in the fold of later passages, whose blocks are cut anew so that no cut shows."""
        for ids, keys, whole in later.finish().blocks():
            self._take(ids, keys, whole)

    def finish(self) -> Texts:
        """Close the files and map them."""
        if self._spill is not None:
            fold = TextsFold(self._p)
            for table in self._spill.tables():
                fold._append(_clean(table["id"]), columns.id_matrix(_clean(table["key"])), table["text"].combine_chunks())
            return fold.finish()
        self._write(sum(map(len, self._waiting)))
        self._settle()
        self._packer.shutdown()
        self._writer.close()
        for file in self._files.values():
            file.close()
        return Texts(self._folder, self._temporary)

    def _take(self, ids: pa.Array, keys: Array, whole: pa.Array) -> None:
        if self._spill is None:
            if _rising(self._last, ids):
                return self._append(ids, keys, whole)
            before, spill = self.finish(), Spill("id")
            for rows in before.blocks():
                spill.add(_table(*rows))
            self._spill = spill
        self._spill.add(_table(ids, keys, whole))
        return None

    def _append(self, ids: pa.Array, keys: Array, whole: pa.Array) -> None:
        if not len(ids):
            return
        pairs = columns.id_pairs(ids)
        before = columns.id_pairs(pa.array([self._last or bytes(16)], row_id))
        joined = np.concatenate([before, pairs])
        same = joined[1:] == joined[:-1]
        if not self._last:
            same[0] = False
        self._last = ids[len(ids) - 1].as_py()
        kept = pairs[~same]
        whole = whole.filter(pa.array(~same))
        lengths = pc.utf8_length(whole).to_numpy().astype("<i4")
        parts = (kept["hi"].astype("<u8"), kept["lo"].astype("<u8"), keys[~same], lengths, _exact(whole))
        for file, part in zip(self._files.values(), parts, strict=True):
            file.write(np.ascontiguousarray(part).tobytes())
        self._waiting.append(whole)
        if rows := sum(map(len, self._waiting)) // _ROWS * _ROWS:
            self._write(rows)

    def _write(self, rows: int) -> None:
        """Write the first ``rows`` waiting texts, in blocks."""
        waiting = _join(self._waiting)
        self._settle()  # no more than one lot is under way
        self._packing.append(self._packer.submit(self._pack, waiting.slice(0, rows)))
        self._waiting = [_packed(waiting.slice(rows))]

    def _settle(self) -> None:
        """Wait for the rows that are being written, and raise what went wrong there."""
        while self._packing:
            self._packing.pop().result()

    def _pack(self, rows: pa.Array) -> None:
        for start in range(0, len(rows), _ROWS):
            self._writer.write_batch(pa.record_batch([_packed(rows.slice(start, _ROWS))], schema=_SCHEMA))


def _packed(part: pa.Array) -> pa.Array:
    """A copy with buffers of its own: a slice keeps the whole in memory, and its file bytes tell the cut."""
    _, offsets, data = part.buffers()
    if not len(part) or data is None:
        return pa.array([""] * len(part), text)
    ends = np.frombuffer(offsets, np.int32)[part.offset : part.offset + len(part) + 1]
    own = data.slice(int(ends[0]), int(ends[-1] - ends[0])).to_pybytes()
    return pa.StringArray.from_buffers(len(part), pa.py_buffer((ends - ends[0]).tobytes()), pa.py_buffer(own))


def _rising(last: bytes, ids: pa.Array) -> bool:
    """Whether no id is below the one before it, ``last`` before the first."""
    pairs = columns.id_pairs(pa.concat_arrays([pa.array([last or bytes(16)], row_id), ids]))
    high, low = pairs["hi"], pairs["lo"]
    return not np.any((high[1:] < high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] < low[:-1])))


def _table(ids: pa.Array, keys: Array, whole: pa.Array) -> pa.Table:
    packed = pa.Array.from_buffers(row_id, len(ids), [None, pa.py_buffer(np.ascontiguousarray(keys))])
    return pa.table({"id": ids, "key": packed, "text": whole})


def _exact(whole: pa.Array) -> Array:
    return np.frombuffer(b"".join(xxhash.xxh3_128_digest(t.as_buffer()) for t in whole), np.uint8).reshape(-1, 16)


def _clean(ids: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array of binary(16), also from a chunked, a sliced or an untyped empty one."""
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    arrays = [chunk if chunk.type == row_id else chunk.cast(row_id) for chunk in chunks]
    return pa.concat_arrays(arrays) if arrays else pa.array([], row_id)


def _join(arrays: list[pa.Array]) -> pa.Array:
    return pa.concat_arrays(arrays) if arrays else pa.array([], text)


def _spread(place: Array, known: Array) -> pa.Array:
    """Indices for ``take`` with a null where nothing is known."""
    where = np.zeros(len(known), np.int64)
    where[known] = place
    return pa.array(where, mask=~known)


def _reads(p: IndexTexts) -> Columns:
    return {p.named[0]: row_id, "title": text, p.named[1]: text}


@operator("build", version="2", reads=_reads, rows="same")
def index_texts(p: IndexTexts) -> TextsFold:
    """Index passages or documents by id, with their titles."""
    return TextsFold(p)


def example() -> Example:
    """Four passages in the order of their ids."""
    words = ["a tree", "The river", "the  RIVER", "stone"]
    titles = ["Oak", "", "Rhine", ""]
    table = pa.table({"title": pa.array(titles, text), "passage": pa.array(words, text)})
    table = table.append_column("passage_id", columns.content_ids(titles, words))
    return Example(table.sort_by("passage_id"), IndexTexts())
