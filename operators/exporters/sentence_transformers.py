"""sentence-transformers: parquet whose column order is the contract, one folder a source and instruction.

Every column but ``score``/``scores``/``label``/``labels`` is a model's input there, so nothing else is written. Prompts are an
argument of the trainer by data set and column, never text: ``prompts.json`` is that argument.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators.columns import flat, lists
from operators.contract import InputError, text
from operators.exporters.collection import queries
from operators.exporters.examples import Examples, text_of
from operators.exporters.files import Shards, Sink, named
from operators.exporters.lists import beside, both
from operators.exporters.options import Exporter, Told

Layout = Literal["tuple", "triplet", "distilled", "pair", "labelled pair", "labelled list"]
LOSSES: dict[str, Layout] = {
    **dict.fromkeys(("MultipleNegativesRankingLoss", "CachedMultipleNegativesRankingLoss", "GISTEmbedLoss", "CachedGISTEmbedLoss",
                     "SparseMultipleNegativesRankingLoss"), "tuple"),
    **dict.fromkeys(("TripletLoss", "SparseTripletLoss"), "triplet"),
    **dict.fromkeys(("MarginMSELoss", "SparseMarginMSELoss", "DistillKLDivLoss", "SparseDistillKLDivLoss"), "distilled"),
    **dict.fromkeys(("CoSENTLoss", "AnglELoss", "CosineSimilarityLoss", "SparseCoSENTLoss", "SparseAnglELoss",
                     "SparseCosineSimilarityLoss", "MSELoss"), "pair"),
    "BinaryCrossEntropyLoss": "labelled pair",
    **dict.fromkeys(("LambdaLoss", "ListNetLoss", "ListMLELoss", "PListMLELoss", "RankNetLoss"), "labelled list"),
}  # fmt: skip
_FAMILIES = {"CrossEncoder": "sentence_transformers.cross_encoder", "SparseEncoder": "sentence_transformers.sparse_encoder",
             "SentenceTransformer": "sentence_transformers.sentence_transformer"}  # fmt: skip
_BOUNDED = ("CosineSimilarityLoss", "SparseCosineSimilarityLoss")  # the score is compared with a cosine


class SentenceTransformers(Told):
    """The loss says the columns."""

    loss: str = Field("MultipleNegativesRankingLoss", description=f"one of {', '.join(LOSSES)}")
    positives: Literal["first", "explode", "all"] = Field("first", description="all: of losses that take pairs or lists alone")
    shard_rows: int = Field(65536, ge=1, description="rows a file, at most")

    @property
    def layout(self) -> Layout:
        """Which columns the loss takes."""
        return LOSSES[self.loss]

    @property
    def family(self) -> str:
        """The kind of model that the loss trains, as its classes are called."""
        if self.layout.startswith("labelled") or self.loss == "MSELoss":  # of embedders it takes vectors as labels
            return "CrossEncoder"
        return "SparseEncoder" if self.loss.startswith("Sparse") else "SentenceTransformer"

    @property
    def scored(self) -> bool:
        """Whether the loss learns a teacher's scores."""
        return self.layout in ("distilled", "pair") or self.scores

    @model_validator(mode="after")
    def _together(self) -> "SentenceTransformers":
        from difflib import get_close_matches

        if self.loss not in LOSSES:
            close = get_close_matches(self.loss, LOSSES, 1, 0.4)
            hint = f"did you mean {close[0]}?" if close else f"it knows {', '.join(LOSSES)}"
            raise ValueError(f"loss: {self.loss} is none that this knows; {hint}")
        one_row = self.layout in ("tuple", "triplet", "distilled")
        if one_row and (self.negatives == "all" or self.positives == "all"):
            name = "negatives" if self.negatives == "all" else "positives"
            raise ValueError(f"{name}: {self.loss} takes columns of texts, as many in every row; give "
                             f"{'a number or most' if name == 'negatives' else 'first or explode'}")  # fmt: skip
        if self.layout == "triplet" and self.negatives not in ("most", 1):
            raise ValueError(f"negatives: {self.loss} takes one negative a row; leave it out")
        if self.layout == "distilled" and self.negatives == 0:
            raise ValueError(f"negatives: {self.loss} compares scores of at least one negative; give more than 0")
        if self.scores and self.layout != "labelled list":
            told = "has them anyway" if self.layout in ("distilled", "pair") else "takes none"
            raise ValueError(f"scores does nothing with {self.loss}, which {told}; leave it out")
        if self.prompts == "trainer" and not self.template.endswith("{query}"):
            raise ValueError("template: where prompts is trainer the text before the query is all that it reads; end it with"
                             " {query}, or give prompts=text")  # fmt: skip
        return self


def write(examples: Examples, p: SentenceTransformers, sink: Sink) -> None:
    """One folder a source and instruction, below ``train``; ``prompts.json`` where there are instructions."""
    apart = p.prompts == "trainer" and examples.told()
    if p.layout == "triplet":
        examples.count = 1
    if p.layout == "distilled" and examples.count == 0:
        raise InputError(f"{p.loss} compares scores of a positive and negatives, and most rows have none; give --set negatives=N")
    folders: dict[tuple[str, str], Shards] = {}
    for table in examples.tables():
        sources, told = text_of(table, "source").to_pylist(), text_of(table, "instruction").to_pylist()
        keys = list(zip(sources, told if apart else [""] * len(told), strict=True))
        made = pa.chunked_array([pa.array(queries(table, p.template if p.prompts == "text" else None), text)])
        table = table.set_column(table.schema.get_field_index("query"), "query", made)
        for key in dict.fromkeys(keys):
            if key not in folders:
                pattern = f"train/{named(key[0], *filter(None, key[1:]))}/part-{{:05d}}.parquet"
                folders[key] = Shards(sink, pattern, p.shard_rows)
            mine = table.filter(pa.array([k == key for k in keys]))
            for columns in _laid(mine, p, examples.count):
                folders[key].table(columns)
    if apart:
        first = "anchor" if p.layout in ("tuple", "triplet") else "sentence1" if p.layout == "pair" else "query"
        sink.json("prompts.json", {
            named(source, *filter(None, [told])): {first: p.template.partition("{query}")[0].replace("{instruction}", told)}
            for source, told in folders if told
        })  # fmt: skip


def _laid(table: pa.Table, p: SentenceTransformers, count: int | None) -> Iterator[pa.Table]:
    """The columns of the loss, in its order."""
    if p.layout in ("tuple", "triplet", "distilled"):
        names = ("query", "positive") if p.layout == "distilled" else ("anchor", "positive")
        columns: dict[str, Any] = {names[0]: table["query"], names[1]: pc.list_element(table["positives"], 0)}
        columns |= {f"negative_{i + 1}": pc.list_element(table["negatives"], i) for i in range(count or 0)}
        if p.layout == "triplet":
            columns["negative"] = columns.pop("negative_1")
        if p.layout == "distilled":
            columns["scores"] = beside(table, "scores")
        yield pa.table(columns)
        return
    offsets, said = both(table, "s")
    labels = beside(table, "scores" if p.scored else "labels")
    if p.layout == "labelled list":
        yield pa.table({"query": table["query"], "docs": lists(offsets, said), "labels": labels})
        return
    repeated = table["query"].take(pa.array(np.repeat(np.arange(len(table)), np.diff(offsets))))
    flattened = flat(labels)[1]
    if p.loss in _BOUNDED and len(flattened) and pc.max(pc.abs(flattened)).as_py() > 1:
        raise InputError(f"{p.loss} compares its score with a cosine, and this teacher's go beyond 1; take CoSENTLoss, which"
                         " learns their order alone")  # fmt: skip
    if p.layout == "pair":
        yield pa.table({"sentence1": repeated, "sentence2": said, "score": flattened})
    else:
        yield pa.table({"query": repeated, "answer": said, "label": pc.cast(flattened, pa.int64())})


def usage(p: SentenceTransformers) -> str:
    """How to load it."""
    return f"""For `{p.loss}`. Each folder below `train` is one source (and instruction); `prompts.json`, if it is there, is the
trainer's argument `prompts`. Rows of one query share its text: `no_duplicates` keeps them out of one batch.

```python
from pathlib import Path

from datasets import load_dataset
from sentence_transformers import {p.family}, {p.family}Trainer, {p.family}TrainingArguments
from {_FAMILIES[p.family]} import losses

here = Path(".")  # the folder of this file
train = {{d.name: load_dataset("parquet", data_files=str(d / "*.parquet"), split="train") for d in (here / "train").iterdir()}}
model = {p.family}("your/model")
args = {p.family}TrainingArguments("trained", per_device_train_batch_size=64, batch_sampler="no_duplicates")
{p.family}Trainer(model=model, args=args, train_dataset=train, loss=losses.{p.loss}(model)).train()
```
"""


EXPORTER = Exporter("parquet in the columns of a loss (--set loss=…); prompts.json for it", SentenceTransformers, write, usage)
