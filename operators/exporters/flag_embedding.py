"""FlagEmbedding: JSON lines, one file a source, because a file is what it takes a batch from."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from operators.columns import slices
from operators.exporters.collection import queries
from operators.exporters.examples import Examples, text_of
from operators.exporters.files import Sink, dumped, named
from operators.exporters.options import Count, Exporter, Told

Kind = Literal["normal", "only_1neg", "symmetric_sts", "symmetric_class", "symmetric_clustering"]


class FlagEmbedding(Told):
    """Lists of any length, at least one negative: it divides by their number."""

    least: ClassVar[int] = 1
    place: ClassVar[str] = "the format is its own query_instruction_format"
    positives: Literal["first", "explode", "all"] = Field("all", description="all: the trainer draws one a step")
    negatives: Count = Field("all", description="all, most or a number; it draws train_group_size - 1 of them a step")
    type: Kind = Field("normal", description="how the trainer treats the files")
    in_batch_negatives: bool = Field(True, description="false: files whose name tells it to take none from the batch")


def write(examples: Examples, p: FlagEmbedding, sink: Sink) -> None:
    """``train/SOURCE.jsonl``; ``prompt`` stands in every row or, where no row has an instruction, in none."""
    told = p.prompts == "trainer" and examples.told()
    ending = "" if p.in_batch_negatives else "_no_in_batch_neg"
    for table in examples.tables():
        for part in slices(table, 1024):
            said = queries(part, p.template if p.prompts == "text" else None)
            lists = [part[name].to_pylist() for name in ("positives", "negatives")]
            rated = [part[f"{side}_scores"].to_pylist() for side in ("positive", "negative")] if p.scores else []
            sources, instructions = (text_of(part, name).to_pylist() for name in ("source", "instruction"))
            for i, query in enumerate(said):
                row: dict[str, Any] = {"query": query, "pos": lists[0][i], "neg": lists[1][i]}
                if rated:
                    row |= {"pos_scores": rated[0][i], "neg_scores": rated[1][i]}
                if told:
                    row["prompt"] = instructions[i]
                sink.lines(f"train/{named(sources[i])}{ending}.jsonl").write(dumped({**row, "type": p.type}))


def usage(p: FlagEmbedding) -> str:
    """How to load it."""
    distilled = " --knowledge_distillation True" if p.scores else ""
    return f"""For FlagEmbedding's embedders and rerankers:
`--train_data train{distilled} --same_dataset_within_batch True`. Where rows have a `prompt`, it is read only
if `--query_instruction_for_retrieval` is given (any value) with `--query_instruction_format`.
"""


EXPORTER = Exporter("JSON lines, one file a source: query, pos, neg, scores, prompt, type", FlagEmbedding, write, usage)
