"""Read records from files: parquet, jsonl (also gz, zst), csv and tsv, text, HTML, PDF and Python folders, BEIR, `datasets`.

Every reader yields `Batch`es: columns of equal length, or a record that cannot be read with its reason.
"""

import difflib
import glob
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operators import csv_lines, documents, extraction
from operators.contract import InputError, Item

ROWS = 4096  # records a batch
LINE = 64 << 20  # bytes a line may have; what is longer is a reject, and is never held whole
SUFFIXES = {
    ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv",
    ".txt": "text", ".md": "text", ".rst": "text", ".trec": "trec", ".qrels": "trec",
    ".pdf": "pdf", ".html": "html", ".htm": "html", ".xhtml": "html", ".py": "python",
}  # fmt: skip
_ALONE = ("text", "html", "pdf")  # a file is a record
_PROSE = (*_ALONE, "python")
_MANIFESTS = ("manifest.json", "dataset_info.json", "dataset_infos.json")
_PAPERS = ("README", "SOURCE", "LICENSE", "LICENCE", "NOTICE", "CHANGELOG", "CITATION")
Bad = tuple[int, str, str]  # record number, reason, value


@dataclass
class Batch:
    """Some records by column, and those that could not be read."""

    columns: dict[str, list[Any]]
    numbers: list[int]  # of the records, from 1
    bad: list[Bad] = field(default_factory=list)


def kind_of(path: Path, given: str) -> str:
    """The format of a file: as given, or by its suffix below any ``.gz`` or ``.zst``."""
    if given != "auto":
        return given
    suffix = [s for s in path.suffixes if s not in (".gz", ".zst")][-1:]
    if not suffix or suffix[0].lower() not in SUFFIXES:
        known = "parquet, jsonl, csv, tsv, text, html, pdf or python"
        raise InputError(f"{path}: its format cannot be told by its name; give format: {known}")
    return SUFFIXES[suffix[0].lower()]


def files_of(path: str, given: str) -> list[Path]:
    """The files that ``path`` names: itself, a published set's shards, a folder's in order of name, or a glob's."""
    root = Path(path)
    if root.is_dir():
        if found := _shards(root, given):
            return found
        found = _data(sorted(p for p in root.rglob("*") if p.is_file() and "/." not in f"/{label(str(p), path)}"), given)
        kinds = {p: [SUFFIXES[s.lower()] for s in p.suffixes if s.lower() in SUFFIXES] for p in found}
        known = [p for p in found if given in kinds[p] or given == "auto" and kinds[p]]
        if given == "auto":  # the script beside records is none; a folder of code alone is code
            known = [p for p in known if kinds[p] != ["python"]] or known
        found = known or (found if given == "text" else [])
    elif root.exists():  # before the glob: a file may be called br[1].jsonl
        found = [root]
    elif any(c in path for c in "*?["):
        found = _data(sorted(p for p in map(Path, glob.iglob(path, recursive=True)) if p.is_file()), given)
    else:
        raise InputError(f"{path}: no such file or folder; mend `path:`")
    if not found:
        raise InputError(f"{path}: it holds no file that can be read; mend `path:`")
    return found


def _shards(folder: Path, given: str) -> list[Path]:
    """The shards of a published set, as its manifest names them; none where the folder is not one."""
    try:
        said = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        found = [folder / Path(shard["file"]).name for shard in said["shards"]]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []
    if given not in ("auto", "parquet"):
        return []
    for shard in found:
        if not shard.is_file():
            raise InputError(f"{shard}: the manifest beside it names it, and it is not there; copy the set again")
    return found


def _data(found: Sequence[Path], given: str) -> list[Path]:
    """Without the papers that stand beside records: a card, a licence, a manifest. Among texts alone they are texts."""
    records = any(SUFFIXES.get(s.lower(), "text") not in _PROSE for p in found for s in p.suffixes if p.name not in _MANIFESTS)
    papers = [p for p in found if p.name in _MANIFESTS or p.stem.upper() in _PAPERS] if records and given != "text" else []
    return [p for p in found if p not in papers]


def digest_of(path: Path) -> str:
    """The sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_items(path: str, given: str) -> list[Item]:
    """One item a file; where the folder lies and the order of its files are no part of the data."""
    found = files_of(path, given)
    readers = {kind: f":{extraction.version_of(kind)}" for f in found if (kind := kind_of(f, given)) in extraction.LIBRARIES}
    told = {f: f"{label(str(f), path)}:{digest_of(f)}{readers.get(kind_of(f, given), '')}" for f in found}
    return [Item(str(f), said, f.stat().st_size) for f, said in told.items()]


def label(file: str, path: str) -> str:
    """A file's name below ``path``, the folder or glob that found it: two folders may each hold an index.md."""
    root = Path(path)
    while any(c in str(root) for c in "*?[") and not root.exists():
        root = root.parent
    return Path(file).relative_to(root).as_posix() if root.is_dir() else Path(file).name


def record_names(file: str, path: str, given: str) -> Callable[[int], str]:
    """Number → what a record without an id of its own is called: its file, and its number where a file holds many."""
    said, alone = label(file, path), kind_of(Path(file), given) in _ALONE
    return lambda number: said if alone else f"{said}:{number}"


def read(path: Path, given: str) -> Iterator[Batch]:
    """Every record of one file."""
    kind = kind_of(path, given)
    readers = {"parquet": _parquet, "jsonl": _jsonl, "csv": _csv, "tsv": _csv, "trec": _trec}
    try:
        yield from _document(path, kind) if kind in _PROSE else readers[kind](path)
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: it ends early, its gzip is cut off; copy it again") from error
    except gzip.BadGzipFile as error:
        raise InputError(f"{path}: it is not gzip, although its name says so") from error
    except OSError as error:
        if path.suffix != ".zst" or error.errno is not None:  # an errno is the disk's word, not the decompressor's
            raise
        said = "it ends early, its zstd is cut off" if "Truncated" in str(error) else "it is not whole zstd"
        raise InputError(f"{path}: {said}; copy it again") from error


def _parquet(path: Path) -> Iterator[Batch]:
    import pyarrow as pa

    with _open_parquet(path) as file:
        number, batches = 1, file.iter_batches(ROWS)
        while True:
            try:
                if (batch := next(batches, None)) is None:
                    return
                columns = {name: batch.column(i).to_pylist() for i, name in enumerate(batch.schema.names)}
            except MemoryError:
                raise
            except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
                said = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
                raise InputError(f"{path}: what stands behind row {number - 1} cannot be read ({said}); copy it again") from error
            yield Batch(columns, list(range(number, number + len(batch))))
            number += len(batch)


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)  # of a row group of 500,000 documents 0.2 GB less
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: it is not a whole parquet file ({str(error).splitlines()[0][:80]}); copy it again") from error


def _bytes(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".zst":
        import pyarrow as pa

        # not zstandard's reader: to that a frame cut off is the end of the file
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None for one that is too long, which is read past piece by piece."""
    with _bytes(path) as file:
        number = 0
        while line := file.readline(LINE + 1):
            number += 1
            if len(line) > LINE:
                while not line.endswith(b"\n") and (line := file.readline(1 << 20)):
                    pass
                yield number, None
            else:
                yield number, line


def _batched(found: csv_lines.Found) -> Iterator[Batch]:
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    bad: list[Bad] = []
    for number, one in found:
        if isinstance(one, dict):
            records.append(one)
            numbers.append(number)
        else:
            bad.append((number, *one))
        if len(records) + len(bad) >= ROWS:
            yield Batch(_columns(records), numbers, bad)
            records, numbers, bad = [], [], []
    yield Batch(_columns(records), numbers, bad)


def _jsonl(path: Path) -> Iterator[Batch]:
    return _batched((number, _record(line)) for number, line in _lines(path) if line is None or line.strip())


def _record(line: bytes | None) -> dict[str, Any] | csv_lines.Fault:
    if line is None:
        return f"a line longer than {LINE >> 20} MB", ""
    head = line[:200].decode("utf-8", "replace").strip()
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return "invalid UTF-8", f"byte {error.start}: {head}"
    except (ValueError, RecursionError):
        return "not JSON", head
    return value if isinstance(value, dict) else ("not a JSON object", head)


def _columns(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = list(dict.fromkeys(name for r in records for name in r))
    return {name: [r.get(name) for r in records] for name in names}


def _csv(path: Path) -> Iterator[Batch]:
    return _batched(csv_lines.records(path, _lines(path), "\t" if ".tsv" in path.suffixes else ",", LINE))


def _document(path: Path, kind: str) -> Iterator[Batch]:
    """A file that is held whole, so it may not be longer than a line of others."""
    if kind == "pdf":
        yield Batch(*documents.pdf(path))
        return
    with _bytes(path) as file:
        raw = file.read(LINE + 1)
    fault = [(1, f"a file longer than {LINE >> 20} MB", "")]
    yield Batch({}, [], fault) if len(raw) > LINE else Batch(*documents.READERS[kind](path, raw))


def _trec(path: Path) -> Iterator[Batch]:
    """TREC qrels: query, iteration, document, relevance."""

    def found() -> csv_lines.Found:
        for number, line in _lines(path):
            fields = (line or b"").decode("utf-8", "replace").split()
            if len(fields) == 4:
                yield number, {"query_id": fields[0], "corpus_id": fields[2], "score": fields[3]}
            elif fields:
                yield number, ("not four fields of TREC qrels", " ".join(fields)[:200])

    return _batched(found())


def first_columns(path: Path, given: str) -> set[str] | None:
    """The columns of a file, told from its head; None where only reading it tells."""
    if (kind := kind_of(path, given)) in extraction.LIBRARIES:
        return {"title", "text"}
    if kind == "parquet":
        with _open_parquet(path) as file:
            return set(file.schema_arrow.names)
    have: set[str] = set()
    count = 0
    for batch in read(path, given):
        have.update(batch.columns)
        count += len(batch.numbers)
        if count >= ROWS:
            break
    return have or None


def pick(names: Iterable[str], wanted: str, given: str | None, usual: Sequence[str], path: str) -> str:
    """The column that holds ``wanted``: as given, or the first usual name; `InputError` otherwise."""
    have = list(names)
    for name in [given] if given else usual:
        if name in have:
            return name
    close = difflib.get_close_matches(given or wanted, have, 1, 0.6)
    hint = f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(sorted(have)) or 'none'}"
    missing = f"no column {given!r}" if given else f"no column for the {wanted}"
    said = f"{path}: {missing}{hint}; name it with `columns: {{{wanted}: ...}}`"
    raise InputError(said.encode("utf-8", "backslashreplace").decode())  # JSON may name half a surrogate pair
