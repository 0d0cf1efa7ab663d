"""The files of an export: written below one folder, counted, equal bytes for equal rows."""

import gzip
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from operators.contract import InputError

OPEN = 512  # files of sources that may be open at once
GROUP = 1024  # rows a row group of parquet


def dumped(value: Any, *, plain: bool = False) -> bytes:
    """One line of JSON, keys in the order given; ``plain`` escapes all but ASCII. No NaN and no infinity can be in it."""
    return (json.dumps(value, ensure_ascii=plain, allow_nan=False) + "\n").encode()


class Lines:
    """A file of lines, compressed where its name ends in ``.gz``."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("wb")
        packed = path.suffix == ".gz"
        # No name and no time in the header: equal lines are equal bytes.
        self._file: Any = gzip.GzipFile("", "wb", 6, self._raw, mtime=0) if packed else io.BufferedWriter(self._raw)  # type: ignore[arg-type]
        self.rows = self.size = 0

    def write(self, line: bytes) -> None:
        """Add one line, which ends in a newline."""
        self._file.write(line)
        self.rows += 1
        self.size += len(line)

    @property
    def stream(self) -> Any:
        """The file itself, of which lines are no matter."""
        return self._file

    def close(self) -> None:
        """Write what is held."""
        self._file.close()
        self._raw.close()


class Rows:
    """A parquet file in row groups of `GROUP` rows, however the rows arrive."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer, self._schema = pq.ParquetWriter(path, schema, compression="zstd"), schema
        self._held: list[pa.Table] = []
        self._waiting = self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        self._held.append(table.cast(self._schema))
        self._waiting += len(table)
        self.rows += len(table)
        if self._waiting >= GROUP:
            whole = pa.concat_tables(self._held)
            cut = len(whole) // GROUP * GROUP
            self._writer.write_table(whole.slice(0, cut), row_group_size=GROUP)
            self._held, self._waiting = [whole.slice(cut)], len(whole) - cut

    def close(self) -> None:
        """Write what is held."""
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._held), row_group_size=GROUP)
        self._writer.close()


class Sink:
    """A folder of files, with the rows of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, Lines | Rows] = {}
        self._rows: dict[str, int] = {}

    def lines(self, name: str) -> Lines:
        """The file of lines of this name, begun where it is new."""
        made = self._opened(name, Lines)
        assert isinstance(made, Lines)
        return made

    def parquet(self, name: str, schema: pa.Schema) -> Rows:
        """The parquet file of this name, begun where it is new."""
        made = self._opened(name, lambda path: Rows(path, schema))
        assert isinstance(made, Rows)
        return made

    def bytes(self, name: str, data: bytes, rows: int = 0) -> None:
        """A whole file."""
        self._path(name).write_bytes(data)
        self._rows[name] = rows

    def json(self, name: str, value: Any) -> None:
        """A small JSON file for people and machines."""
        self.bytes(name, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())

    @property
    def begun(self) -> Iterable[str]:
        """The files that are open."""
        return self._open.keys()

    def sample(self) -> tuple[str, dict[str, Any]] | None:
        """A file of rows, the first by name whose rows can be read as they are, with its first; all that is open is closed."""
        for name in list(self._open):
            self.close(name)
        for name in sorted(n for n, rows in self._rows.items() if rows):
            path = self.folder / name
            if name.endswith(".parquet"):
                return name, next(pq.ParquetFile(path).iter_batches(1)).to_pylist()[0]
            if name.endswith((".jsonl", ".jsonl.gz")):
                with (gzip.open if name.endswith(".gz") else open)(path, "rb") as file:
                    return name, json.loads(file.readline())
        return None

    def close(self, name: str) -> None:
        """Close one file, which is whole."""
        one = self._open.pop(name)
        one.close()
        self._rows[name] = one.rows

    def finish(self) -> list[dict[str, Any]]:
        """Close everything; each file with its rows and sha256, by name."""
        for name in list(self._open):
            self.close(name)
        found = []
        for name, rows in sorted(self._rows.items()):
            with (self.folder / name).open("rb") as file:
                found.append({"file": name, "rows": rows, "sha256": hashlib.file_digest(file, "sha256").hexdigest()})
        return found

    def _opened(self, name: str, begin: Callable[[Path], Lines | Rows]) -> Lines | Rows:
        if name not in self._open:
            if name in self._rows:
                raise ValueError(f"{name} was closed")
            if len(self._open) >= OPEN:
                raise InputError("the set has so many sources (where prompts is trainer: and instructions), each in files of its"
                                 f" own, that more than {OPEN} would be open; give fewer, or --set prompts=text")  # fmt: skip
            self._open[name] = begin(self._path(name))
        return self._open[name]

    def _path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Shards:
    """Parquet or line files of at most so many rows, numbered."""

    def __init__(self, sink: Sink, pattern: str, size: int) -> None:
        """``pattern`` has one ``{:05d}``."""
        self._sink, self._pattern, self._size, self.number = sink, pattern, size, 0

    @property
    def name(self) -> str:
        """The file that takes the next row."""
        return self._pattern.format(self.number)

    def cut(self) -> None:
        """What comes next stands in a file of its own."""
        if self.name in self._sink.begun:
            self._sink.close(self.name)
            self.number += 1

    def table(self, table: pa.Table) -> None:
        """Add rows to parquet shards."""
        while len(table):
            file = self._sink.parquet(self.name, table.schema)
            room = self._size - file.rows
            file.write(table.slice(0, room))
            table = table.slice(room)
            if file.rows == self._size:
                self._sink.close(self.name)
                self.number += 1

    def lines(self, lines: Iterable[bytes]) -> None:
        """Add lines to shards of lines."""
        for line in lines:
            file = self._sink.lines(self.name)
            file.write(line)
            if file.rows == self._size:
                self._sink.close(self.name)
                self.number += 1


def named(source: str, *more: str) -> str:
    """A file name of a source: its letters, and a hash where that loses something, so that two never meet.

    A file system may take upper case for lower, so a capital has its hash, too, and a name that ends like one.
    """
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", source).strip("-")[:80]
    # FlagEmbedding takes a name that ends with its mark as a wish to have no negatives from the batch.
    if slug != source or slug != slug.lower() or any(more) or not slug or re.search("(no_in_batch_neg|-[0-9a-f]{8})$", slug):
        slug = f"{slug or 'set'}-{xxhash.xxh3_64_hexdigest(json.dumps([source, *more]).encode())[:8]}"
    return slug
