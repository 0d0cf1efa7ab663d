"""contrastors: gzipped JSON lines with the sidecars that its streaming reader seeks by; a folder a source and instruction."""

import json
from collections import Counter
from typing import Any, ClassVar, Literal

import yaml
from pydantic import Field

from operators.columns import slices
from operators.exporters.collection import queries
from operators.exporters.examples import Examples, text_of
from operators.exporters.files import Sink, dumped, named
from operators.exporters.options import Exporter, Rendered

_OBJECTIVE = {"self": [], "paired": [["query", "document"]], "triplet": [["query", "document", "negatives"]]}


class Contrastors(Rendered):
    """Equal, large shards: it drops what does not fill a global batch."""

    least: ClassVar[int] = 1
    positives: Literal["first", "explode"] = Field("first", description="a row has one document")
    negatives: int | Literal["most"] = Field("most", description="as many in every row: it makes one tensor of a batch's texts")
    shard_rows: int = Field(100_000, ge=1, description="rows a file, about: files of a source are equal")


class _Source:
    """The shards of one source, equal but for a row, with where each line starts and ends in the stream before compression."""

    def __init__(self, sink: Sink, name: str, rows: int, size: int) -> None:
        self.name, self._sink = name, sink
        self.counts: dict[str, int] = {}
        shards = max(1, round(rows / size))
        self._sizes = [rows // shards + (i < rows % shards) for i in range(shards)]
        self._offsets = sink.lines(f"{name}/offsets.json.gz")

    def write(self, line: bytes) -> None:
        """Add a row; the reader asks by the last three parts of a shard's path."""
        key = f"{self.name}/shard-{len(self.counts) - bool(self.counts):05d}.jsonl.gz"
        if self.counts.get(key, self._sizes[0]) == self._sizes[max(len(self.counts) - 1, 0)]:
            key = f"{self.name}/shard-{len(self.counts):05d}.jsonl.gz"
            self._offsets.write(f'{", " if self.counts else "{"}{json.dumps(key)}: {{'.encode())
        file = self._sink.lines(key)
        start = file.size
        file.write(line)
        whole = file.rows == self._sizes[len(self.counts) - (key in self.counts)]
        self.counts[key] = file.rows
        self._offsets.write(f'{", " * (file.rows > 1)}"{file.rows - 1}": [{start}, {file.size}]{"}" * whole}'.encode())
        if whole:
            self._sink.close(key)

    def finish(self) -> None:
        """Write the sidecars."""
        self._offsets.write(b"}")
        self._sink.json(f"{self.name}/counts.json", self.counts)


def write(examples: Examples, p: Contrastors, sink: Sink) -> None:
    """``data/SOURCE/shard-00000.jsonl.gz`` with ``counts.json`` and ``offsets.json.gz``, and ``data.yaml`` that names them."""
    totals = Counter[str]()
    for table in examples.tables():  # how many, so that no last shard is too small for a batch
        totals.update(text_of(table, "source").to_pylist())
    sources = {name: _Source(sink, f"data/{named(name)}", rows, p.shard_rows) for name, rows in totals.items()}
    for table in examples.tables():
        for part in slices(table, 1024):
            said, names = queries(part, p.template if p.prompts == "text" else None), text_of(part, "source").to_pylist()
            texts = [part[name].to_pylist() for name in ("positives", "negatives")]
            rated = [part[f"{side}_scores"].to_pylist() for side in ("positive", "negative")] if p.scores else None
            for i, query in enumerate(said):
                row: dict[str, Any] = {"query": query, "document": texts[0][i][0], "negatives": texts[1][i]}
                if rated:
                    row |= {"document_score": rated[0][i][0], "negatives_scores": rated[1][i]}
                # Escaped to ASCII: bytes are characters then, as its own tools count them.
                sources[names[i]].write(dumped({**row, "metadata": {"objective": _OBJECTIVE}}, plain=True))
    specs = []
    for one in sources.values():
        one.finish()
        specs.append({"name": one.name.removeprefix("data/"), "bucket": f"{one.name}/shard-{{00000..{len(one.counts) - 1:05d}}}.jsonl.gz",
                      "objective": {"type": "triplet", "columns": ["query", "document", "negatives"]}, "kd_loss": p.scores,
                      "query_prefix": "search_query", "document_prefix": "search_document"})  # fmt: skip
    sink.bytes("data.yaml", yaml.safe_dump({"datasets": specs}, sort_keys=False).encode())


def usage(p: Contrastors) -> str:
    """How to load it."""
    return """For contrastors' streaming reader: copy `data` to your bucket, put the bucket before each `bucket:` of `data.yaml`, and give that file
as the data specification. It drops a shard that is smaller than a global batch.
"""


EXPORTER = Exporter("gzipped JSON lines with counts, byte offsets and the data specification", Contrastors, write, usage)
