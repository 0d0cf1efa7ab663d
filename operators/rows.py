"""Checks that every reader makes of a record's texts, with the reason where one fails."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from operators.contract import REJECTS, text
from operators.formats import ROWS, Batch, pick


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
    if _halved(value):
        return f"{name} holds half a surrogate pair", value[:100].encode("utf-8", "replace").decode()
    return None


def sound(values: Sequence[Any], longest: int) -> bool:
    """Whether all are texts without a fault, told of all at once: a tenth of the time of a `text_fault` each."""
    try:
        whole = "".join(values)
    except TypeError:  # null among them, which is no fault but rare where it is not everywhere
        return all(value is None for value in values)
    return "\x00" not in whole and max(map(len, values), default=0) <= longest and not _halved(whole)


def _halved(value: str) -> bool:
    """Whether UTF-8 cannot hold it; to try took a hundredth of the time of a look at each character."""
    try:
        value.isascii() or value.encode()
    except UnicodeEncodeError:
        return True
    return False


def id_fault(value: Any, name: str) -> tuple[str, str] | None:
    """(reason, value) where an id, or another word that `as_id` makes text of, cannot be used; None where it can."""
    return text_fault(as_id(value), name, sys.maxsize)


def bad_table(bad: Sequence[tuple[int, str, str]]) -> pa.Table:
    """Rejects of a source: ``_row`` is the record's number in its file."""
    numbers, reasons, values = zip(*bad, strict=True) if bad else ((), (), ())
    said = [value.encode("utf-8", "replace").decode() for value in values]  # half a surrogate pair is no UTF-8
    return pa.table([pa.array(numbers, pa.int32()), pa.array(reasons, text), pa.array(said, text)], schema=REJECTS)


def as_id(value: Any) -> str:
    """A user's own id as text; numbers are common."""
    return "" if value is None else str(value)


def column(columns: Mapping[str, list[Any]], name: str | None, count: int) -> list[Any]:
    """A column's values; None everywhere where there is none."""
    return columns[name] if name is not None and name in columns else [None] * count


def named(
    batches: Iterator[Batch], usual: Mapping[str, Sequence[str]], given: Mapping[Any, str], needed: Sequence[str], path: str
) -> Iterator[tuple[Batch, dict[str, str | None]]]:
    """Each batch with the column of each field, told once a file: what a record means is no matter of its neighbours.

    The file's first `ROWS` records decide. A field that none of them has is told where it first comes.
    """
    first: list[Batch] = []
    have: dict[str, None] = {}
    names: dict[str, str | None] = dict.fromkeys(usual)
    count = 0
    while count < ROWS and (batch := next(batches, None)) is not None:
        if batch.bad:  # not held: a file may be bad throughout
            yield Batch({}, [], batch.bad), names
        if batch.numbers:
            first.append(Batch(batch.columns, batch.numbers))
            have |= dict.fromkeys(batch.columns)
            count += len(batch.numbers)
    for name in needed if first else ():
        names[name] = pick(have, name, given.get(name), usual[name], path)
    names = _told(names, have, usual, given)
    yield from ((batch, names) for batch in first)
    for batch in batches:
        names = _told(names, batch.columns, usual, given)
        yield batch, names


def _told(
    names: Mapping[str, str | None], have: Mapping[str, Any], usual: Mapping[str, Sequence[str]], given: Mapping[Any, str]
) -> dict[str, str | None]:
    return {
        field: name or next((n for n in ([given[field]] if field in given else usual[field]) if n in have), None)
        for field, name in names.items()
    }
