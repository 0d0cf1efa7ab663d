"""contrastors: gzipped JSON lines with the sidecars that its streaming reader seeks by; a folder a source."""

import json
from collections import Counter
from typing import Any, ClassVar, Literal

import yaml
from pydantic import Field

from operators.columns import slices
from operators.exporters.collection import queries
from operators.exporters.examples import Examples, text_of
from operators.exporters.files import Lines, Sink, dumped, named
from operators.exporters.options import Exporter, Rendered

_OBJECTIVE = {"self": [], "paired": [["query", "document"]], "triplet": [["query", "document", "negatives"]]}


class Contrastors(Rendered):
    """Equal, large shards: it drops what does not fill a global batch."""

    least: ClassVar[int] = 1
    positives: Literal["first", "explode"] = Field("first", description="a row has one document")
    negatives: int | Literal["most"] = Field("most", description="as many in every row: it makes one tensor of a batch's texts")
    bucket: str = Field(min_length=1, description="where `data` will lie: s3://… or a whole path, by which its reader asks")
    shard_rows: int = Field(100_000, ge=1, description="rows a file, about: files of a source are equal")


class _Source:
    """The shards of one source, equal but for a row, with where each line starts and ends in the stream before compression."""

    def __init__(self, sink: Sink, name: str, rows: int, p: Contrastors) -> None:
        self.name, self.bucket, self._sink = f"data/{name}", f"{p.bucket.rstrip('/')}/{name}", sink
        size = p.shard_rows
        self.counts: dict[str, int] = {}
        shards = max(1, round(rows / size))
        self._sizes = [rows // shards + (i < rows % shards) for i in range(shards)]
        self._file: Lines | None = None
        self._key = self._shard = ""
        self._offsets = sink.lines(f"{self.name}/offsets.json.gz")

    def write(self, line: bytes) -> None:
        """Add a row."""
        if self._file is None:
            self._shard = f"shard-{len(self.counts):05d}.jsonl.gz"
            parts = f"{self.bucket}/{self._shard}".split("/")  # the reader asks by the last three, of six and more by four
            self._key = "/".join(parts[-4 if len(parts) >= 6 else -3 :])
            self._offsets.write(f'{", " if self.counts else "{"}{json.dumps(self._key)}: {{'.encode())
            self._file = self._sink.lines(f"{self.name}/{self._shard}")
        start = self._file.size
        self._file.write(line)
        self.counts[self._key] = self._file.rows
        whole = self._file.rows == self._sizes[len(self.counts) - 1]
        self._offsets.write(f'{", " * (start > 0)}"{self._file.rows - 1}": [{start}, {self._file.size}]{"}" * whole}'.encode())
        if whole:
            self._sink.close(f"{self.name}/{self._shard}")
            self._file = None

    def finish(self) -> None:
        """Write the sidecars."""
        self._offsets.write(b"}")
        self._sink.json(f"{self.name}/counts.json", self.counts)


def write(examples: Examples, p: Contrastors, sink: Sink) -> None:
    """``data/SOURCE/shard-00000.jsonl.gz`` with ``counts.json`` and ``offsets.json.gz``; ``data.yaml`` names them."""
    totals = Counter[str]()
    for table in examples.tables():  # how many, so that no last shard is too small for a batch
        totals.update(text_of(table, "source").to_pylist())
    sources = {name: _Source(sink, named(name), rows, p) for name, rows in totals.items()}
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
        shards = f"shard-{{00000..{len(one.counts) - 1:05d}}}.jsonl.gz"
        specs.append({"name": one.name.removeprefix("data/"), "bucket": f"{one.bucket}/{shards}",
                      "objective": {"type": "triplet", "columns": ["query", "document", "negatives"]}, "kd_loss": p.scores,
                      "query_prefix": "search_query", "document_prefix": "search_document"})  # fmt: skip
    sink.bytes("data.yaml", yaml.safe_dump({"datasets": specs}, sort_keys=False).encode())


def usage(p: Contrastors) -> str:
    """How to load it."""
    return f"""For contrastors' streaming reader: copy what is in `data` to `{p.bucket}`, and give it
`data.yaml`, which names that place. Keys of the sidecars are made of the path, so another place needs another export.
A shard smaller than a global batch is dropped.
"""


EXPORTER = Exporter("gzipped JSON lines with counts, byte offsets and the data specification", Contrastors, write, usage)
