"""Find telephones in a text: `phonenumbers` (Google's libphonenumber) decides, here is what it is shown."""

import re
from collections.abc import Iterator

Span = tuple[int, int]
_NUMBER = re.compile(r"(?:\+|\b00|\()?\d(?:[ .()\-/]{0,3}\d){6,}", re.ASCII)
_DIGITS = 45  # of a run with telephones in it; longer ones are tables, which would take 17 s a megabyte
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def phones(said: str, region: str) -> Iterator[Span]:
    """Where they stand: those with +, and where a region is given those that its people write without."""
    for match in _NUMBER.finditer(said):
        start, end = match.span()
        abroad = match[0][0] == "+"
        if not abroad and (not region or match[0].lstrip("(").isdigit()) or sum(map(str.isdigit, match[0])) > _DIGITS:
            continue
        if abroad:  # a date, or another number, may stand a blank behind it
            blanks = [i for i in range(start, end) if said[i] == " "]
            tried = (list(_matched(said, start, stop, region)) for stop in (end + 8, *reversed(blanks[-4:])))
            found = next(filter(None, tried), [])
            yield from found
            start = found[-1][1] if found else end
        for a, b in _pieces(said, start, end) if region else ():
            yield from _matched(said, a, b + 8 * (b == end), region)


def _pieces(said: str, start: int, end: int) -> Iterator[Span]:
    """A run of numbers, cut between two that both hold other signs than blanks: 650-253-0000 415-555-2671."""
    at, signs = start, False
    for match in re.finditer(r"[^ ]+", said[start:end]):
        before, signs = signs, not set(match[0]).isdisjoint("-./")
        if before and signs:
            yield at, start + match.start()
            at = start + match.start()
    if at < end:
        yield at, end


def _matched(said: str, first: int, stop: int, region: str) -> Iterator[Span]:
    import phonenumbers

    strict = phonenumbers.Leniency.STRICT_GROUPING  # 17284.993657 is a time, 16/2097152 a size
    kind = phonenumbers.Leniency.VALID if said[first] == "+" else strict
    for one in phonenumbers.PhoneNumberMatcher(said[first:stop], region or None, leniency=kind, max_tries=3):
        raw = one.raw_string
        start = first + one.start + (raw[0] == "(" and ")" not in raw)
        plain = raw.strip("()").isdigit() or ".." in raw or said[start - 1 : start] == "." or _DATE.match(raw)
        if raw[0] == "+" or not plain:
            yield start, first + one.end
