"""JSON that a model wrote, read strictly or mended by json-repair (a guess that may drop no words), and made fit to be stored."""

import json
import math
import re
from typing import Any

LONGEST, MENDED = 100_000, 20_000_000  # characters of a piece that is mended, and × its signs: 20 kB of :"a": took 33 s
KEPT = 0.9  # share of a piece's letters that must be in what it was mended to


def whole_characters(answer: str) -> str:
    """The text with half surrogate pairs replaced: they cannot be stored."""
    if answer.isascii() or not any("\ud800" <= c <= "\udfff" for c in answer):
        return answer
    return answer.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def loaded(span: str, strict: bool) -> tuple[Any, bool]:
    """JSON as the standard has it; not strict, line breaks within strings pass, and NaN is null."""
    try:
        return plain(json.loads(span, strict=strict, parse_constant=_no_number if strict else lambda _: None))
    except (ValueError, RecursionError):  # of a number with thousands of digits, too
        return None, False


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def mended(span: str) -> tuple[Any, bool]:
    """A value out of what is not quite JSON, None where words would be lost; and that it was mended."""
    value, _ = loaded(span, False)
    if value is None and len(span) <= LONGEST and len(span) * len(_SIGNS.findall(span)) <= MENDED:
        from json_repair import loads

        try:
            value = loads(span, skip_json_loads=True)
            whole = isinstance(value, dict | list) and not _CALL.search(_IGNORED.sub("''", span))
            value = _closed(plain(value)[0], span) if whole and _letters(value) >= KEPT * _said(span) else None
        except Exception:  # whatever a guessing parser meets in hostile text, the answer is at fault
            return None, False
    return value, True


def _closed(value: Any, span: str) -> Any:
    """Without the quotes that closed a string and were taken for a part of it: the last of ``'it's fine'``."""
    if isinstance(value, dict):
        return {k: _closed(v, span) for k, v in value.items()}
    if isinstance(value, list):
        return [_closed(v, span) for v in value]
    closes = isinstance(value, str) and value[-1:] == "'" and f"{value}'" not in span
    return value[:-1] if closes and re.search(re.escape(value) + r"\s*[,}\]]", span) else value


_IGNORED = re.compile(
    r"""("(?:\\.|[^"\\])*+(?:"|\Z)|'(?:\\.|[^'\\])*+(?:'|\Z))|//[^\n]*|/\*.*?(?:\*/|\Z)|\#[^\n]*""", re.DOTALL
)  # comments
_SIGNS = re.compile(r"""["'“”‘’()\[\]{}]""")
_CALL = re.compile(r"\w\(|\)\s*[.(]")  # code outside of strings: whatever it stands for, it is no value


def _said(span: str) -> int:
    """How many letters and digits a piece holds: a repair that drops words is none."""
    bare = _IGNORED.sub(lambda m: m[1] or "", span)
    return len(re.findall(r"\w", re.sub(r"\\(?:u[0-9a-fA-F]{4}|[bfnrt])", " ", bare)))


def _letters(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_letters(k) + _letters(v) for k, v in value.items())
    if isinstance(value, list):
        return sum(map(_letters, value))
    return len(re.findall(r"\w", value if isinstance(value, str) else str(value)))


def plain(value: Any) -> tuple[Any, bool]:
    """The value with numbers that JSON lacks as null and half characters replaced; whether that changed it."""
    changed = False

    def walk(node: Any) -> Any:
        nonlocal changed
        if isinstance(node, dict):
            return {walk(k): walk(v) for k, v in node.items()}
        if isinstance(node, list):
            return [walk(v) for v in node]
        new = whole_characters(node) if isinstance(node, str) else node
        new = None if isinstance(node, float) and not math.isfinite(node) else new
        changed = changed or new is not node
        return new

    return walk(value), changed
