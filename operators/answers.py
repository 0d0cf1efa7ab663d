"""What an LLM answered, parsed and never evaluated: a line, lines, a text, JSON that follows a schema.

Strict JSON is taken first, whatever stands around it; what is left is mended by json-repair and counted.
An answer is untrusted: its length and its nesting are bounded before anything reads it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from operators.columns import normalise
from operators.mended_json import loaded, mended, whole_characters

NO_JSON, NOT_SCHEMA, CUT_OFF = "no JSON in the answer", "answer does not follow the schema", "answer cut off"
TOO_LONG, TOO_DEEP = "answer too long", "answer nested too deeply"
LIMIT, DEPTH = 1_000_000, 64  # characters; brackets within brackets. 64 is far below what a stack bears
_MOST = 64  # pieces that are mended
_UNCLOSED = 8  # brackets of prose that never close: each costs a look at the rest of the answer
_QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "‘": "’", "«": "»", "「": "」", "『": "』", "`": "`", "**": "**", "__": "__"}
_BULLET = re.compile(r"(\s*)(?:[-*+•–—▪◦·])\s+(?=\S)")
_NUMBER = re.compile(r"(\s*)(?:\*\*)?\(?(\d{1,3})[.):、](?:\*\*)?\s+(?=\S)")
_BEGINS_LIST = re.compile(r"(?:\A|\n|[:=])\s*\[\s*[\"'“‘]")  # a list stands for itself, or behind what announces it
_FENCE = re.compile(r"\s*(?:```|~~~)[\w+-]*\s*")
_OPEN = re.compile(r"[\[{]")
_BEGINS = re.compile(r"[\[{]\s*[\"'“‘\[{]")  # JSON that was begun, not a bracket of prose
_STEP = re.compile(r"[\[{(,:]\s*([\"'“‘]?)|[\]}]")
_ENDS = {q: re.compile(rf"\\.|[{c}]", re.DOTALL) for q, c in {'"': '"', "'": "'", "“": '”"', "‘": "’'"}.items()}
_AFTER = re.compile(r"\s*(?:[,:;)}\]#]|//|/\*|\Z)")  # what follows a string's last quote, and no quote within it
_LIST = {"type": "array", "items": {"type": "string"}, "minItems": 1}
# Their end, where the chat template began them: at an end of a line, where no JSON has it.
_THOUGHTS = re.compile(r"(?:\A|\n)[ \t]*</think>|</think>[ \t]*(?=\n|\Z)")
Parsed = tuple[Any, bool, str]  # value, whether it was repaired, why there is none


def spoken(answer: str) -> str:
    """The answer without a reasoning model's thoughts, without half characters and blank lines around it."""
    if answer.lstrip().startswith("<think>"):
        answer = answer.partition("</think>")[2]
    said = whole_characters(_THOUGHTS.split(answer)[-1]).lstrip("\ufeff").rstrip()
    return said[said[: len(said) - len(said.lstrip())].rfind("\n") + 1 :]  # the first line keeps its indent: lists need it


def parse_text(answer: str) -> str:
    """The whole answer, out of the fence that wraps it."""
    lines = spoken(answer).split("\n")
    if len(lines) > 2 and _FENCE.fullmatch(lines[0]) and lines[-1].strip() in ("```", "~~~"):
        lines = lines[1:-1]
    return "\n".join(lines).strip()


def parse_line(answer: str) -> str:
    """The first line that says something, out of quotes, bullets and fences; a line that only announces is passed over."""
    lines = _lines(answer)
    while len(lines) > 1 and lines[0].endswith((":", "：")):
        lines = lines[1:]
    if not lines:
        return ""
    first = lines[0].strip()
    listed = len(lines) > 1 and _NUMBER.match(first) and _NUMBER.match(lines[1])  # "1. FC Köln" alone is no list
    return unquoted(_bare(first, _NUMBER if listed else _BULLET))


def parse_lines(answer: str) -> list[str]:
    """The items of a numbered, a bulleted or a plain list, or of a list in JSON or Python."""
    if _BEGINS_LIST.search(answer[:LIMIT]):
        found, _, _ = parse_json(answer, _LIST)
        if found:
            return [line for item in found if (line := unquoted(item))]
    lines = _lines(answer[:LIMIT])
    marked = next((m for m in (_NUMBER, _BULLET) if sum(bool(m.match(line)) for line in lines) > (len(lines) == 2)), None)
    if marked is None:
        lines = lines[1:] if len(lines) > 1 and lines[0].endswith((":", "：")) else lines
        return [line for x in lines if (line := unquoted(_bare(x, _BULLET)))]
    items: list[str] = []
    deepest = min(len(m[1]) for line in lines if (m := marked.match(line)))
    for line in lines:
        match = marked.match(line)
        if match and len(match[1]) == deepest:
            items.append(_bare(line, marked))
        elif items and len(line) - len(line.lstrip()) > deepest:  # the item goes on
            items[-1] += " " + _bare(line, _BULLET).strip()
    return [line for item in items if (line := unquoted(item))]


def _bare(line: str, mark: re.Pattern[str]) -> str:
    match = mark.match(line)
    if not match:
        return line
    rest = line[match.end() :]
    return rest.replace("**", "", 1) if match[0].count("**") == 1 else rest  # **1. Title** or **1. Title**: text


def unquoted(line: str) -> str:
    """The line on its own, without the quotes or stars that wrap all of it."""
    line = normalise(line)
    for left, right in _QUOTES.items():
        inner = line[len(left) : len(line) - len(right)].strip()
        if len(line) > len(left + right) and line.startswith(left) and line.endswith(right):
            # `"a" and "b"` is not wrapped; the apostrophe of `'it's'` is no quote
            within = re.sub(r"\w'\w", "", inner) if left == "'" else inner
            if inner and left not in within and right not in within:
                return unquoted(inner)
    return line


def _lines(answer: str) -> list[str]:
    return [line.rstrip() for line in spoken(answer).split("\n") if line.strip() and not _FENCE.fullmatch(line)]


def parse_json(answer: str, schema: Mapping[str, Any], cut: bool = False) -> Parsed:
    """The first JSON value of the answer that follows the schema; strict JSON goes before what must be mended.

    ``cut``: the engine stopped in the middle. What was whole by then counts; nothing is mended.
    """
    if len(answer) > LIMIT:
        return None, False, TOO_LONG
    said, fits = spoken(answer), _checker(schema)
    alone = _alone(said, fits)
    if alone is not None:
        return alone
    spans, fault = _spans(said)
    values: list[Any] = []
    for mend in (False,) if cut else (False, True):
        for span in spans[:_MOST] if mend else spans:
            value, changed = mended(span) if mend else loaded(span, True)
            if value is not None and fits(value):
                return value, changed, ""
            if value is not None:
                values.append(value)
    for value in () if cut else values:
        inner = list(value.values()) if isinstance(value, dict) else value
        if isinstance(inner, list) and len(inner) == 1 and fits(inner[0]):
            return inner[0], True, ""  # wrapped once too often: [{…}], {"answer": {…}}
    return None, False, CUT_OFF if cut else fault or (NOT_SCHEMA if spans else NO_JSON)


def _checker(schema: Mapping[str, Any]) -> Callable[[Any], bool]:
    from jsonschema.validators import Draft202012Validator
    from referencing import Registry

    known = Draft202012Validator(dict(schema), registry=Registry())  # an empty registry: nothing is fetched

    def fits(value: Any) -> bool:
        try:
            return bool(known.is_valid(value))
        except (ArithmeticError, RecursionError):  # 1e308 against a multipleOf
            return False

    return fits


def _alone(said: str, fits: Callable[[Any], bool]) -> Parsed | None:
    """An answer that is one number, word or string of JSON; a string may hold the JSON that was meant."""
    text = parse_text(said)
    if text[:1] in ("{", "[", ""):
        return None
    value, changed = loaded(text, True)
    if value is None and text != "null":
        return None
    if fits(value):
        return value, changed, ""
    if isinstance(value, str) and value[:1] in ("{", "["):
        spans, _ = _spans(value)
        inner = loaded(spans[0], True)[0] if spans else None
        return (inner, True, "") if inner is not None and fits(inner) else (None, False, NOT_SCHEMA)
    return None


def _spans(text: str) -> tuple[list[str], str]:
    """What may be JSON, outermost brackets only, and a fault where the last of it never ends."""
    found: list[str] = []
    at, unclosed = 0, 0
    while (match := _OPEN.search(text, at)) and unclosed < _UNCLOSED:
        start = match.start()
        end, state = _span(text, start)
        if state == TOO_DEEP:
            return found, TOO_DEEP
        if state == "":
            found.append(text[start:end])
            at = end
        elif _BEGINS.match(text, start):
            rest = text[start:]
            fence = rest.rfind("\n```")
            rest = (rest if fence < 0 else rest[:fence]).rstrip(" \t\r\n,")
            # Only brackets are closed: a string, a number or a word at the end may have had more to come.
            if rest[-1] in "\"'”’}]" and _span(rest, 0)[1] == "open":
                return [*found, rest], ""
            return found, CUT_OFF
        else:
            at, unclosed = start + 1, unclosed + 1
    return found, ""


def _span(text: str, start: int) -> tuple[int, str]:
    """Where the bracket at ``start`` closes, and "" or what is open there: "open", CUT_OFF in a string, TOO_DEEP.

    Exact for JSON; of other notations it takes single quotes, and quotes left unescaped within a string.
    """
    stack: list[str] = []
    at = start
    while step := _STEP.search(text, at):
        sign, quote, at = text[step.start()], step[1], step.end()
        if sign in "[{":
            stack.append(sign)
            if len(stack) > DEPTH:
                return at, TOO_DEEP
        elif sign in "]}" and (opener := "{" if sign == "}" else "[") in stack:
            while stack.pop() != opener:
                pass
            if not stack:
                return at, ""
        if quote:
            at = _string_end(text, at, quote)
            if at < 0:
                return len(text), CUT_OFF
    return len(text), "open"


def _string_end(text: str, at: int, quote: str) -> int:
    for found in _ENDS[quote].finditer(text, at):
        if found[0][0] != "\\" and _AFTER.match(text, found.end()):
            return found.end()
    return -1
