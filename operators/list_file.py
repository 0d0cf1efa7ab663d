"""A list beside the flow: a file of lines, known by its bytes, not by where it lies."""

import gzip
import hashlib
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import ValidationInfo, WithJsonSchema, model_validator

from operators.contract import InputError, Params


class Listed(Params):
    """In YAML it is a file name; the recipe holds ``sha256`` alone. UTF-8, an entry a line, # begins a comment line; also .gz."""

    path: str
    sha256: str

    @model_validator(mode="before")
    @classmethod
    def find(cls, value: Any, info: ValidationInfo) -> Any:
        """Look a name up from the flow's folder on, then from the working folder."""
        if not isinstance(value, str):
            return value
        given = Path(value).expanduser()
        folders = [*map(Path, (info.context or {}).get("roots", [])), Path()]
        found = next((p for p in ([given] if given.is_absolute() else [f / given for f in folders]) if p.is_file()), None)
        if found is None:
            where = "" if given.is_absolute() else f" in {', '.join(dict.fromkeys(str(f.resolve()) for f in folders))}"
            raise ValueError(f"there is no list {value!r}{where}; write it or mend its name")
        entries(str(found.resolve()), digest := _digest(found))
        return {"path": str(found.resolve()), "sha256": digest}

    @property
    def entries(self) -> tuple[str, ...]:
        """The entries in the file's order; raises `InputError` where the file is another than it was."""
        return entries(self.path, self.sha256)


ListFile = Annotated[Listed, WithJsonSchema({"type": "string", "description": "a file of lines"})]  # as YAML says it


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=16)
def entries(path: str, sha256: str) -> tuple[str, ...]:
    """The entries of a file that has this digest."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"the list {path} cannot be read here: {error.strerror}; every worker needs it at that path") from error
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise InputError(f"the list {path} changed while the flow ran; run the flow again")
    try:
        lines = (gzip.decompress(raw) if path.endswith(".gz") else raw).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"the list {path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"the list {path} is no gzip file: {error}") from error
    found = tuple(dict.fromkeys(s for line in lines if (s := line.strip()) and not s.startswith("#")))
    if not found:
        raise ValueError(f"the list {path} has no entry; fill it or leave it out")
    return found
