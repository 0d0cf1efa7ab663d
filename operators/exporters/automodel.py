"""NeMo Automodel, and NVIDIA's embed recipe: ids beside a corpus in one JSON document, or texts in JSON lines."""

from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from operators.columns import hexed, slices
from operators.exporters.collection import Collection, queries
from operators.exporters.examples import Examples, hex_lists
from operators.exporters.files import Shards, Sink, dumped
from operators.exporters.options import Count, Exporter, Rendered


class Automodel(Rendered):
    """It takes the first positive, unless told to cycle, and repeats negatives where they are short."""

    least: ClassVar[int] = 1
    positives: Literal["first", "explode", "all"] = Field("first", description="all: for cycle_positive_docs")
    negatives: Count = Field("most", description="most, all or a number; it takes n_passages - 1 of them")
    layout: Literal["corpus", "inline"] = Field("corpus", description="corpus: ids beside a corpus; inline: texts, and no ids")

    @model_validator(mode="after")
    def _together(self) -> "Automodel":
        if self.scores and self.layout == "inline":
            raise ValueError("scores: inline rows have no place for them; leave layout out")
        return self


def write(examples: Examples, p: Automodel, sink: Sink) -> None:
    """``train.json`` with ``corpus/``, or ``train.jsonl``. Its reader holds the document in memory; this writer does not."""
    template = p.template if p.prompts == "text" else None
    if p.layout == "inline":
        for table in examples.tables():
            for part in slices(table, 1024):
                sides = (part[name].to_pylist() for name in ("positives", "negatives"))
                for query, good, bad in zip(queries(part, template), *sides, strict=True):
                    sink.lines("train.jsonl").write(dumped({"query": query, "pos_doc": good, "neg_doc": bad}))
        return
    known, file, first = Collection(examples), sink.lines("train.json"), True
    file.write(b'{"corpus": [{"path": "corpus"}], "data": [\n')
    for table in examples.tables():
        known.add(table, template)
        for part in slices(table, 1024):
            for row in _rows(part, p, template):
                file.write((b"" if first else b",") + dumped(row))
                first = False
    file.write(b"]}\n")
    file.rows -= 2
    shards = Shards(sink, "corpus/part-{:05d}.parquet", 1 << 20)
    for documents in known.documents():
        shards.table(pa.table({"id": documents["id"], "text": documents["text"]}))
    sink.json("corpus/merlin_metadata.json", {"class": "TextQADataset", "corpus_id": "corpus"})


def _rows(part: pa.Table, p: Automodel, template: str | None) -> list[dict[str, Any]]:
    names, said = hexed(part["query_id"]).to_pylist(), queries(part, template)
    sides = []
    for side in ("positive", "negative"):
        listed = hex_lists(part[f"{side}_ids"]).to_pylist()
        rated = part[f"{side}_scores"].to_pylist() if p.scores else None
        sides.append([
            [{"id": one, **({"score": rated[i][j]} if rated else {})} for j, one in enumerate(row)]
            for i, row in enumerate(listed)
        ])  # fmt: skip
    return [
        {"question_id": name, "question": query, "corpus_id": "corpus", "pos_doc": good, "neg_doc": bad}
        for name, query, good, bad in zip(names, said, *sides, strict=True)
    ]


def usage(p: Automodel) -> str:
    """How to load it."""
    if p.layout == "inline":
        return """For NeMo Automodel's `retrieval_dataset_inline`: `data_dir_list: [train.jsonl]`.
Rows have no ids, so it masks no equal documents.
"""
    return """For NeMo Automodel's `retrieval_dataset` and the stages of NVIDIA's embed recipe behind mining:
`data_dir_list: [train.json]`, which names `corpus` by its path from there.
"""


EXPORTER = Exporter("ids beside a corpus, also for NVIDIA's embed recipe; or texts (layout=inline)", Automodel, write, usage)
