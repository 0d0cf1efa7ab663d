"""Reads what a server of the OpenAI protocol sends: answers, refusals, log-probabilities."""

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

from operators.engines.http_pool import Failed
from operators.engines.llm import Answer, Sampling

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
GARBLED = (ValueError, KeyError, TypeError, IndexError, AttributeError)


def read_choice(data: Body, sampling: Sampling) -> Answer:
    """The answer that a server's reply holds; `Failed` where it holds none."""
    try:
        choice = data["choices"][0]
        chat = "message" in choice
        text = choice["message"].get("content") if chat else choice["text"]
        refusal = choice["message"].get("refusal") if chat else None
        reason = choice.get("finish_reason")
        usage = data.get("usage") or {}
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except GARBLED:
        raise Failed("answers without a choice", json.dumps(data, ensure_ascii=False)) from None
    if not isinstance(text, str | None) or reason in ("abort", "error"):
        raise Failed(f"answers with finish_reason {reason}", json.dumps(data, ensure_ascii=False))
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


def server_words(body: bytes) -> str:
    """The message of an error, on one line, from the shapes that servers send it in."""
    whole = body.decode("utf-8", "replace")
    try:
        data = json.loads(whole)
    except ValueError:
        data = whole
    if isinstance(data, dict):
        error = data.get("error") or data
        found = [error.get(k) for k in ("code", "type", "message", "detail")] if isinstance(error, dict) else [error]
        data = ": ".join(f if isinstance(f, str) else json.dumps(f) for f in found if f)
    return " ".join(str(data or whole).split())[:2000]


def mean_logprob(data: Body, prompt: str, answer: str) -> float | None:
    """Mean log-probability of the answer's tokens in the echo of prompt + answer; None where it is not there."""
    try:
        choice = data["choices"][0]
        given, tokens = choice["logprobs"]["token_logprobs"], [str(t) for t in choice["logprobs"]["tokens"]]
        offsets = [int(o) for o in choice["logprobs"].get("text_offset") or []]
        more = 0 if choice["text"] == prompt + answer else int((data.get("usage") or {}).get("completion_tokens") or 0)
    except GARBLED:
        return None
    if not str(choice["text"]).startswith(prompt + answer) or len(given) != len(tokens):
        return None
    read = len(tokens) - more  # a server that must write writes behind them
    first = answer_begins(tokens[:read], offsets[:read], prompt, answer)
    values = [v for v in given[first:read] if isinstance(v, int | float)] if first is not None else []
    return sum(values) / len(values) if values else None


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
