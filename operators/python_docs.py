"""The docstrings of Python's standard library: thousands of real texts that every machine already has."""

import ast
import hashlib
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

SKIP = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "ensurepip", "turtledemo", "idle_test"}
WORDS = 12  # a shorter docstring says little more than its name


def modules() -> list[Path]:
    """The source files of the standard library, in order of name."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(p for p in root.rglob("*.py") if not SKIP & set(p.relative_to(root).parts))


def digest() -> str:
    """Of the version and the files' sizes: the library changes with nothing else."""
    sizes = "".join(f"{p.name}:{p.stat().st_size};" for p in modules())
    return f"python-docs-{platform.python_version()}-{hashlib.sha256(sizes.encode()).hexdigest()}"


def docs() -> Iterator[tuple[str, str, str]]:
    """(dotted name, the same as title, docstring) of modules, classes and functions; parsed, never imported."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in modules():
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue  # files kept in other encodings on purpose
        yield from _walk(tree, name)


def _walk(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> Iterator[tuple[str, str, str]]:
    found = ast.get_docstring(node)
    if found and len(found.split()) >= WORDS:
        yield name, name, found
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            yield from _walk(child, f"{name}.{child.name}")
