"""MosaicML's StreamingDataset, and the same rows written anew by its own MDSWriter."""

import sys
import types
from importlib.metadata import version

import transformers.feature_extraction_utils  # noqa: F401  # before the next lines: it looks for torchvision

from tests.exports.loaders.common import answer, told

# Its data sets of images, which it imports anyway, want a torchvision that was built for this torch.
for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["torchvision.datasets"].VisionDataset = object
sys.modules["torchvision.transforms.functional"].to_tensor = None


def main() -> None:
    from streaming import MDSWriter, StreamingDataset

    folder, options = told()
    data = StreamingDataset(local=str(folder), shuffle=False, batch_size=1)
    rows = [data[i] for i in range(len(data))]
    shard = data.shards[0]
    columns = dict(zip(shard.column_names, shard.column_encodings, strict=True))
    with MDSWriter(out=str(folder.parent / "again"), columns=columns, size_limit=options["bytes"]) as out:
        for row in rows:
            out.write(row)
    again = {p.name: p.read_bytes() for p in (folder.parent / "again").iterdir()}
    differ = [name for name, data in again.items() if (folder / name).read_bytes() != data]
    answer(version=version("mosaicml-streaming"), rows=rows, shards=len(again) - 1, differ=differ, steps=0)


if __name__ == "__main__":
    main()
