"""Reads what a server of the OpenAI protocol sends: answers, refusals, log-probabilities."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from operators.engines.http_pool import Failed
from operators.engines.llm import Answer, Sampling
from operators.mended_json import whole_characters

Body = dict[str, Any]
Whose = Literal["again", "key", "unpaid", "moved", "unknown", "schema", "too long", "unsafe", "prompt"]
_AGAIN = {408, 409, 425, 429}  # and all from 500 on
_TOO_LONG = re.compile(
    r"context.{0,12}(length|size|window)|maximum.{0,30}(tokens|length)|too (long|many tokens)|longer than the model", re.I
)
_UNSAFE = re.compile(r"content.?(filter|management|policy)|moderat|flagged|safety|responsible.?ai", re.I)
_SCHEMA = re.compile(r"response_format|schema|guided|grammar|structured", re.I)
_NO_MODEL = re.compile(r"model\W.{0,80}(not (found|exist)|does not exist|unknown)|(unknown|invalid|no such) model", re.I)
_UNPAID = re.compile(r"insufficient.?quota|billing|exceeded your current quota", re.I)
GARBLED = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError)
_MOST_TOKENS = 1 << 40  # of one request: what claims more is garbled


def clearer(key: str) -> Callable[[str], str]:
    """What takes the key out of a text, escaped as JSON may escape it or not."""
    if not key:
        return str
    escaped = re.compile("".join(rf"\\*(?:{re.escape(c)}|u00{ord(c):02x})" for c in key), re.I)

    def clear(text: str) -> str:
        return escaped.sub("[key]", text) if "\\" in text else text.replace(key, "[key]")

    return clear


def read_json(text: str, clear: Callable[[str], str]) -> Any:
    """The JSON with its strings cleared and their half characters replaced, so that what is kept is what is replayed.

    Raises `ValueError`, where it is nested too deeply too.
    """

    def clean(node: Any) -> Any:
        if isinstance(node, str):
            return clear(whole_characters(node))
        if isinstance(node, dict):
            return {clean(k): clean(v) for k, v in node.items()}
        return [clean(v) for v in node] if isinstance(node, list) else node

    try:
        return clean(json.loads(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def usage(data: Body) -> tuple[int, int]:
    """Tokens read and written; `Failed` where they are no numbers."""
    try:
        said = data.get("usage") or {}
        read, written = int(said.get("prompt_tokens") or 0), int(said.get("completion_tokens") or 0)
    except GARBLED:
        read = written = -1
    if not (0 <= read < _MOST_TOKENS and 0 <= written < _MOST_TOKENS):
        raise Failed("answers with a usage that is no number", _raw(data))
    return read, written


def _raw(data: Any) -> str:
    try:
        return json.dumps(data, ensure_ascii=False)
    except RecursionError:  # a little less deep than what cannot be read
        return ""


def read_choice(data: Body, sampling: Sampling) -> Answer:
    """The answer that a server's reply holds; `Failed` where it holds none."""
    try:
        choice = data["choices"][0]
        chat = "message" in choice
        text = choice["message"].get("content") if chat else choice["text"]
        refusal = choice["message"].get("refusal") if chat else None
        reason = choice.get("finish_reason")
    except GARBLED:
        raise Failed("answers without a choice", _raw(data)) from None
    tokens = usage(data)
    if not isinstance(text, str | None) or reason in ("abort", "error"):
        raise Failed(f"answers with finish_reason {reason}", _raw(data))
    if refusal or reason == "content_filter":
        return Answer(str(refusal or text or ""), "fault", *tokens, fault="refused")
    text = text or ""
    for stop in sampling.stop:  # some servers leave it on
        text = text.split(stop, 1)[0]
    finish: Literal["stop", "length"] = "length" if reason == "length" else "stop"
    return Answer(text, finish, *tokens)


def sort_error(status: int, words: str, schema: bool) -> Whose:
    """What an HTTP error is about: the server's state, the user's settings, or (the last three) one prompt."""
    if status == 402 or status == 429 and _UNPAID.search(words):
        return "unpaid"
    if status in _AGAIN or status >= 500:
        return "again"
    if status in (400, 403, 422) and _UNSAFE.search(words):
        return "unsafe"
    if status in (401, 403):
        return "key"
    if status == 413 or status in (400, 422) and _TOO_LONG.search(words):
        return "too long"
    if status in (400, 422) and not _NO_MODEL.search(words):
        return "schema" if schema and _SCHEMA.search(words) else "prompt"
    return "moved" if status < 400 else "unknown"


def server_words(body: bytes, clear: Callable[[str], str] = str) -> str:
    """The message of an error, cleared and on one line, from the shapes that servers send it in."""
    whole = body.decode("utf-8", "replace")
    try:
        data = read_json(whole, clear)
    except ValueError:
        data = ""
    if isinstance(data, dict):
        error = data.get("error") or data
        found = [error.get(k) for k in ("code", "type", "message", "detail")] if isinstance(error, dict) else [error]
        data = ": ".join(f if isinstance(f, str) else _raw(f) for f in found if f)
    said = data if isinstance(data, str) else _raw(data)
    return " ".join((said or clear(whole)).split())[:2000]


def mean_logprob(data: Body, prompt: str, answer: str) -> float | None:
    """Mean log-probability of the answer's tokens in the echo of prompt + answer; None where it is not there."""
    try:
        choice = data["choices"][0]
        given, tokens = choice["logprobs"]["token_logprobs"], [str(t) for t in choice["logprobs"]["tokens"]]
        offsets = [int(o) for o in choice["logprobs"].get("text_offset") or []]
        more = 0 if choice["text"] == prompt + answer else usage(data)[1]
    except GARBLED:
        return None
    if not str(choice["text"]).startswith(prompt + answer) or len(given) != len(tokens):
        return None
    read = len(tokens) - more  # a server that must write writes behind them
    first = answer_begins(tokens[:read], offsets[:read], prompt, answer)
    values = [v for v in given[first:read] if isinstance(v, int | float)] if first is not None else []
    whole = values and all(abs(v) < 1e30 for v in values)  # neither NaN nor an infinity
    return sum(values) / len(values) if whole else None


def answer_begins(tokens: Sequence[str], offsets: Sequence[int], prompt: str, answer: str) -> int | None:
    """The first token that holds a piece of the answer.

    Tokens are laid against the text from its end, then from its start (pieces of a character have no text of their own,
    and the start may hold a special token); where both fail, the server's own offsets tell.
    """
    left, at = len(answer), len(tokens)
    while left > 0 and at > 0 and tokens[at - 1] and (prompt + answer)[: len(prompt) + left].endswith(tokens[at - 1]):
        at -= 1
        left -= len(tokens[at])
    if left <= 0:
        return at
    shift = max(offsets[-1] + len(tokens[-1]) - len(prompt + answer), 0) if offsets and tokens else 0
    start = 1 if shift and len(tokens[0]) == shift else 0  # a special token stands before the text
    read, at = 0, start
    while at < len(tokens) and tokens[at] and prompt.startswith(tokens[at], read):
        read += len(tokens[at])
        at += 1
    if read == len(prompt) and at < len(tokens):
        return at
    held = [i for i, (a, b) in enumerate(zip(offsets, [*offsets[1:], 10**9], strict=True)) if b - shift > len(prompt) and b > a]
    return held[0] if held else None
