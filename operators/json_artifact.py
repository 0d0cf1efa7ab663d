"""An artifact that is one JSON file: what its class is made with, by name."""

import json
from pathlib import Path
from typing import ClassVar, Self


class JsonArtifact:
    """Give ``file`` a name; attributes are called as the arguments that the class is made with."""

    file: ClassVar[str]

    def save(self, folder: Path) -> None:
        """One JSON file."""
        (folder / self.file).write_text(json.dumps(vars(self), sort_keys=True, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(**json.loads((folder / cls.file).read_text(encoding="utf-8")))
