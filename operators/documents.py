"""Files that are one document, or of code: text and Markdown, HTML, PDF, Python."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from operators import extraction

Records = tuple[dict[str, list[Any]], list[int], list[tuple[int, str, str]]]  # columns, numbers, what could not be read
_CUT = "invalid UTF-8"


def _text(path: Path, raw: bytes) -> Records:
    try:
        value = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _bad(_CUT, f"byte {error.start}")
    heading = next((ln.lstrip("# ").strip() for ln in value.splitlines() if ln.startswith("# ")), path.stem)
    return {"title": [heading], "text": [value]}, [1], []


def _html(path: Path, raw: bytes) -> Records:
    return _extracted(path, extraction.extract("html", raw))


def pdf(path: Path) -> Records:
    """A PDF, which is read where it lies: a page at a time."""
    return _extracted(path, extraction.extract("pdf", path))


def _extracted(path: Path, found: extraction.Extracted) -> Records:
    if fault := found.get("fault"):
        return _bad(*fault)
    return {"title": [found["title"] or path.stem], "text": [found["text"]]}, [1], []


def _python(path: Path, raw: bytes) -> Records:
    """A record a function, by its line: its name, its code; for pairs what it says of itself, and the code without that."""
    told = extraction.extract("python", raw)
    if fault := told.get("fault"):
        reason, value, *line = fault
        return _bad(reason, value, *line)
    found = [(line, path.stem + name, *rest) for line, name, *rest in told["functions"]]
    lines, names, codes, said, bare = (list(c) for c in zip(*found, strict=True)) if found else ([], [], [], [], [])
    return {"title": names, "text": codes, "query": said, "positive": bare}, lines, []


def _bad(reason: str, value: str, number: int = 1) -> Records:
    return {}, [], [(number, reason, value)]


READERS: dict[str, Callable[[Path, bytes], Records]] = {"text": _text, "html": _html, "python": _python}
