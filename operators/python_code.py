"""The functions of a Python file, by its syntax tree; the code is parsed, never run."""

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CODE = ast.FunctionDef | ast.AsyncFunctionDef


class Function(NamedTuple):
    """A function or method."""

    line: int
    name: str  # dotted, below the file's
    code: str  # with its decorators
    said: str | None  # the first paragraph of its docstring, which CodeSearchNet (arXiv:1909.09436) takes for a query
    bare: str | None  # the code without the docstring; None where nothing is left


def functions(source: str, path: Path) -> Iterator[Function]:
    """Each function of the file in order; one within another is a part of that. Raises what `ast.parse` does."""
    lines = source.splitlines(keepends=True)
    yield from _walk(ast.parse(source), path.stem, lines)


def _walk(node: ast.Module | ast.ClassDef, name: str, lines: list[str]) -> Iterator[Function]:
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            yield from _walk(child, f"{name}.{child.name}", lines)
        elif isinstance(child, _CODE):
            yield _function(child, f"{name}.{child.name}", lines)


def _function(node: _CODE, name: str, lines: list[str]) -> Function:
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1
    end = node.end_lineno or node.lineno
    said, bare = ast.get_docstring(node), None
    if said and len(node.body) > 1:
        told = node.body[0]
        bare = _dedented([*lines[first : told.lineno - 1], *lines[told.end_lineno or told.lineno : end]])
    opening = said.split("\n\n")[0].strip() if said else None
    return Function(first + 1, name, _dedented(lines[first:end]), opening, bare)


def _dedented(lines: list[str]) -> str:
    return textwrap.dedent("".join(lines)).strip("\n")
