"""Hugging Face `datasets`, on disk or by name, as records."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from operators.contract import InputError, Item
from operators.formats import ROWS, Batch


def load(p: Any) -> Any:
    """The split, mapped from where it lies; an `InputError` says why it cannot be."""
    import datasets

    try:
        if Path(p.path).exists():
            found = datasets.load_from_disk(p.path)
            if isinstance(found, datasets.DatasetDict):
                if p.split not in found:
                    raise InputError(f"{p.path}: no split {p.split!r}; it has {', '.join(found)}")
                return found[p.split]
            return found
        return datasets.load_dataset(os.path.relpath(p.path) if os.path.isabs(p.path) else p.path, split=p.split)
    except (FileNotFoundError, ValueError, ConnectionError, OSError) as error:
        said = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(f"{p.path}: `datasets` cannot load it ({said}); mend `path:` or `split:`") from error


def dataset_items(p: Any) -> list[Item]:
    """One item: the split, by a hash of its rows, however they are cut into files; some thousands are read at a time.

    Not by `datasets`' own fingerprint: it names how a set was made, and the same steps over changed data keep it.
    """
    digest, size = hashlib.sha256(), 0
    for table in load(p).with_format("arrow").iter(batch_size=ROWS):
        if not size:
            digest.update(table.schema.remove_metadata().serialize())
        for batch in table.combine_chunks().to_batches():
            said = batch.serialize()
            digest.update(said)
            size += said.size
    return [Item(p.path, f"{Path(p.path).name}:datasets-{digest.hexdigest()}", size)]


def dataset_batches(item: Item, p: Any) -> Iterator[Batch]:
    """The split's rows, some thousands at a time."""
    import pyarrow as pa

    found, number = load(p), 1
    for start in range(0, len(found), ROWS):
        try:
            columns = found[start : start + ROWS]
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            said = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
            raise InputError(f"{p.path}: what stands behind row {start} cannot be read ({said}); copy it again") from error
        count = len(next(iter(columns.values())))
        yield Batch(columns, list(range(number, number + count)))
        number += count
