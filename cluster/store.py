"""The store: files below one root, on a local disk or any file system of pyarrow or fsspec.

A part is written under a name with its attempt, one small record commits it, the manifest lists
the winners. So no rename and no lock is needed to be right: a part that nobody committed is litter.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import secrets
import tempfile
import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from cluster.address import has_folders, open_address
from operators.contract import InputError

LONG = 64  # numbers in a list from which it is a vector
MANY = 1000  # parts from which a manifest is long


class Hashing(io.RawIOBase):
    """A file that takes the sha256 of what is written, so that no part is read back for it."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.digest = inner, hashlib.sha256()

    def writable(self) -> bool:
        """It only writes."""
        return True

    def write(self, data: Any) -> int:
        """Hash and pass on."""
        self.digest.update(data)
        self.inner.write(data)
        return len(data)

    def close(self) -> None:
        """Close the file below, once."""
        if not self.closed:
            self.inner.close()
        super().close()


class Store:
    """Files by relative path. Made from its address, so that a worker can open it too."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        if "://" not in uri:
            self.uri = os.path.abspath(os.path.expanduser(uri))
        self.fs, self.root = open_address(self.uri)
        self._copying = threading.Lock()

    @property
    def local(self) -> Path | None:
        """The root as a folder, where it is one."""
        return Path(self.root) if isinstance(self.fs, pafs.LocalFileSystem) else None

    def path(self, name: str) -> str:
        """The path of a file as its file system takes it."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return bool(self.fs.get_file_info(self.path(name)).type != pafs.FileType.NotFound)

    def names(self, folder: str) -> list[str]:
        """The names of the files directly below ``folder``, sorted; none where it is missing."""
        try:
            if self.local is not None:  # of 100,000 files 0.1 s; pyarrow looks at each, which takes 1.2
                return sorted(os.listdir(self.path(folder)))
            found = self.fs.get_file_info(pafs.FileSelector(self.path(folder), allow_not_found=True))
        except FileNotFoundError:  # another process made the folder between pyarrow's two looks at it
            return []
        return sorted(f.base_name for f in found)

    def size(self, name: str) -> int | None:
        """The bytes of a file; None where it is missing."""
        return self.fs.get_file_info(self.path(name)).size  # type: ignore[no-any-return]

    def sizes(self, folder: str) -> dict[str, int]:
        """The bytes of every file below ``folder``, by its path from there; none where it is missing."""
        root = self.path(folder)
        try:
            found = self.fs.get_file_info(pafs.FileSelector(root, allow_not_found=True, recursive=True))
        except FileNotFoundError:
            return {}
        return {f.path[len(root) + 1 :]: f.size for f in found if f.type == pafs.FileType.File}

    def read(self, name: str, start: int = 0) -> bytes:
        """The file from the byte ``start`` on."""
        with self.fs.open_input_file(self.path(name)) as file:
            file.seek(start)
            return bytes(file.read())

    def read_json(self, name: str) -> Any:
        """The file as JSON; None where it is missing or was cut off while it was written."""
        try:
            return json.loads(self.read(name))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def read_text(self, name: str) -> str:
        """A small text file; empty where it is missing."""
        return self.read(name).decode() if self.exists(name) else ""

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, all or nothing."""
        target = self.path(name)
        self._make_folder(target)
        if self.local is None:
            with self.fs.open_output_stream(target) as file:
                file.write(data)
            return
        aside = f"{target}.{secrets.token_hex(4)}.tmp"
        with open(aside, "wb") as plain:
            plain.write(data)
        os.replace(aside, target)

    def write_json(self, name: str, value: Any) -> None:
        """Write JSON with sorted keys: equal values are equal bytes."""
        self.write(name, (_said(value) + "\n").encode())

    def create(self, name: str) -> Hashing:
        """Open a new file for writing; its ``digest`` is the sha256 of what was written."""
        target = self.path(name)
        self._make_folder(target)
        return Hashing(self.fs.open_output_stream(target))

    def write_table(self, name: str, tables: Iterable[pa.Table], schema: pa.Schema | None = None) -> tuple[str, int]:
        """Write a parquet file with one row group a table; returns its sha256 and its rows."""
        tables = iter(tables)
        first = list(islice(tables, 1))
        schema, rows = first[0].schema if schema is None else schema, 0
        with self.create(name) as sink:
            with pq.ParquetWriter(sink, schema, compression="zstd", **_encodings(schema, first)) as writer:
                for table in chain(first, tables):
                    writer.write_table(table, row_group_size=max(len(table), 1))
                    rows += len(table)
            return sink.digest.hexdigest(), rows

    def parquet(self, name: str) -> pq.ParquetFile:
        """Open a parquet file to read row groups of it."""
        return pq.ParquetFile(self.fs.open_input_file(self.path(name)), pre_buffer=True)

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The table of one parquet file."""
        with self.parquet(name) as file:
            return file.read(columns=None if columns is None else list(columns))

    def digest(self, name: str) -> str:
        """The sha256 of a stored file."""
        digest = hashlib.sha256()
        with self.fs.open_input_stream(self.path(name)) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def copy(self, name: str, to: str) -> str:
        """Copy a file; the sha256 of what was copied, empty where there is none."""
        if not self.exists(name):
            return ""
        with self.fs.open_input_stream(self.path(name)) as file, self.create(to) as sink:
            while block := file.read(1 << 20):
                sink.write(block)
            return sink.digest.hexdigest()

    def remove(self, name: str) -> None:
        """Remove a file or a folder; nothing happens where there is none."""
        kind = self.fs.get_file_info(self.path(name)).type
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if kind == pafs.FileType.Directory:
                self.fs.delete_dir(self.path(name))
            elif kind == pafs.FileType.File:
                self.fs.delete_file(self.path(name))

    def save_folder(self, source: Path, name: str) -> dict[str, str]:
        """Copy a local folder's files into the store; returns ``{file: sha256}``."""
        digests = {}
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            relative = path.relative_to(source).as_posix()
            with path.open("rb") as file, self.create(f"{name}/{relative}") as sink:
                while block := file.read(1 << 20):
                    sink.write(block)
                digests[relative] = sink.digest.hexdigest()
        return digests

    def fetch_folder(self, name: str) -> Path:
        """The folder as a local one: itself on a local disk, else a copy held by this process."""
        if self.local is not None:
            return self.local / name
        target = Path(self._copies.name) / name
        with self._copying:  # a worker may hold several parts, each in a thread
            if target.exists():
                return target
            incoming = Path(tempfile.mkdtemp(dir=self._copies.name))  # one that breaks off is none
            for file in self.sizes(name):
                (incoming / file).parent.mkdir(parents=True, exist_ok=True)
                (incoming / file).write_bytes(self.read(f"{name}/{file}"))
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(incoming, target)
        return target

    @cached_property
    def _copies(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="pithead-")

    def _make_folder(self, target: str) -> None:
        if self.local is not None:
            os.makedirs(os.path.dirname(target), exist_ok=True)
        elif has_folders(self.fs):
            self.fs.create_dir(os.path.dirname(target), recursive=True)

    def check_writable(self) -> None:
        """Raise `InputError` unless a file can be written and removed here."""
        try:
            self.write(".write-test", b"x" * 4096)
            self.remove(".write-test")
        except OSError as error:
            raise InputError(f"store {self.uri}: {reason(error)}; give another with --store") from error


def _said(value: Any) -> str:
    """JSON to be read by people; of a long manifest a line a part, for indenting 100,000 of them takes 8 s, this 0.5."""
    if not isinstance(value, dict) or not any(isinstance(v, list) and len(v) > MANY for v in value.values()):
        return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    dump = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode
    lists = {k: ",\n  ".join(map(dump, v)) for k, v in value.items() if isinstance(v, list)}
    lines = [f" {dump(k)}: " + (f"[\n  {lists[k]}\n ]" if lists.get(k) else dump(v)) for k, v in sorted(value.items())]
    return "{\n" + ",\n".join(lines) + "\n}"


def _encodings(schema: pa.Schema, first: Sequence[pa.Table]) -> dict[str, Any]:
    """How columns of vectors are written: byte by byte of all numbers, which packs better and is read three times as fast.

    30,000 × 384 numbers, drawn: 0.95 of their size and 1.8 s to read as parquet does it by itself, 0.85 and 0.55 s so.
    """
    found = [f.name for f in schema if pa.types.is_list(f.type) and pa.types.is_float32(f.type.value_type)]
    vectors = [name for name in found if first and len(first[0]) and _are_vectors(first[0], name)]
    if not vectors:
        return {}
    rest = [path for f in schema if f.name not in vectors for path in _leaves(f.name, f.type)]
    return {"use_dictionary": rest, "use_byte_stream_split": [f"{name}.list.element" for name in vectors]}


def _are_vectors(table: pa.Table, name: str) -> bool:
    """Whether lists are long and equally long; scores, of which many are alike, a dictionary packs better."""
    sizes = pc.min_max(pc.list_value_length(table[name])).as_py()
    return sizes["min"] == sizes["max"] and (sizes["min"] or 0) >= LONG and not name.endswith("scores")


def _leaves(path: str, kind: pa.DataType) -> list[str]:
    return _leaves(f"{path}.list.element", kind.value_type) if pa.types.is_list(kind) else [path]


def reason(error: OSError) -> str:
    """What the operating system said, in words for a person."""
    known = {errno.ENOSPC: "the disk is full", errno.EACCES: "it cannot be written (permission denied)"}
    return known.get(error.errno or 0, f"it cannot be used ({error.strerror or error})")
