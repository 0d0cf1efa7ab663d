"""WebDataset: tar files of one JSON a row, under a key that orders them."""

import io
import json
import tarfile

from pydantic import Field

from operators.columns import slices
from operators.exporters.examples import Examples
from operators.exporters.files import Sink
from operators.exporters.hf_datasets import CARRIES, Everything, plain
from operators.exporters.options import Exporter


class WebDataset(Everything):
    """Every column of the set, in tar files."""

    shard_rows: int = Field(10_000, ge=1, description="rows a file, at most")


def write(examples: Examples, p: WebDataset, sink: Sink) -> None:
    """``train-000000.tar`` and so on. Members have no time and no owner: equal rows are equal bytes."""
    done, opened = 0, None
    for table in examples.tables():
        for part in slices(plain(table, p, examples.count), 256):
            for row in part.to_pylist():
                name = f"train-{done // p.shard_rows:06d}.tar"
                if not done % p.shard_rows:
                    if opened:
                        opened.close()
                    opened = tarfile.TarFile(fileobj=sink.lines(name).stream, mode="w", format=tarfile.USTAR_FORMAT)
                said = json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
                member = tarfile.TarInfo(f"{done:09d}.json")
                member.size = len(said)
                assert opened
                opened.addfile(member, io.BytesIO(said))
                sink.lines(name).rows += 1
                done += 1
                if not done % p.shard_rows:
                    opened.close()
                    opened = None
                    sink.close(name)
    if opened:
        opened.close()


def usage(p: WebDataset) -> str:
    """How to load it."""
    return """For WebDataset: `wds.WebDataset("train-{000000..N}.tar", shardshuffle=False).decode()`; a sample's `json` is a row.
"""


EXPORTER = Exporter("tar files of one JSON a row", WebDataset, write, usage, carries=CARRIES)
