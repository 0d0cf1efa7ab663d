"""The code of an operator, as one hash: recorded with what it made, and part of a user's own recipe."""

import ast
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from operators.contract import Operator

_PACKAGE = tuple(Path(__file__).parents[1] / folder for folder in ("operators", "cluster", "flows"))


def code_of(op: Operator, named: str = "") -> str:
    """Sixteen hex digits of the operator's module; empty where there is no file.

    Of a user's own operator also of every module of his that it imports, anywhere in its text, and of the module
    ``named``, where the flow finds it. What is installed, and what a string names at run time, is not looked at.
    """
    try:
        file = Path(inspect.getsourcefile(op.fn) or "")
        if _is_packages(file):
            return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        found = {op.fn.__module__: file}
        _follow([*_imports(op.fn.__module__, file), *([named] if named else [])], found)
        said = "".join(f"{name}\0{hashlib.sha256(found[name].read_bytes()).hexdigest()}\n" for name in sorted(found))
        return hashlib.sha256(said.encode()).hexdigest()[:16]
    except (TypeError, OSError):
        return ""


def moved(op: Operator, recorded: str) -> bool:
    """Whether the code is another than the recorded one; not where nothing was recorded."""
    return bool(recorded) and recorded != code_of(op)


def _follow(names: list[str], found: dict[str, Path]) -> None:
    """Add the user's own among these modules, the packages that they stand in, and all that those import."""
    met = set(found)
    while names:
        for name in accumulate(names.pop().split("."), "{}.{}".format):
            if name not in met and (file := _own(name)):
                found[name] = file
                names += _imports(name, file)
            met.add(name)


def _own(name: str) -> Path | None:
    """The file of a module that is neither Python's, nor installed, nor Pithead's. Nothing is imported to find it."""
    top, *inner = name.split(".")
    if top in sys.stdlib_module_names:
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # the latter of __main__
        return None
    places = [Path(p, *inner) for p in (spec.submodule_search_locations or [])] if spec else []
    files = [f for p in places for f in (p / "__init__.py", p.parent / f"{p.name}.py") if inner or f.name == "__init__.py"]
    files += [Path(spec.origin)] if spec and spec.origin and not inner and not places else []
    file = next((f for f in files if f.is_file()), None)
    return None if file is None or _is_packages(file) or {"site-packages", "dist-packages"} & set(file.parts) else file


def _is_packages(file: Path) -> bool:
    return any(file.is_relative_to(folder) for folder in _PACKAGE)


def _imports(name: str, file: Path) -> Iterator[str]:
    """Every module that the text of a module may import; of ``from a import b`` both ``a`` and ``a.b``."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes()))) if file.suffix == ".py" else []
    except (SyntaxError, ValueError):
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{a.name}" for a in node.names if a.name != "*")
            yield base
