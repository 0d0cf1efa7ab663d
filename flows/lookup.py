"""Where a flow's names are looked up: operators, models and paths, the user's before the package's."""

import importlib
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from glob import iglob
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.config import CONFIGS, ROOT, read_yaml
from flows.faults import FlowError, did_you_mean, sentences
from operators.contract import InputError, Operator


def read_models(roots: Sequence[Path]) -> dict[str, Any]:
    """Every entry of models.yaml: the package's, then the user's own over them."""
    from operators.engines.models import ModelEntry, entry_of

    entries: dict[str, Any] = {}
    for root in [*reversed(roots)]:
        file = root / "models.yaml"
        if not file.exists():
            continue
        raw = read_yaml(file) or {}
        if not isinstance(raw, dict):
            raise FlowError([f"{file}: it is a {type(raw).__name__}; write one `key: {{kind: …, backend: …}}` a model"])
        for key, value in raw.items():
            try:
                entries[str(key)] = entry_of(value, root)
            except ValidationError as error:
                raise FlowError(sentences(error, f"{file}: {key}", ModelEntry.model_fields)) from error
    return entries


@cache
def shipped_operators() -> tuple[str, ...]:
    """The names of the package's operators: one file each, named as its function."""
    files = {p.stem: p.read_text(encoding="utf-8") for p in sorted((ROOT / "operators").glob("*.py"))}
    return tuple(name for name, code in files.items() if "\n@operator(" in code and f"\ndef {name}(" in code)


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
    if not all(name.isidentifier() for name in [*module.split("."), function]):
        raise InputError(f"{spec!r} names no operator; write an operator of the package, or module:function")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise InputError(f"operator {spec!r} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:  # whatever a user's module does when it loads
        raise InputError(f"operator {spec!r} cannot be imported: {_said(error)}") from error
    if not isinstance(found, Operator):
        raise InputError(f"{spec!r} is not an operator: {module} has no @operator function {function!r}")
    return full, found


def _said(error: BaseException) -> str:
    """The error in one line, with the line of the file that raised it."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    last = traceback.extract_tb(error.__traceback__)[-1]
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words} ({last.filename}, line {last.lineno})"


def resolve(path: str, roots: Sequence[Path]) -> str:
    """A path of a flow: absolute, or from the flow's folder, then the working folder, then the package.

    Nobody keeps data beside a shipped flow: there the working folder goes first.
    """
    given = Path(path).expanduser()
    if any("**" in part and part != "**" for part in given.parts):
        raise InputError(f"{path}: ** stands for folders alone; write **/ before the pattern of the name")
    shipped = roots[0].is_relative_to(CONFIGS)
    near = [Path.cwd(), *roots] if shipped else [roots[0], Path.cwd(), *roots[1:]]
    for root in [Path("/")] if given.is_absolute() else near:
        found = root / given
        if found.exists() or any(c in path for c in "*?[") and any(iglob(path, root_dir=root, recursive=True)):
            return str((found.parent / found.read_text().strip()) if found.name == "latest" and found.is_file() else found)
    return str(given if given.is_absolute() else near[0] / given)
