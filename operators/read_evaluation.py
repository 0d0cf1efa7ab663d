"""Read what a benchmark is evaluated on from a BEIR folder: the queries that a split judges, and their relevant documents.

A folder's queries.jsonl holds the queries of every split, so all of it would name the benchmark's own training queries, too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from operators import formats, read_corpus, read_queries, rows
from operators.columns import content_ids
from operators.contract import InputError, Item, Outcome, Params, operator, row_id, text
from operators.read_qrels import ReadQrels, read_qrels

Side = Literal["queries", "documents"]
_FILE = {"queries": "queries", "documents": "corpus"}


class ReadEvaluation(Params):
    """Where the benchmark is, and what of it counts."""

    path: str = Field(description="a BEIR folder: queries.jsonl, corpus.jsonl, qrels/SPLIT.tsv")
    split: str = Field(default="test", min_length=1, description="the qrels; what they do not judge is a reject")
    take: tuple[Side, ...] = Field(default=("queries", "documents"), min_length=1)
    min_relevance: float = Field(default=1, description="of the documents")
    source: str = Field(default="", description="the benchmark's name; the folder's, where not said")
    max_chars: int = Field(default=20_000_000, ge=1)

    @model_validator(mode="after")
    def every_option_acts(self) -> Self:
        """Refuse a grade of documents that are not taken, and a side twice."""
        if len(set(self.take)) < len(self.take):
            raise ValueError("take names each side once")
        if "documents" not in self.take and self.moved("min_relevance"):
            raise ValueError("min_relevance does nothing where take lacks documents; leave it out")
        return self

    def qrels(self) -> ReadQrels:
        """How its judgements are read; of every grade, for a query whose documents are all irrelevant is evaluated, too."""
        return ReadQrels(path=self.path, format="beir", split=self.split, min_relevance=-(2.0**31))


WRITES = {"passage_id": row_id, "title": text, "passage": text, "source": text, "source_id": text}


def _qrels_files(p: ReadEvaluation) -> Sequence[Item]:
    assert read_qrels.items is not None
    return read_qrels.items(p.qrels())


def _items(p: ReadEvaluation) -> list[Item]:
    [judged] = _qrels_files(p)
    found = []
    for side in dict.fromkeys(p.take):
        [own] = formats.file_items(str(Path(p.path) / f"{_FILE[side]}.jsonl"), "jsonl")
        digest = hashlib.sha256(f"{side} {own.digest} {judged.digest}".encode()).hexdigest()
        found.append(Item(own.name, digest, own.size))
    return found


def _check(p: ReadEvaluation, using: Mapping[str, Any]) -> list[str]:
    try:
        faults = [*read_qrels.check(p.qrels(), {})] if read_qrels.check else []
        for side in dict.fromkeys(p.take):
            path = Path(p.path) / f"{_FILE[side]}.jsonl"
            have = formats.first_columns(formats.files_of(str(path), "jsonl")[0], "jsonl")
            for field, usual in _usual(side).items() if have is not None else ():
                if field in ("id", "text"):
                    formats.pick(have or (), field, None, usual, str(path))
    except InputError as error:
        return [str(error)]
    return faults


def _usual(side: str) -> dict[str, tuple[str, ...]]:
    """The columns of a file's id, title and text; a query has no title."""
    if side == "queries":
        return {"id": read_queries.USUAL["id"], "text": read_queries.USUAL["query"]}
    return {name: read_corpus.USUAL[name] for name in ("id", "title", "text")}


@operator("source", version="2", key="passage_id", items=_items, writes=WRITES, check=_check)
def read_evaluation(item: Item, p: ReadEvaluation) -> Iterator[Outcome]:
    """Texts of one file in the columns of passages; the ids of the split's judgements are held, 100 bytes each."""
    side = next(s for s in p.take if Path(item.name).name == f"{_FILE[s]}.jsonl")
    judged, name = _judged(p, side), read_corpus.source_of(p)
    for batch, names in rows.named(formats.read(Path(item.name), "jsonl"), _usual(side), {}, ("id", "text"), item.name):
        bad, kept = list(batch.bad), []
        told = [rows.column(batch.columns, names.get(c), len(batch.numbers)) for c in ("id", "title", "text")]
        for number, own, title, said in zip(batch.numbers, *told, strict=True):
            fault = rows.text_fault(said, "text", p.max_chars) or rows.text_fault(title, "title", p.max_chars)
            fault = fault or rows.id_fault(own, "id")
            if fault is None and rows.as_id(own) not in judged:
                fault = (f"not judged in {p.split}", rows.as_id(own))
            if fault is None and not (said or "").strip():
                title, said = "", title  # a document of a title alone is that
            if fault is None and not (said or "").strip():
                fault = ("empty text", rows.as_id(own))
            if fault:
                bad.append((number, *fault))
            else:
                kept.append((title or "", said, name, rows.as_id(own)))
        columns = [list(c) for c in zip(*kept, strict=True)] if kept else [[], [], [], []]
        values = [content_ids(columns[0], columns[1]), *(pa.array(c, text) for c in columns)]
        yield Outcome(pa.table(values, names=list(WRITES)), rows.bad_table(bad), seen=len(batch.numbers) + len(batch.bad))


def _judged(p: ReadEvaluation, side: str) -> set[str]:
    """The ids that the split judges."""
    found: set[str] = set()
    for item in _qrels_files(p):
        for outcome in read_qrels(item, p.qrels()):
            if side == "queries":
                found.update(outcome.table["query_source_id"].to_pylist())
            else:
                relevant = outcome.table.filter(pa.compute.greater_equal(outcome.table["relevance"], p.min_relevance))
                found.update(relevant["corpus_source_id"].to_pylist())
    return found


def example(folder: Path) -> ReadEvaluation:
    """A benchmark of three queries, of which its test split judges one, on two documents, one of them relevant."""
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n")
    queries = [{"_id": "q1", "text": "what rusts"}, {"_id": "q2", "text": "what burns"}, {"_id": "q3", "text": None}]
    documents = [{"_id": "d1", "title": "Iron", "text": "It rusts."}, {"_id": "d2", "title": "", "text": "Ice melts."}]
    for name, told in (("queries", queries), ("corpus", documents)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in told))
    return ReadEvaluation(path=str(folder))
