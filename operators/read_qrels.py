"""Read qrels, which documents are relevant to which query: BEIR, TREC, parquet, jsonl, datasets."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from operators import formats, rows
from operators.columns import content_ids
from operators.contract import InputError, Item, Outcome, Params, operator, row_id, text
from operators.datasets_reader import dataset_batches, dataset_items
from operators.read_corpus import beir_suffix, source_of

USUAL = {
    "query": ("query_id", "query-id", "qid", "query"), "document": ("corpus_id", "corpus-id", "doc_id", "docid", "document"),
    "relevance": ("score", "relevance", "label", "rel"),
}  # fmt: skip


class ReadQrels(Params):
    """Where the judgements are, and from which grade on they count."""

    path: str
    format: Literal["auto", "parquet", "jsonl", "csv", "tsv", "trec", "beir", "datasets"] = "auto"
    columns: dict[Literal["query", "document", "relevance"], str] = {}
    min_relevance: float = 1
    source: str = ""
    split: str = "train"


WRITES = {
    "qrel_id": row_id, "query_source_id": text, "corpus_source_id": text, "relevance": pa.int32(), "source": text,
    "licence": text,
}  # fmt: skip


def _place(p: ReadQrels) -> tuple[str, str]:
    folder = Path(p.path) / "qrels"
    beir = p.format == "beir" or (p.format == "auto" and folder.is_dir())
    if p.format == "auto" and not beir and (suffix := beir_suffix(Path(p.path))):
        return str(_judged(Path(p.path), suffix, p.split)), "auto"
    if not beir:
        return p.path, p.format
    file = folder / f"{p.split}.tsv"
    if not file.exists() and (others := sorted(f.stem for f in folder.glob("*.tsv"))):
        raise InputError(f"{file}: no such file; {folder} has {', '.join(others)}: name one of them as `split:`")
    return str(file), "tsv"


def _judged(folder: Path, suffix: str, split: str) -> Path:
    """The judgements beside a corpus: those of the split, or the only ones. Which of several are the test's cannot be told."""
    found = sorted(folder.glob(f"qrels*{suffix}"))
    named = folder / f"qrels_{split}{suffix}"
    if named in found or len(found) == 1:
        return named if named in found else found[0]
    there = ", ".join(p.name for p in found) or "none"
    raise InputError(f"{folder}: no {named.name}, and of qrels it has {there}; give the file itself as `path:`")


def _items(p: ReadQrels) -> list[Item]:
    path, kind = _place(p)
    return dataset_items(p) if kind == "datasets" else formats.file_items(path, kind)


def _check(p: ReadQrels, using: Mapping[str, Any]) -> list[str]:
    try:
        path, kind = _place(p)
        if kind != "datasets":
            first = formats.files_of(path, kind)[0]
            for column in ("query", "document") if (have := formats.first_columns(first, kind)) is not None else ():
                formats.pick(have or (), column, dict(p.columns).get(column), USUAL[column], str(first))
    except InputError as error:
        return [str(error)]
    return []


@operator("source", version="1", key="qrel_id", items=_items, writes=WRITES, check=_check)
def read_qrels(item: Item, p: ReadQrels) -> Iterator[Outcome]:
    """Judgements of one file; those below ``min_relevance`` are counted rejects."""
    kind = _place(p)[1]
    batches = dataset_batches(item, p) if kind == "datasets" else formats.read(Path(item.name), kind)
    for batch, names in rows.named(batches, USUAL, p.columns, ("query", "document"), item.name):
        count, bad = len(batch.numbers), list(batch.bad)
        kept: list[tuple[str, str, int]] = []
        columns = [rows.column(batch.columns, names[c], count) for c in ("query", "document", "relevance")]
        for number, (query, document, given_grade) in zip(batch.numbers, zip(*columns, strict=True), strict=True):
            fault, value = _fault(p, query, document, given_grade)
            if fault:
                bad.append((number, fault, f"{query} {document} {given_grade}"))
            else:
                kept.append((rows.as_id(query), rows.as_id(document), value))
        queries, documents, grades = (list(c) for c in zip(*kept, strict=True)) if kept else ([], [], [])
        n = len(queries)
        every = [content_ids(queries, documents), queries, documents, grades, [source_of(p)] * n, [""] * n]
        table = pa.table([pa.array(c, t) for c, t in zip(every, WRITES.values(), strict=True)], names=list(WRITES))
        yield Outcome(table, rows.bad_table(bad), seen=count + len(batch.bad))


def _fault(p: ReadQrels, query: Any, document: Any, grade: Any) -> tuple[str, int]:
    if query in (None, "") or document in (None, ""):
        return "no query or no document", 0
    if fault := rows.id_fault(query, "query") or rows.id_fault(document, "document"):
        return fault[0], 0
    try:
        value = float(grade) if grade is not None else 1.0
    except (TypeError, ValueError):
        return "relevance is not a number", 0
    except OverflowError:
        return "relevance is out of range", 0
    if not value.is_integer():
        return "relevance is not a whole number", 0
    if abs(value) >= 2**31:
        return "relevance is out of range", 0
    return ("" if value >= p.min_relevance else "below min_relevance"), int(value)


def example(folder: Path) -> ReadQrels:
    """Three judgements, one of them of grade 0."""
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n1\tb\t0\n2\ta\t2\n")
    return ReadQrels(path=str(folder / "qrels.tsv"))
