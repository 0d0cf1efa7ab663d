"""A model behind an endpoint that speaks the OpenAI protocol: vLLM, SGLang, llama.cpp's server, hosted ones.

What goes wrong is sorted by whose fault it is: the row's (its answer's `fault`), the endpoint's (tried again, and
after `serving.patience` the step stops), or the user's (`InputError` at once). The key is read from the environment,
goes into the Authorization header and nowhere else: texts of the server are cleared of it.
"""

import asyncio
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any

from operators.contract import InputError
from operators.engines.endpoint_check import endpoint_fault
from operators.engines.endpoint_reading import (
    GARBLED,
    Body,
    Whose,
    clearer,
    mean_logprob,
    read_choice,
    read_json,
    server_words,
    sort_error,
    usage,
)  # fmt: skip
from operators.engines.http_pool import Away, Failed, GivenUp, Pool, Reply
from operators.engines.llm import NOTHING, Answer, Finished, Request, Sampling, cut_text, likely, unheard
from operators.engines.models import ModelEntry, place

Try = Callable[[], Awaitable[Answer]]
BYTES_A_TOKEN = 3  # of UTF-8: English has above 4 bytes a token, Chinese and Japanese 3 to 4
_CATALOGUE = 20  # a server that lists more models is a hosted one, which knows aliases that it does not list
_REFUSED, _NO_ANSWER = "refused by the endpoint", "no answer"
_SOON = 3.0  # seconds that an endpoint has to come up before a run
_SETTINGS = "refuses every request with these settings: {}; mend them"
_NO_LOGPROBS = "gives no log-probabilities of a prompt: {}; serve the model with vLLM or SGLang"


def load_endpoint(entry: ModelEntry) -> "EndpointLLM":
    """A model behind an endpoint. Nothing is asked of it before the first request."""
    if fault := endpoint_fault(entry):
        raise InputError(f"models.yaml: {fault}")
    return EndpointLLM(entry, os.environ.get(entry.serving.api_key_env, "").strip() if entry.serving.api_key_env else "")


def unusable(entry: ModelEntry) -> str | None:
    """Why the endpoint cannot be used, found by asking it now for its models; None where it can."""
    llm = load_endpoint(entry)
    try:
        llm.check(min(entry.serving.patience, _SOON))
    except InputError as error:
        return str(error)
    finally:
        llm.pool.close()
    return None


class EndpointLLM:
    """Answers through /chat/completions and /completions. What it answers twice may differ: a ledger keeps the first."""

    def __init__(self, entry: ModelEntry, key: str) -> None:
        serving = entry.serving
        self.name, self._entry = entry.model, entry
        self.counters = {"llm_requests": 0, "llm_tokens_in": 0, "llm_tokens_out": 0, "llm_retries": 0, "llm_truncated": 0}
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        self.pool = Pool(serving.endpoint, headers, serving.concurrency, serving.timeout, serving.patience)
        self._clear = clearer(key)
        self._proved: set[Hashable] = set()  # of what kind some request was answered
        self._proving, self._limit_name = asyncio.Lock(), "max_tokens"
        self._turn, self._checking, self._checked = threading.Lock(), threading.Lock(), False
        self._tokenizer: Any = None

    def check(self, within: float) -> None:
        """Ask for the list of models, for so many seconds; a wrong address, key or model raises `InputError`.

        Servers without a list are let pass.
        """
        reply = self.pool.call(self._listing(within))
        if reply.status in (401, 402) or 300 <= reply.status < 400:
            words = server_words(reply.body, self._clear)
            raise self._stop(sort_error(reply.status, words, False), reply.status, words[:300])
        if reply.status != 200:  # 403: hosted APIs have keys that may complete and may not list
            return
        try:
            listed = [str(m["id"]) for m in read_json(reply.body.decode("utf-8", "replace"), self._clear)["data"]]
        except GARBLED:
            raise self._input(f"answers /models with {reply.kind}, no list of models; does its address end with /v1?") from None
        if listed and self.name not in listed and len(listed) <= _CATALOGUE:
            raise self._input(f"has no model of this name; it has {', '.join(sorted(listed)[:5])}: write one of them in `model`")

    async def _listing(self, within: float) -> Reply:
        begun = time.monotonic()
        while True:
            try:
                return await self.pool.send("GET", "/models", timeout=min(self._entry.serving.timeout, within, 10))
            except Failed as failed:
                if time.monotonic() - begun >= within:
                    raise self._input(f"cannot be reached: it {failed.why}; start the server or mend serving.endpoint") from None
            await asyncio.sleep(0.5)

    def complete(self, requests: Sequence[Request], sampling: Sampling, finished: Finished = unheard) -> list[Answer]:
        """One answer a request, in order; ``finished`` is called in this thread as each one is there."""
        schema = _schema(sampling)

        async def ask(i: int) -> Answer:
            route, body = self._asked(requests[i], sampling, schema)
            return await self._answer(
                (route, sampling), _SETTINGS,
                lambda: self._once(route, body, sampling), lambda: self._once(route, _harmless(body), sampling),
            )  # fmt: skip

        return self._each(range(len(requests)), [NOTHING] * len(requests), ask, finished)

    def likelihood(self, prompts: Sequence[str], answers: Sequence[str], finished: Finished = unheard) -> list[Answer]:
        """The mean log-probability of each answer's tokens; told as ``complete`` tells.

        /completions reads prompt + answer with `echo: true, logprobs: 1, max_tokens: 0`: vLLM and SGLang give what they
        read, llama.cpp's server and most hosted APIs do not. A token across the border counts as the answer's.
        """
        pairs = list(zip(prompts, answers, strict=True))

        async def ask(i: int) -> Answer:
            return await self._answer(
                "likelihood", _NO_LOGPROBS, lambda: self._echoed(*pairs[i]), lambda: self._echoed("Hello", " there")
            )

        whole = [i for i, pair in enumerate(pairs) if all(pair)]
        for i in sorted({*range(len(pairs))} - {*whole}):
            finished(i, NOTHING)
        return self._each(whole, [NOTHING] * len(pairs), ask, finished)

    def _each(
        self, rows: Sequence[int], out: list[Answer], ask: Callable[[int], Awaitable[Answer]], finished: Finished
    ) -> list[Answer]:
        """Ask for these rows and put their answers into ``out``; the endpoint is checked before its first request."""

        def heard(n: int, answer: Answer) -> None:
            out[rows[n]] = answer
            finished(rows[n], answer)

        with self._checking:
            if rows and not self._checked:
                self.check(self._entry.serving.patience)
                self._checked = True
        self.pool.each(len(rows), lambda n: ask(rows[n]), heard)
        return out

    def cut(self, text: str, tokens: int) -> str:
        """The longest start of at most so many tokens, where ``model`` is a folder with a tokenizer.

        Elsewhere nobody here knows the tokens: three bytes are taken for one, which is a bound for usual prose, not for any text.
        """
        folder = place(self.name)
        if folder is not None and (folder / "tokenizer_config.json").is_file():
            with self._turn:
                if self._tokenizer is None:
                    from transformers import AutoTokenizer

                    self._tokenizer = AutoTokenizer.from_pretrained(str(folder))
                kept = cut_text(self._tokenizer, text, tokens)
        else:
            kept = text.encode("utf-8", "surrogatepass")[: BYTES_A_TOKEN * tokens].decode("utf-8", "ignore")
            kept = text[: len(kept)]
        with self._turn:
            self.counters["llm_truncated"] += len(kept) < len(text)
        return kept

    def _asked(self, request: Request, sampling: Sampling, schema: Any) -> tuple[str, Body]:
        body: Body = {
            "model": self.name, "temperature": sampling.temperature, "top_p": sampling.top_p,
            "seed": request.seed % 2**31,  # some servers take 32 bits only
            self._limit_name: sampling.max_tokens,
        }  # fmt: skip
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
        if not request.chat:
            return "/completions", {**body, "prompt": request.prompt}
        turns = [{"role": "system", "content": request.system}] * bool(request.system)
        return "/chat/completions", {**body, "messages": [*turns, {"role": "user", "content": request.prompt}]}

    async def _answer(self, kind: Hashable, refuses: str, attempt: Try, probe: Try) -> Answer:
        """What comes of trying; ``refuses`` says what it means where this kind of request is refused whatever it holds."""
        try:
            answer = await self.pool.settle(attempt, probe)
        except GivenUp as given_up:
            answer = Answer(self._clear(str(given_up))[:4000], "fault", fault=_NO_ANSWER)
        except Away as away:
            raise self._away(away) from None
        if answer.fault == _REFUSED:
            await self._prove(kind, refuses.format(answer.text[:300]), probe)
        elif answer.fault != _NO_ANSWER:
            self._proved.add(kind)
        self.counters["llm_requests"] += 1
        self.counters["llm_tokens_in"] += answer.tokens_in
        self.counters["llm_tokens_out"] += answer.tokens_out
        self.counters["llm_retries"] = self.pool.retries
        return answer

    async def _prove(self, kind: Hashable, refuses: str, probe: Try) -> None:
        """Whose fault a refusal is: where none of its kind was ever answered, a harmless request with these settings tells."""
        async with self._proving:
            if kind in self._proved:
                return
            try:
                other = await self.pool.settle(probe, probe)
            except (GivenUp, Away):
                return
            if other.fault == _REFUSED:
                raise self._input(refuses)
            self._proved.add(kind)

    async def _once(self, route: str, body: Body, sampling: Sampling) -> Answer:
        reply = await self.pool.send("POST", route, body)
        if reply.status == 200:
            return read_choice(self._read(reply), sampling)
        answer = self._refused(reply, bool(sampling.schema))
        if "max_completion_tokens" in answer.text and "max_tokens" in body:  # OpenAI's reasoning models
            self._limit_name = "max_completion_tokens"
            body[self._limit_name] = body.pop("max_tokens")
            return await self._once(route, body, sampling)
        return answer

    async def _echoed(self, prompt: str, answer: str) -> Answer:
        body = {"model": self.name, "prompt": prompt + answer, "echo": True, "logprobs": 1, "max_tokens": 0, "temperature": 0}
        reply = await self.pool.send("POST", "/completions", body)
        if reply.status != 200:
            return self._refused(reply, False)
        data = self._read(reply)
        found, tokens = mean_logprob(data, prompt, answer), usage(data)
        if found is None:
            return Answer("its answer holds none (echo, logprobs)", "fault", *tokens, fault=_REFUSED)
        return likely(found, *tokens)

    def _read(self, reply: Reply) -> Body:
        raw = reply.body.decode("utf-8", "replace")
        if "json" not in reply.kind:
            raise Failed(f"answers with {reply.kind}, no JSON: does its address end with /v1?", raw)
        try:
            data = read_json(raw, self._clear)
        except ValueError:
            raise Failed("answers with JSON that is cut, garbled or nested too deeply", raw) from None
        if not isinstance(data, dict):
            raise Failed("answers with JSON that is no object", raw)
        return data

    def _refused(self, reply: Reply, schema: bool) -> Answer:
        """What the server says of a request that it will not answer, if that is the request's affair; else raises."""
        words = server_words(reply.body, self._clear)
        whose = sort_error(reply.status, words, schema)
        if whose == "again":
            crowded = reply.status in (429, 503)
            raise Failed(f"answers with HTTP {reply.status} ({words[:120]})", words, crowded, reply.wait, own=not crowded)
        if whose not in ("too long", "unsafe", "prompt"):
            raise self._stop(whose, reply.status, words[:300])
        return Answer(words, "fault", fault={"unsafe": "refused", "too long": "prompt too long"}.get(whose, _REFUSED))

    def _stop(self, whose: Whose, status: int, words: str) -> InputError:
        name = self._entry.serving.api_key_env
        says = f"(HTTP {status}: {words})" if words else f"(HTTP {status})"
        return self._input({
            "key": f"refuses the key (HTTP {status}); " + (
                f"set {name} to a key that may use this model" if name else "name the key's variable in serving.api_key_env"
            ),
            "unpaid": f"says that the account is spent {says}; pay or name another endpoint",
            "moved": f"sends us on to another address (HTTP {status}); name that one in serving.endpoint",
            "schema": f"was given a schema that the endpoint cannot enforce {says}; ask without one, or serve with vLLM",
        }.get(whose, f"does not know this model or this address {says}; mend `model` or serving.endpoint"))  # fmt: skip

    def _away(self, away: Away) -> InputError:
        waited = f"has answered nobody for serving.patience = {self._entry.serving.patience:g} s"
        return self._input(f"{waited}: it {self._clear(str(away))}; what is finished is kept, run again when it is back")

    def _input(self, what: str) -> InputError:
        return InputError(self._clear(f"models.yaml: model {self.name!r}: the endpoint {self._entry.serving.endpoint} {what}"))


def _harmless(body: Body) -> Body:
    """The same settings with a prompt that no server refuses."""
    if "messages" in body:
        return {**body, "messages": [{"role": "user", "content": "Hello"}]}
    return {**body, "prompt": "Hello"}


def _schema(sampling: Sampling) -> Any:
    try:
        return json.loads(sampling.schema) if sampling.schema else None
    except ValueError as error:
        raise InputError(f"a schema that the endpoint cannot enforce: it is no JSON ({error}); mend the step's schema") from None
