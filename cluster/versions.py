"""The versions around a step: of the main libraries and of Pithead itself. Provenance, never identity."""

import importlib.metadata
import json
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARIES = (
    "pithead", "pyarrow", "numpy", "torch", "transformers", "tokenizers", "sentence-transformers", "faiss-cpu", "faiss-gpu",
    "bm25s", "vllm", "datasets", "ray", "ftfy", "eldc", "py3langid", "phonenumbers", "ahocorasick-rs", "PyStemmer",
)  # fmt: skip


@cache
def version_of(name: str) -> str:
    """Of a library; empty where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


@cache
def versions() -> dict[str, str]:
    """The version of each main library that is installed, and the package's commit where it is known. Once a process."""
    found = {name: version for name in LIBRARIES if (version := version_of(name))}
    commit = _commit()
    return {**found, **({"commit": commit} if commit else {})}


def _commit() -> str:
    """Of a checkout, with ``-dirty`` where files were changed, or of what pip installed from git; else empty."""
    try:
        if (ROOT / ".git").exists():
            ask = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
            return subprocess.run(ask, capture_output=True, text=True, timeout=5).stdout.strip()
        said = json.loads(importlib.metadata.distribution("pithead").read_text("direct_url.json") or "{}")
        return str(said.get("vcs_info", {}).get("commit_id", ""))
    except (OSError, subprocess.SubprocessError, importlib.metadata.PackageNotFoundError):
        return ""
