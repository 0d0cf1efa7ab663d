"""PyLate: ids and scores of lists to distil, beside queries and documents. Its contrastive losses read sentence-transformers'."""

from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from operators.columns import hexed, lists
from operators.contract import scores
from operators.exporters.collection import Collection
from operators.exporters.examples import Examples
from operators.exporters.files import Shards, Sink
from operators.exporters.lists import beside, both
from operators.exporters.options import Exporter, Rendered


class PyLate(Rendered):
    """Lists of one length, a positive first: its collator makes one tensor of a batch's scores."""

    least: ClassVar[int] = 1
    positives: Literal["first", "explode"] = Field("first", description="which stands first in the list")
    negatives: int | Literal["most"] = Field("most", description="as many in every row; it keeps the first n_ways of the list")
    scores: Literal[True] = Field(True, description="what is distilled; for contrastive losses take sentence-transformers")
    shard_rows: int = Field(65536, ge=1, description="rows a file, at most")


def write(examples: Examples, p: PyLate, sink: Sink) -> None:
    """``train``, ``queries`` and ``documents`` as folders of parquet; every id of a list is a document, once."""
    known, shards = Collection(examples), Shards(sink, "train/part-{:05d}.parquet", p.shard_rows)
    for table in examples.tables():
        known.add(table, p.template if p.prompts == "text" else None)
        offsets, ids = both(table, "_ids")
        shards.table(pa.table({
            "query_id": hexed(table["query_id"]), "document_ids": lists(offsets, hexed(ids)),
            "scores": beside(table, "scores").cast(scores),
        }))  # fmt: skip
    for name, parts in (("queries", known.queries()), ("documents", known.documents())):
        written = Shards(sink, f"{name}/part-{{:05d}}.parquet", p.shard_rows)
        for part in parts:
            written.table(pa.table({"query_id" if name == "queries" else "document_id": part["id"], "text": part["text"]}))


def usage(p: PyLate) -> str:
    """How to load it."""
    return """For PyLate's `losses.Distillation`:

```python
train, queries, documents = (load_dataset(folder, name, split="train") for name in ("train", "queries", "documents"))
train.set_transform(utils.KDProcessing(queries=queries, documents=documents, n_ways=…).transform)
```
"""


EXPORTER = Exporter("parquet of lists with a teacher's scores, queries and documents, for distillation", PyLate, write, usage,
                    lambda p: {name: f"{name}/*.parquet" for name in ("train", "queries", "documents")})  # fmt: skip
