"""CSV and TSV, a record at a time. A record with a broken quote is a fault of its own, not of the lines behind it."""

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from operators.contract import InputError

Fault = tuple[str, str]  # reason, value
Found = Iterator[tuple[int, dict[str, Any] | Fault]]  # line, and its record or why there is none
Lines = Iterator[tuple[int, bytes | None]]


class _Feed:
    """The lines that a csv reader takes, which remembers those of the record under way."""

    def __init__(self, lines: Lines, longest: int) -> None:
        self.lines, self.longest = lines, longest
        self.taken: list[tuple[int, str]] = []
        self.waiting: deque[tuple[int, str]] = deque()
        self.faults: list[tuple[int, Fault]] = []
        self.ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        self.taken.append(self.waiting.popleft() if self.waiting else self._decoded())
        return self.taken[-1][1]

    def _decoded(self) -> tuple[int, str]:
        for number, line in self.lines:
            if line is None:
                self.faults.append((number, (f"a line longer than {self.longest >> 20} MB", "")))
                continue
            try:
                return number, line.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                value = f"byte {error.start}: {line[:100].decode('utf-8', 'replace')}"
                self.faults.append((number, ("invalid UTF-8", value)))
        self.ended = True
        raise StopIteration

    def give_up(self, path: Path, error: csv.Error) -> tuple[int, Fault]:
        """The fault of the record's first line; what it swallowed is read again."""
        first, line = self.taken[0]
        if self.ended or sum(len(text) for _, text in self.taken) > self.longest:
            raise InputError(
                f"{path}: in line {first} a quote opens that never closes; mend the line, or copy the file again"
            ) from error
        self.waiting.extendleft(reversed(self.taken[1:]))
        return first, ("not CSV", f"{error}: {line[:200].strip()}")


def records(path: Path, lines: Lines, tab: str, longest: int) -> Found:
    """Every record by the header's names, or why there is none; a field of many lines is told by its last."""
    csv.field_size_limit(longest)
    feed = _Feed(lines, longest)
    # strict: else one open quote makes the whole rest of the file a single good field
    reader = csv.reader(feed, delimiter=tab, quoting=csv.QUOTE_NONE if tab == "\t" else csv.QUOTE_MINIMAL, strict=True)
    header: list[str] | None = None
    more = True
    while more:
        feed.taken = []
        row: list[str] = []
        broken = None
        try:
            row = next(reader)
        except StopIteration:
            more = False
        except csv.Error as error:
            broken = feed.give_up(path, error)
        if header is None and (feed.faults or broken):
            number, (reason, _) = feed.faults[0] if feed.faults else broken or (1, ("", ""))
            raise InputError(f"{path}: its header, line {number}, cannot be read ({reason}); mend it")
        yield from feed.faults
        feed.faults = []
        if broken:
            yield broken
        elif row and header is None:
            header = row
        elif row and len(row) != len(header or row):
            yield feed.taken[-1][0], ("another number of fields than the header", tab.join(row)[:200])
        elif row:
            yield feed.taken[-1][0], dict(zip(header or row, row, strict=True))
