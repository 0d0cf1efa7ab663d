"""The digest of a local model: what its files say, wherever they lie. Each file is hashed once a process."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from operators.contract import InputError

# Weights, tokenizers, configurations, chat templates and code; not read-mes, logs and training states.
SUFFIXES = frozenset({
    ".safetensors", ".bin", ".gguf", ".pt", ".pth", ".npz", ".npy", ".onnx", ".json", ".txt", ".model", ".jinja",
    ".py", ".yaml", ".yml", ".spm", ".vocab", ".tiktoken",
})  # fmt: skip


def digest_of(path: Path) -> str:
    """Sixteen bytes in hex of a file, or of the files of a model's folder by name; empty where nothing is there."""
    try:
        if path.is_file():
            return _file(path)[:32]
        found = [p for p in sorted(path.rglob("*")) if p.suffix in SUFFIXES and p.is_file() and not _hidden(p.relative_to(path))]
        whole = hashlib.sha256("".join(f"{p.relative_to(path).as_posix()}\0{_file(p)}\n" for p in found).encode())
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({error.strerror}); mend it or name another model") from error
    return whole.hexdigest()[:32] if found else ""


def _hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _file(path: Path) -> str:
    stat = path.stat()
    return _hashed(os.path.realpath(path), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4096)
def _hashed(path: str, mtime_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
