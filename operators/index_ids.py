"""Map a user's own ids to ours, so that judgements made on theirs can be resolved."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import model_validator

from operators import columns
from operators.contract import Columns, Example, Params, operator, row_id, text
from operators.mapped import Mapped

Array = np.ndarray[Any, Any]
_FILES = ("names.npy", "ids.npy")
_CARRIED = "carried.arrow"
_WIDE = np.dtype([("hi", "<u8"), ("lo", "<u8")])


class IndexIds(Params):
    """Which id a ``source_id`` stands for, the texts to keep with it, and the order among several."""

    id: Literal["doc_id", "passage_id", "query_id"] = "passage_id"
    carry: tuple[str, ...] = ()  # text columns, such as query
    order_by: Literal["", "start"] = ""  # of the ids of one source_id; empty: as they arrive

    @model_validator(mode="after")
    def _carries_text(self) -> Self:
        if len(set(self.carry)) < len(self.carry) or {self.id, "source_id"} & set(self.carry):
            raise ValueError("carry names text columns, each once, besides source_id and the id")
        return self


class IdMap(Mapped):
    """``source_id`` → ids, by a hash of 128 bits; memory-mapped."""

    files = (*_FILES, _CARRIED)

    def __init__(self, folder: Path, owner: object = None) -> None:
        """Map the files of ``folder``; ``owner`` keeps a temporary folder alive."""
        super().__init__(folder, owner)
        self._names = np.load(folder / "names.npy", mmap_mode="r", allow_pickle=False)
        self._ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
        self._carried = pa.ipc.open_file(pa.memory_map(str(folder / _CARRIED))).read_all()

    def __len__(self) -> int:
        """How many pairs of a ``source_id`` and an id there are."""
        return len(self._ids)

    @property
    def carries(self) -> list[str]:
        """The names of the carried columns."""
        return list(self._carried.column_names)

    def find(self, source_ids: Sequence[str]) -> tuple[Array, pa.Array]:
        """The ids of each: offsets (N+1,) into ids (M,) of binary(16); an unknown one has none."""
        offsets, rows = self._rows(source_ids)
        raw = np.ascontiguousarray(self._ids[rows])
        return offsets, pa.Array.from_buffers(row_id, len(rows), [None, pa.py_buffer(raw)])

    def carried(self, source_ids: Sequence[str]) -> pa.Table:
        """The carried columns aligned to the ids that `find` gives."""
        return self._carried.take(pa.array(self._rows(source_ids)[1]))

    def _rows(self, source_ids: Sequence[str]) -> tuple[Array, Array]:
        wanted = _names(source_ids)
        starts = np.searchsorted(self._names["hi"], wanted["hi"])
        ends = np.searchsorted(self._names["hi"], wanted["hi"], side="right")
        offsets, at = columns.ragged(starts, ends - starts)
        # Upper halves are equal by chance once in 2**64: such rows fall out here.
        right = self._names["lo"][at] == np.repeat(wanted["lo"], ends - starts)
        sums = np.concatenate([[0], np.cumsum(right)])
        return sums[offsets], at[right]


class IdsFold:
    """An `IdMap` under way: 36 bytes a row in memory, and what is carried."""

    def __init__(self, p: IndexIds) -> None:
        """Start with no id."""
        self._p = p
        self._parts: list[tuple[Array, Array, Array, pa.Table]] = []

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        for part in columns.slices(table):
            order = part["start"].to_numpy() if self._p.order_by else np.zeros(len(part), np.int32)
            names = _names(part["source_id"].to_pylist())
            ids = columns.id_pairs(part[self._p.id]).copy()
            self._parts.append((names, ids, order, part.select(list(self._p.carry))))

    def merge(self, later: "IdsFold") -> None:
        """Take in the fold of later parts."""
        self._parts += later._parts

    def finish(self) -> IdMap:
        """Sort by the hash of ``source_id``; of one pair met twice the first stays."""
        names = np.concatenate([one[0] for one in self._parts] or [np.empty(0, _WIDE)])
        ids = np.concatenate([one[1] for one in self._parts] or [np.empty(0, _WIDE)])
        order = np.concatenate([one[2] for one in self._parts] or [np.empty(0, np.int32)])
        arrival = np.arange(len(names))
        rows = np.lexsort((arrival, order, ids["lo"], ids["hi"], names["lo"], names["hi"]))
        fresh = np.ones(len(rows), bool)
        fresh[1:] = (names[rows][1:] != names[rows][:-1]) | (ids[rows][1:] != ids[rows][:-1])
        rows = rows[fresh]
        rows = rows[np.lexsort((rows, order[rows], names["lo"][rows], names["hi"][rows]))]
        temporary = tempfile.TemporaryDirectory(prefix="pithead-ids-")
        folder = Path(temporary.name)
        np.save(folder / "names.npy", names[rows].astype(_WIDE))
        wide = np.stack([ids["hi"][rows], ids["lo"][rows]], axis=1).astype(">u8")
        np.save(folder / "ids.npy", wide.view(np.uint8).reshape(-1, 16))
        self._write(folder / _CARRIED, rows)
        return IdMap(folder, temporary)

    def _write(self, path: Path, rows: Array) -> None:
        schema = pa.schema([(name, text) for name in self._p.carry])
        with pa.ipc.new_file(str(path), schema) as file:
            if self._p.carry and self._parts:
                # A take joins the chunks: of more than 2 GiB a string cannot hold them.
                wide = pa.schema([(name, pa.large_string()) for name in self._p.carry])
                whole = pa.concat_tables([one[3] for one in self._parts]).cast(wide)
                for start in range(0, len(rows), columns.SLICE):
                    part = whole.take(pa.array(rows[start : start + columns.SLICE])).cast(schema).combine_chunks()
                    file.write_table(part)


def _names(source_ids: Sequence[str]) -> Array:
    digests = b"".join(xxhash.xxh3_128_digest(one.encode()) for one in source_ids)
    wide = np.frombuffer(digests, ">u8").astype("<u8")
    return wide.view(_WIDE).reshape(-1)


def _reads(p: IndexIds) -> Columns:
    started: Columns = {"start": pa.int32()} if p.order_by else {}
    return {"source_id": text, p.id: row_id, **dict.fromkeys(p.carry, text), **started}


@operator("build", version="1", reads=_reads)
def index_ids(p: IndexIds) -> IdsFold:
    """Index the ids of each ``source_id``."""
    return IdsFold(p)


def example() -> Example:
    """Three queries with their text."""
    queries = ["what is oak?", "what is birch?", "what is elm?"]
    table = pa.table({"source_id": pa.array(["q1", "q2", "q3"], text), "query": pa.array(queries, text)})
    table = table.append_column("query_id", columns.content_ids(queries, [""] * 3))
    return Example(table.sort_by("query_id"), IndexIds(id="query_id", carry=("query",)))
