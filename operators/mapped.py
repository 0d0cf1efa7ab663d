"""Artifacts that are files of one folder, memory-mapped: what the builds of indexes leave behind."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np


class Mapped:
    """Its files are all that it is: it is saved by copying them, and loaded by mapping them anew."""

    files: ClassVar[Iterable[str]] = ()

    def __init__(self, folder: Path, owner: object = None) -> None:
        """``owner`` keeps a temporary ``folder`` alive; a subclass maps its files."""
        self._folder, self._owner = folder, owner

    def save(self, folder: Path) -> None:
        """Copy the files below ``folder``."""
        for name in self.files:
            shutil.copyfile(self._folder / name, folder / name)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map what ``save`` wrote."""
        return cls(folder)


def mapped(path: Path, kind: str) -> np.ndarray[Any, Any]:
    """The numbers of a file: (N,) of ``kind``; an empty file, which cannot be mapped, has none."""
    return np.asarray(np.memmap(path, np.dtype(kind), "r")) if path.stat().st_size else np.empty(0, kind)
