"""BEIR and MTEB: corpus, queries and qrels, which their loaders and half of the field read."""

from typing import ClassVar, Literal

from pydantic import Field

from operators.columns import flat, hexed
from operators.content import parents
from operators.exporters.collection import Collection
from operators.exporters.examples import Examples
from operators.exporters.files import Sink, dumped
from operators.exporters.options import Count, Exporter, Told


class Beir(Told):
    """Texts by id."""

    place: ClassVar[str] = "the instruction stands beside the query"
    positives: Literal["first", "all"] = Field("all", description="which positives are judged relevant")
    negatives: Count = Field("all", description="whose texts stand in the corpus; none is in the qrels, as none was judged")
    scores: Literal[False] = Field(False, description="qrels are whole numbers: there is no place for a teacher's scores")
    split: str = Field("train", pattern=r"^[A-Za-z0-9_-]+$", description="the name of the qrels' file")


def write(examples: Examples, p: Beir, sink: Sink) -> None:
    """``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv``; for MTEB the same as ``.jsonl`` and ``instruction.jsonl``."""
    known, told = Collection(examples), p.prompts == "trainer" and examples.told()
    qrels = sink.lines(f"qrels/{p.split}.tsv")
    beside = sink.lines(f"qrels/{p.split}.jsonl")  # `datasets`, by which MTEB loads, reads one kind of file in a folder
    qrels.write(b"query-id\tcorpus-id\tscore\n")
    for table in examples.tables():
        known.add(table, p.template if p.prompts == "text" else None)
        offsets, ids = flat(table["positive_ids"])
        asked = hexed(table["query_id"]).take(parents(offsets))
        for query, document in zip(asked.to_pylist(), hexed(ids).to_pylist(), strict=True):
            qrels.write(f"{query}\t{document}\t1\n".encode())
            beside.write(dumped({"query-id": query, "corpus-id": document, "score": 1}))
    qrels.rows -= 1
    for part in known.documents():
        for one in part.to_pylist():
            sink.lines("corpus.jsonl").write(dumped({"_id": one["id"], "title": "", "text": one["text"]}))
    for part in known.queries():
        for one in part.to_pylist():
            metadata = {"instruction": one["instruction"]} if told else {}
            sink.lines("queries.jsonl").write(dumped({"_id": one["id"], "text": one["text"], "metadata": metadata}))
            if told:
                sink.lines("instruction.jsonl").write(dumped({"query-id": one["id"], "instruction": one["instruction"]}))


def usage(p: Beir) -> str:
    """How to load it."""
    return f"""A BEIR folder: `GenericDataLoader(folder).load(split="{p.split}")`. MTEB reads it too, by the configurations above:
`RetrievalDatasetLoader(hf_repo=folder, revision=None, trust_remote_code=False, split="{p.split}")`.
Texts hold their title already, so `title` is empty. Negatives are in the corpus and not in the qrels: nobody judged them.
"""


EXPORTER = Exporter("corpus.jsonl, queries.jsonl and qrels: also MTEB, and the input of many tools", Beir, write, usage,
                    lambda p: {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "default": f"qrels/{p.split}.jsonl",
                               "instruction": "instruction.jsonl"})  # fmt: skip
