"""A server of the OpenAI protocol that misbehaves on schedule, and counts. `python -m tests.operators.engines.openai_server --port 8000`

A plan is a list of acts, one a request in order of arrival, then `ok` for ever: "ok*20 429:0.5 500 die:1".
`rules` give the requests whose body holds a text acts of their own, the last of which stays.
"""

import argparse
import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

ACTS = ("ok", "429", "429date", "429spent", "500", "503", "408", "404", "401", "403", "hang", "cut", "close", "truncated", "empty", "html", "garbage",
        "context", "unsafe", "refusal", "filter", "schema", "400", "400model", "abort", "rename", "die", "moved", "slow",
        "half", "leak", "leak400", "deep", "endless")  # fmt: skip
_ERRORS = {
    "429": (429, "Rate limit reached"), "429date": (429, "Rate limit reached"), "429spent": (429, "insufficient_quota: You exceeded your current quota"),
    "500": (500, "Internal error"), "503": (503, "Overloaded"), "408": (408, "Request timeout"), "404": (404, "The model `m` does not exist."),
    "401": (401, "Incorrect API key provided: {key}"), "403": (403, "Key {key} may not use this model"),
    "context": (400, "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (key {key})."),
    "unsafe": (400, "The response was filtered due to the prompt triggering our content management policy"),
    "schema": (400, "Invalid schema for response_format 'answer': 'additionalProperties' is required"),
    "400": (400, "Unsupported character in prompt, key {key}"), "400model": (400, "model `m` not found"),
    "rename": (400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."), "moved": (307, ""),
}  # fmt: skip


def read_plan(text: str) -> list[str]:
    """Acts of a plan: words, `ACT*COUNT` for many."""
    acts = [act for word in text.split() for act in [word.partition("*")[0]] * int(word.partition("*")[2] or 1)]
    assert all(act.partition(":")[0] in ACTS for act in acts), f"acts are {', '.join(ACTS)}"
    return acts


class OpenAIServer:
    """Runs in a thread of its own, on loopback."""

    def __init__(self, plan: str = "", rules: Mapping[str, str] | None = None, latency: float = 0.0, models: str | None = "m", port: int = 0) -> None:
        self.plan, self.rules, self.latency, self.models, self.port = read_plan(plan), {}, latency, models, port
        self.rules = {text: read_plan(acts) for text, acts in (rules or {}).items()}
        self.asked: Counter[str] = Counter()  # requests by body
        self.answered: Counter[str] = Counter()  # whole answers sent, by body
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.headers: list[str] = []
        self.active = self.peak = self.listed = 0
        self.logprobs = True
        self.connections: set[_Connection] = set()
        self.loop = asyncio.new_event_loop()
        self.dying: asyncio.Task[None] | None = None
        self._server: asyncio.Server | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "OpenAIServer":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: Any) -> None:
        asyncio.run_coroutine_threadsafe(self.end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.up())
        self._ready.set()
        self.loop.run_forever()

    async def up(self) -> None:
        self._server = await self.loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, reuse_address=True, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def end(self) -> None:
        if self.dying:
            self.dying.cancel()
        await self.down()

    async def down(self) -> None:
        """Stop listening and cut every connection."""
        if self._server:
            self._server.close()
        for connection in list(self.connections):
            connection.transport.abort()

    async def die(self, seconds: float) -> None:
        await self.down()
        await asyncio.sleep(seconds)
        await self.up()

    def act(self, text: str) -> str:
        for mark, acts in self.rules.items():
            if mark in text:
                return acts.pop(0) if len(acts) > 1 else acts[0]
        return self.plan.pop(0) if self.plan else "ok"


class _Connection(asyncio.Protocol):
    transport: Any

    def __init__(self, server: OpenAIServer) -> None:
        self.server, self.buffer, self.busy = server, b"", False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.server.connections.discard(self)
        self.done()

    def done(self) -> None:
        self.server.active -= self.busy
        self.busy = False

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        if len(rest) < length:
            return
        body, self.buffer = rest[:length], rest[length:]
        method, path = head.split(b" ", 2)[:2]
        self.server.headers.append(head.decode())
        if path == b"/times":
            self.send(200, self.server.times)
        elif method == b"GET":
            self.listing()
        else:
            self.ask(path.decode(), body.decode(), head.decode())

    def listing(self) -> None:
        self.server.listed += 1
        names = self.server.models
        if names is None:
            self.send(404, {"detail": "Not Found"})
        elif names.isdigit():
            self.send(int(names), {"error": {"message": "no"}})
        elif names == "html":
            self.send(200, "<html>hello</html>", "text/html")
        else:
            self.send(200, {"object": "list", "data": [{"id": n} for n in names.split()]})

    def ask(self, path: str, text: str, head: str) -> None:
        server = self.server
        self.busy = True
        server.active += 1
        server.peak = max(server.peak, server.active)
        server.asked[text] += 1
        server.times.append(time.monotonic())
        body = json.loads(text)
        server.bodies.append({"path": path, **body})
        name, _, amount = server.act(text).partition(":")
        key = next((line.split()[-1] for line in head.split("\r\n") if line.lower().startswith("authorization")), "")
        server.loop.call_later(server.latency, self.perform, name, amount, body, text, key)

    def perform(self, act: str, amount: str, body: dict[str, Any], text: str, key: str) -> None:
        if self.transport.is_closing():
            return None
        whole = answer(body, self.server.logprobs)
        if act in _ERRORS:
            status, words = _ERRORS[act]
            after = {"429": amount, "503": amount, "429date": formatdate(time.time() + float(amount or 1), usegmt=True)}.get(act, "")
            if act == "rename" and "max_completion_tokens" in body:
                return self.answered(text, whole)
            return self.send(status, {"error": {"message": words.replace("{key}", key)}}, after=after)
        if act == "ok":
            return self.answered(text, whole)
        if act == "half":  # of a surrogate pair
            choice = {"index": 0, "finish_reason": "stop", "text": "half \ud83d here", "message": {"content": "half \ud83d here"}}
            return self.answered(text, {"choices": [choice]})
        if act in ("leak", "leak400"):  # the key, as JSON may escape it
            said = json.dumps(whole if act == "leak" else {"error": {"message": "KEY"}}).replace(body["prompt"][-3:][::-1], "KEY")
            return self.send(400 if act == "leak400" else 200, said.replace("KEY", "".join(f"\\u{ord(c):04x}" for c in key)))
        if act == "deep":
            return self.send(200, '{"choices": ' + "[" * int(amount) + "]" * int(amount) + "}")
        if act == "endless":
            return self.send(200, json.dumps({**whole, "usage": {"prompt_tokens": 0.5}}).replace("0.5", "1e999"))
        if act == "slow":
            self.server.loop.call_later(float(amount or 1), self.answered, text, whole)
            return None
        if act == "hang":
            return None
        if act == "die":
            self.server.dying = self.server.loop.create_task(self.server.die(float(amount or 1)))
            return None
        if act == "close":
            return self.transport.abort()
        if act == "cut":  # the head promises more than comes
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{\"choices\": [")
            return self.transport.close()
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "text": "", "message": {"role": "assistant", "content": None}}
        if act == "filter":
            return self.send(200, {"choices": [{**choice, "finish_reason": "content_filter"}]})
        if act == "refusal":
            return self.send(200, {"choices": [{**choice, "message": {"content": None, "refusal": "I cannot help with that"}}]})
        if act == "abort":
            return self.send(200, {"choices": [{**choice, "finish_reason": "abort"}]})
        replies = {"truncated": json.dumps(whole)[:-9], "empty": {**whole, "choices": []}, "garbage": f"\x00\xff garbage {key}", "html": json.dumps(whole).replace("index", "x")}
        return self.send(200, replies[act], "text/html" if act == "html" else "application/json")

    def answered(self, text: str, whole: dict[str, Any]) -> None:
        self.server.answered[text] += 1
        self.send(200, whole)

    def send(self, status: int, value: Any, kind: str = "application/json", after: str = "") -> None:
        data = (value if isinstance(value, str) else json.dumps(value)).encode()
        extra = f"Retry-After: {after}\r\n" * bool(after)
        self.done()
        self.transport.write(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{extra}\r\n".encode() + data)


def answer(body: dict[str, Any], logprobs: bool = True) -> dict[str, Any]:
    """What the server says to a body: the prompt's last words, turned round; stops at max_tokens words."""
    chat = "messages" in body
    prompt = body["messages"][-1]["content"] if chat else body["prompt"]
    said = prompt[-40:][::-1]
    most = body.get("max_tokens", body.get("max_completion_tokens", 16))
    usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(said.split())}
    if body.get("echo"):
        return {"choices": [{"index": 0, "text": prompt, "finish_reason": "length", "logprobs": echoed(prompt) if logprobs else None}], "usage": usage}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if len(said.split()) > most else "stop"}
    return {"choices": [choice | ({"message": {"role": "assistant", "content": said}} if chat else {"text": said})], "usage": usage}


def echoed(text: str) -> dict[str, Any]:
    """Tokens of a text behind a special one: words with the space before them, a letter that costs 0.1 × its length."""
    words = ["<s>"] + [w if i == 0 else " " + w for i, w in enumerate(text.split(" "))]
    offsets = [sum(map(len, words[:i])) for i in range(len(words))]
    return {"tokens": words, "text_offset": offsets, "token_logprobs": [None, *(-0.1 * len(w.strip()) for w in words[1:])]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--plan", default="")
    parser.add_argument("--models", default="m")
    given = parser.parse_args()
    with OpenAIServer(given.plan, latency=given.latency, models=given.models, port=given.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
