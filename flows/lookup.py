"""Where a flow's names are looked up: operators, models and paths, the user's before the package's."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.config import ROOT, read_yaml
from flows.faults import FlowError, did_you_mean, sentences
from operators.contract import InputError, Operator


def read_models(roots: Sequence[Path]) -> dict[str, Any]:
    """Every entry of models.yaml: the package's, then the user's own over them."""
    from operators.engines.models import ModelEntry

    entries: dict[str, Any] = {}
    for root in [*reversed(roots)]:
        file = root / "models.yaml"
        if not file.exists():
            continue
        for key, value in (read_yaml(file) or {}).items():
            try:
                entries[key] = ModelEntry.model_validate(value)
            except ValidationError as error:
                raise FlowError(sentences(error, f"{file}: {key}", ModelEntry.model_fields)) from error
    return entries


def shipped_operators() -> list[str]:
    """The names of the package's operators: one file each, named as its function."""
    files = {p.stem: p.read_text(encoding="utf-8") for p in sorted((ROOT / "operators").glob("*.py"))}
    return [name for name, code in files.items() if "\n@operator(" in code and f"\ndef {name}(" in code]


def find_operator(spec: str, roots: Sequence[Path]) -> tuple[str, Operator]:
    """The operator ``name`` of the package, or ``module:function`` of the user's."""
    if ":" not in spec:
        shipped = shipped_operators()
        if spec not in shipped:
            raise InputError(f"no operator {spec!r}{did_you_mean(spec, shipped)}")
        full = f"operators.{spec}:{spec}"
    else:
        full = spec
        sys.path[:] = [*sys.path, *(str(r) for r in roots if str(r) not in sys.path)]
    module, _, function = full.partition(":")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise InputError(f"operator {spec!r} cannot be imported: {error}") from error
    if not isinstance(found, Operator):
        raise InputError(f"{spec!r} is not an operator: {module} has no @operator function {function!r}")
    return full, found


def resolve(path: str, roots: Sequence[Path]) -> str:
    """A path of a flow: absolute, or from the flow's folder, then the working folder, then the package."""
    given = Path(path).expanduser()
    for root in [Path("/")] if given.is_absolute() else [roots[0], Path.cwd(), *roots[1:]]:
        found = root / given
        if found.exists() or any(c in path for c in "*?[") and any(root.glob(path) if root != Path("/") else ()):
            return str((found.parent / found.read_text().strip()) if found.name == "latest" and found.is_file() else found)
    return str(given if given.is_absolute() else roots[0] / given)
