"""Hugging Face `datasets`, on disk or by name, as records."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from operators.contract import InputError, Item
from operators.formats import ROWS, Batch


def _load(p: Any) -> Any:
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
    """One item: the split, by the fingerprint of its content."""
    return [Item(p.path, f"datasets-{_load(p)._fingerprint}-{p.split}")]


def dataset_batches(item: Item, p: Any) -> Iterator[Batch]:
    """The split's rows, some thousands at a time."""
    import pyarrow as pa

    found, number = _load(p), 1
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
