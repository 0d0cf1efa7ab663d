"""Tevatron: texts in the rows, which its release and its distillation read, or ids beside a corpus, as its main branch does."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from operators.columns import hexed, slices
from operators.exporters.collection import Collection, queries
from operators.exporters.examples import Examples, hex_lists
from operators.exporters.files import Lines, Sink, dumped
from operators.exporters.options import Count, Exporter, Rendered


class Tevatron(Rendered):
    """A row draws its positive and its negatives anew each epoch."""

    least: ClassVar[int] = 1
    positives: Literal["first", "explode", "all"] = Field("all", description="all: they take turns by epoch")
    negatives: Count = Field("all", description="all, most or a number; it takes train_group_size - 1, and repeats where short")
    layout: Literal["texts", "ids"] = Field("texts", description="texts: in the rows; ids: beside corpus.jsonl (main branch)")

    @model_validator(mode="after")
    def _texts_alone(self) -> "Tevatron":
        if self.scores and self.layout == "ids":
            raise ValueError("scores: Tevatron's distillation cannot read ids beside a corpus; leave layout out")
        return self


def write(examples: Examples, p: Tevatron, sink: Sink) -> None:
    """``train.jsonl`` and, of ids, ``corpus.jsonl``. No ``title``: texts hold theirs, and an empty one would add a blank."""
    known = Collection(examples) if p.layout == "ids" else None
    template, file = p.template if p.prompts == "text" else None, sink.lines("train.jsonl")
    for table in examples.tables():
        if known:
            known.add(table, template)
        for part in slices(table, 1024):
            names = hexed(part["query_id"]).to_pylist()
            listed = [hex_lists(part[f"{side}_ids"]).to_pylist() for side in ("positive", "negative")]
            said = queries(part, template)
            if known:
                for name, query, good, bad in zip(names, said, *listed, strict=True):
                    file.write(dumped({"query_id": name, "query_text": query, "query_image": None,
                                       "positive_document_ids": good, "negative_document_ids": bad}))  # fmt: skip
                continue
            texts = [part[name].to_pylist() for name in ("positives", "negatives")]
            rated = [part[f"{side}_scores"].to_pylist() for side in ("positive", "negative")] if p.scores else None
            _rows(file, names, said, listed, texts, rated)
    for documents in known.documents() if known else ():
        for one in documents.to_pylist():
            sink.lines("corpus.jsonl").write(dumped({"docid": one["id"], "text": one["text"], "image": None}))


def _rows(file: Lines, names: list[str], said: list[str], listed: list[Any], texts: list[Any], rated: list[Any] | None) -> None:
    for i, name in enumerate(names):
        sides = [
            [
                {"docid": one, "text": text, **({"score": rated[side][i][j]} if rated else {})}
                for j, (one, text) in enumerate(zip(listed[side][i], texts[side][i], strict=True))
            ]
            for side in (0, 1)
        ]
        file.write(dumped({"query_id": name, "query": said[i], "positive_passages": sides[0], "negative_passages": sides[1]}))


def usage(p: Tevatron) -> str:
    """How to load it."""
    if p.layout == "ids":
        return """For Tevatron's main branch:
`--dataset_name json --dataset_path train.jsonl --corpus_name json --corpus_path corpus.jsonl`.
The corpus' column is `text`, as its code reads; its README says `document_text`, which trains on empty documents.
"""
    return """For Tevatron's release 0.1 (`--train_dir …`, preprocessed by `TrainPreProcessor`) and its main branch
(`--dataset_name json --dataset_path train.jsonl`), with scores also for its distillation.
"""


EXPORTER = Exporter("JSON lines of queries with passages, or ids beside a corpus (--set layout=ids)", Tevatron, write, usage)
