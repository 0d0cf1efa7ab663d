"""Checks that every reader makes of a record's texts, with the reason where one fails."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from operators.contract import REJECTS, text


def text_fault(value: Any, name: str, longest: int) -> tuple[str, str] | None:
    """(reason, value) where a text cannot be used; None where it can. Null counts as empty."""
    if value is None:
        return None
    if not isinstance(value, str):
        return f"{name} is {type(value).__name__}, not text", repr(value)[:200]
    if "\x00" in value:
        return f"{name} holds a NUL character", value[:200]
    if len(value) > longest:
        return f"{name} is longer than max_chars", f"{len(value)} characters: {value[:100]}"
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        return f"{name} holds half a surrogate pair", value[:100].encode("utf-8", "replace").decode()
    return None


def bad_table(bad: Sequence[tuple[int, str, str]]) -> pa.Table:
    """Rejects of a source: ``_row`` is the record's number in its file."""
    numbers, reasons, values = zip(*bad, strict=True) if bad else ((), (), ())
    return pa.table([pa.array(numbers, pa.int32()), pa.array(reasons, text), pa.array(values, text)], schema=REJECTS)


def as_id(value: Any) -> str:
    """A user's own id as text; numbers are common."""
    return "" if value is None else str(value)


def column(columns: Mapping[str, list[Any]], name: str | None, count: int) -> list[Any]:
    """A column's values; None everywhere where there is none."""
    return columns[name] if name is not None and name in columns else [None] * count
