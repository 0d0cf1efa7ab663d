"""The functions of a Python file, by its syntax tree; the code is parsed, never run."""

import ast
import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_CODE = ast.FunctionDef | ast.AsyncFunctionDef
_HOLDERS = ast.ExceptHandler | ast.match_case
_BLOCKS = (
    ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.TryStar | ast.Match | _HOLDERS
)
_INSIDE = ast.stmt | _HOLDERS


class Function(NamedTuple):
    """A function or method."""

    line: int
    name: str  # dotted; .f is the file's own
    code: str  # with its decorators
    said: str | None  # the first paragraph of its docstring, which CodeSearchNet (arXiv:1909.09436) takes for a query
    bare: str | None  # the code without the docstring; None where nothing is left


def functions(source: str) -> Iterator[Function]:
    """Each function of the file in order, below an `if` or `try` too; one within another is a part of that.

    Raises what `ast.parse` does.
    """
    # Not splitlines: to that a form feed or U+2028 ends a line, to Python none does.
    lines = [f"{line}\n" for line in source.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    yield from _walk(ast.parse(source).body, "", lines)


def _walk(body: Sequence[ast.AST], name: str, lines: list[str]) -> Iterator[Function]:
    for child in body:
        if isinstance(child, ast.ClassDef):
            yield from _walk(child.body, f"{name}.{child.name}", lines)
        elif isinstance(child, _BLOCKS):
            yield from _walk([one for one in ast.iter_child_nodes(child) if isinstance(one, _INSIDE)], name, lines)
        elif isinstance(child, _CODE):
            yield _function(child, f"{name}.{child.name}", lines)


def _function(node: _CODE, name: str, lines: list[str]) -> Function:
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1
    end = node.end_lineno or node.lineno
    said, bare = ast.get_docstring(node), None
    # What shares a line with the docstring cannot be told from it.
    if said and len(node.body) > 1 and node.lineno < (told := node.body[0]).lineno and _alone(told, node.body[1]):
        bare = _dedented([*lines[first : told.lineno - 1], *lines[told.end_lineno or told.lineno : end]])
    opening = said.split("\n\n")[0].strip() if said else None
    return Function(first + 1, name, _dedented(lines[first:end]), opening, bare)


def _alone(told: ast.stmt, following: ast.stmt) -> bool:
    return (told.end_lineno or told.lineno) < following.lineno


def _dedented(lines: list[str]) -> str:
    return textwrap.dedent("".join(lines)).strip("\n")
