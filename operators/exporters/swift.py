"""ms-swift: messages, for its embedding and its reranker task. The instruction is the system message. It takes no scores."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from operators.columns import slices
from operators.exporters.collection import queries
from operators.exporters.examples import Examples, text_of
from operators.exporters.files import Sink, dumped
from operators.exporters.options import Count, Exporter, Told


class Swift(Told):
    """One positive a row to embed; lists to rerank."""

    least: ClassVar[int] = 1
    place: ClassVar[str] = "the instruction is the system message"
    task: Literal["embedding", "reranker"] = Field("embedding", description="which of its task types")
    positives: Literal["first", "explode", "all"] = Field("first", description="all: of task=reranker alone")
    negatives: Count = Field("most", description="most, all or a number; as many in every row spares it a slow loop")
    scores: Literal[False] = Field(False, description="its formats have no place for a teacher's scores")

    @model_validator(mode="after")
    def _together(self) -> "Swift":
        if self.task == "embedding" and self.positives == "all":
            raise ValueError("positives: its embedding task takes exactly one a row; give first or explode, or task=reranker")
        return self


def write(examples: Examples, p: Swift, sink: Sink) -> None:
    """``train.jsonl``."""
    file, role = sink.lines("train.jsonl"), "user" if p.task == "embedding" else "assistant"
    for table in examples.tables():
        for part in slices(table, 1024):
            told = text_of(part, "instruction").to_pylist() if p.prompts == "trainer" else [""] * len(part)
            said = queries(part, p.template if p.prompts == "text" else None)
            sides = (part[name].to_pylist() for name in ("positives", "negatives"))
            for query, instruction, good, bad in zip(said, told, *sides, strict=True):
                system = [_message("system", instruction)] if instruction else []
                file.write(dumped({
                    "messages": [*system, _message("user", query)], "positive_messages": [[_message(role, one)] for one in good],
                    "negative_messages": [[_message(role, one)] for one in bad],
                }))  # fmt: skip


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def usage(p: Swift) -> str:
    """How to load it."""
    loss = "embedding --loss_type infonce" if p.task == "embedding" else "reranker --loss_type listwise_reranker"
    return f"For ms-swift: `swift sft --task_type {loss} --dataset train.jsonl`; `INFONCE_HARD_NEGATIVES` may be their number.\n"


EXPORTER = Exporter("messages as JSON lines, to embed or rerank (--set task=reranker); no scores", Swift, write, usage)
