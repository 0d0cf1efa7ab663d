"""Read a corpus: files of most kinds, BEIR folders, Hugging Face datasets, Python's own docstrings."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from operators import formats, python_docs, rows
from operators.columns import content_ids
from operators.contract import InputError, Item, Outcome, Params, operator, row_id, text
from operators.datasets_reader import dataset_batches, dataset_items
from operators.datasets_reader import load as load_dataset

USUAL = {
    "id": ("_id", "id", "docid", "doc_id", "source_id", "corpus_id", "pid"), "title": ("title", "name", "heading"),
    "text": ("text", "body", "contents", "content", "passage", "document"), "lang": ("lang", "language"),
    "source": ("source",), "licence": ("licence", "license"),
}  # fmt: skip
Format = Literal["auto", "parquet", "jsonl", "csv", "tsv", "text", "html", "pdf", "python", "beir", "datasets"]
PYTHON_DOCS = "python-docs:"  # a path: the docstrings of the Python that runs this


class ReadCorpus(Params):
    """Where the documents are and what their columns are called."""

    path: str  # a file, a folder, a glob; with format datasets also a name; python-docs: is Python's own docstrings
    format: Format = "auto"
    columns: dict[Literal["id", "title", "text", "lang", "source", "licence"], str] = {}
    source: str = ""  # default: the row's own, else the file's or folder's name
    lang: str = ""
    licence: str = ""  # default: the row's own
    split: str = "train"  # of a Hugging Face dataset
    max_chars: int = Field(default=20_000_000, ge=1)

    @model_validator(mode="before")
    @classmethod
    def name_python(cls, value: Any) -> Any:
        """Python's own docstrings bring their name and licence; another path never gets them."""
        if isinstance(value, dict) and value.get("path") == PYTHON_DOCS:
            return {"source": "python-docs", "licence": "PSF-2.0", **{k: v for k, v in value.items() if v != ""}}
        return value


LAID_OUT = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".csv", ".tsv")
WRITES = {
    "doc_id": row_id, "source": text, "source_id": text, "title": text, "text": text, "lang": text, "licence": text,
}  # fmt: skip


def place(p: Any, name: str) -> tuple[str, str]:
    """(path, format) of the files: in a BEIR folder, of whatever kind, the file of that name; what `datasets` saved is that."""
    folder = Path(p.path)
    if p.format == "beir":
        return str(folder / f"{name}.jsonl"), "jsonl"
    if p.format == "auto" and (suffix := beir_suffix(folder)):  # the queries beside a corpus are no documents of it
        return str(folder / f"{name}{suffix}"), "auto"
    saved = p.format == "auto" and any((folder / mark).is_file() for mark in ("state.json", "dataset_dict.json"))
    return p.path, "datasets" if saved else p.format


def beir_suffix(folder: Path) -> str:
    """What the files of a folder with a corpus and queries end in, or a corpus alone in BEIR's; empty where it is neither."""
    both = (s for s in LAID_OUT if all((folder / f"{name}{s}").is_file() for name in ("corpus", "queries")))
    return next(both, ".jsonl" if (folder / "corpus.jsonl").is_file() else "")


def items_of(p: Any, name: str) -> list[Item]:
    """What there is to read."""
    path, kind = place(p, name)
    return dataset_items(p) if kind == "datasets" else formats.file_items(path, kind)


def _items(p: ReadCorpus) -> list[Item]:
    if p.path == PYTHON_DOCS:
        return [Item("python-docs", python_docs.digest())]
    return items_of(p, "corpus")


def batches_of(item: Item, p: Any, name: str) -> Iterator[formats.Batch]:
    """The records of one item."""
    kind = place(p, name)[1]
    return dataset_batches(item, p) if kind == "datasets" else formats.read(Path(item.name), kind)


def names_of(item: Item, p: Any, name: str) -> Callable[[int], str]:
    """Number → what a record without an id of its own is called. Looks at the disk: ask once for many records."""
    path, kind = place(p, name)
    if kind == "datasets":
        return lambda number: f"{Path(item.name).name}:{number}"
    return formats.record_names(item.name, path, kind)


def check_file(p: Any, name: str, wanted: Mapping[str, Sequence[str]]) -> list[str]:
    """Whether the first file is there and has the columns; one sentence a fault."""
    try:
        path, kind = place(p, name)
        if kind == "datasets":
            load_dataset(p)
            return []
        first = formats.files_of(path, kind)[0]
        have = formats.first_columns(first, kind)
    except InputError as error:
        return [str(error)]
    faults = []
    given = dict(p.columns)
    for field in [*wanted, *(c for c in given if c not in wanted)] if have is not None else ():
        try:
            formats.pick(have or (), field, given.get(field), wanted.get(field, ()), str(first))
        except InputError as error:
            faults.append(str(error))
    return faults


def _check(p: ReadCorpus, using: Mapping[str, Any]) -> list[str]:
    return [] if p.path == PYTHON_DOCS else check_file(p, "corpus", {"text": USUAL["text"]})


def source_of(p: Any) -> str:
    """The name of the source: as given, or the file's or folder's."""
    stem = Path(p.path).name.split(".")[0]
    return p.source or (Path(p.path).parent.name if stem == "corpus" else stem) or "corpus"


@operator("source", version="4", key="doc_id", items=_items, writes=WRITES, check=_check)
def read_corpus(item: Item, p: ReadCorpus) -> Iterator[Outcome]:
    """Documents of one file, some thousands at a time."""
    if p.path == PYTHON_DOCS:
        found = list(python_docs.docs())
        ids, titles, texts = (list(c) for c in zip(*found, strict=True))
        found_once = formats.Batch({"_id": ids, "title": titles, "text": texts}, list(range(1, len(ids) + 1)))
        yield _outcome(p, found_once, {"id": "_id", "title": "title", "text": "text", "lang": None}, item)
        return
    for batch, names in rows.named(batches_of(item, p, "corpus"), USUAL, p.columns, ("text",), item.name):
        yield _outcome(p, batch, names, item)


def _outcome(p: ReadCorpus, batch: formats.Batch, names: Mapping[str, str | None], item: Item) -> Outcome:
    count = len(batch.numbers)
    unnamed = (lambda number: f"{item.name}:{number}") if p.path == PYTHON_DOCS else names_of(item, p, "corpus")
    bad = list(batch.bad)
    kept: list[tuple[str, ...]] = []
    given = {c: rows.column(batch.columns, names.get(c), count) for c in USUAL}
    # Most batches have no fault at all; then no row is looked at for one.
    unsound = [c for c, values in given.items() if not rows.sound(values, p.max_chars if c in ("text", "title") else sys.maxsize)]
    said = source_of(p)
    for number, (own, title, body, lang, source, licence) in zip(batch.numbers, zip(*given.values(), strict=True), strict=True):
        fault = None
        if unsound:
            fault = rows.text_fault(body, "text", p.max_chars) or rows.text_fault(title, "title", p.max_chars)
            for name, value in (("id", own), ("lang", lang), ("source", source), ("licence", licence)):
                fault = fault or rows.id_fault(value, name)
        if fault is None and (not body or body.isspace()):
            fault = ("empty text", rows.as_id(own))
        if fault:
            bad.append((number, *fault))
        else:
            # One line end: what reads headings, questions and tables looks for it, and no id tells them apart.
            body = body.replace("\r\n", "\n").replace("\r", "\n") if "\r" in body else body
            told = (p.source or rows.as_id(source) or said, rows.as_id(own) or unnamed(number), title or "", body)
            kept.append((*told, rows.as_id(lang) or p.lang, p.licence or rows.as_id(licence)))
    columns: list[Any] = [list(c) for c in zip(*kept, strict=True)] if kept else [[]] * (len(WRITES) - 1)
    columns = [content_ids(columns[2], columns[3]), *columns]
    table = pa.table([pa.array(c, t) for c, t in zip(columns, WRITES.values(), strict=True)], names=list(WRITES))
    return Outcome(table, rows.bad_table(bad), seen=count + len(batch.bad))


def example(folder: Path) -> ReadCorpus:
    """Three documents, one of them empty, and a line that is no JSON."""
    lines = [{"_id": "1", "title": "Ice", "text": "It melts."}, {"_id": "2", "text": "Iron rusts."}, {"_id": "3", "text": " "}]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines) + "{oops\n")
    return ReadCorpus(path=str(folder / "corpus.jsonl"))
