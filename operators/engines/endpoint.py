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
import urllib.parse
from collections.abc import Awaitable, Sequence
from typing import Any

import numpy as np

from operators.contract import InputError
from operators.engines.endpoint_reading import GARBLED, Body, Whose, mean_logprob, read_choice, server_words, sort_error
from operators.engines.http_pool import Away, Failed, GivenUp, Pool, Reply
from operators.engines.llm import LLM, Answer, Array, Finished, Request, Sampling, unheard
from operators.engines.models import ModelEntry, place

BYTES_A_TOKEN = 3  # of UTF-8: English has above 4 bytes a token, Chinese and Japanese 3 to 4
_CATALOGUE = 20  # a server that lists more models is a hosted one, which knows aliases that it does not list
_REFUSED = "refused by the endpoint"


def endpoint_fault(entry: ModelEntry) -> str | None:
    """Why an entry with backend openai cannot be used, found without asking anybody; None where it may."""
    url, name = entry.serving.endpoint, entry.serving.api_key_env
    if not url:
        return f"model {entry.model!r} has no serving.endpoint; name the server's address up to and with /v1"
    try:
        parts = urllib.parse.urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return f"model {entry.model!r}: serving.endpoint is no address; write http://HOST:PORT/v1"
    if parts.username is not None or parts.query or parts.fragment:
        return f"model {entry.model!r}: serving.endpoint must hold no password and no ?…; the key belongs in api_key_env"
    if not whole:
        return f"model {entry.model!r}: serving.endpoint {url!r} is no http(s) address; write http://HOST:PORT/v1"
    if name and not os.environ.get(name, "").strip():
        return f"model {entry.model!r}: the environment has no {name}, which serving.api_key_env names; set it to the key"
    if name and not (os.environ[name].strip().isascii() and os.environ[name].strip().isprintable()):
        return f"model {entry.model!r}: what {name} holds cannot be a key; set it to the key alone, on one line"
    return None


def load_endpoint(entry: ModelEntry) -> LLM:
    """A model behind an endpoint. Its list of models is asked for, which finds a wrong address, key or model early."""
    if fault := endpoint_fault(entry):
        raise InputError(f"models.yaml: {fault}")
    llm = EndpointLLM(entry, os.environ.get(entry.serving.api_key_env, "").strip() if entry.serving.api_key_env else "")
    llm.check()
    return llm


class EndpointLLM:
    """Answers through /chat/completions and /completions. What it answers twice may differ: a ledger keeps the first."""

    def __init__(self, entry: ModelEntry, key: str) -> None:
        serving = entry.serving
        self.name, self._entry, self._key = entry.model, entry, key
        self.counters = {"llm_requests": 0, "llm_tokens_in": 0, "llm_tokens_out": 0, "llm_retries": 0, "llm_truncated": 0}
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        self.pool = Pool(serving.endpoint, headers, serving.concurrency, serving.timeout, serving.patience)
        self._proved: set[tuple[str, Sampling]] = set()  # of what kind some request was answered
        self._proving, self._limit_name = asyncio.Lock(), "max_tokens"
        self._turn = threading.Lock()
        self._tokenizer: Any = None

    def check(self) -> None:
        """Ask for the list of models; servers without one are let pass."""
        reply = self.pool.call(self._listing())
        if reply.status in (401, 402) or 300 <= reply.status < 400:
            words = self._clear(server_words(reply.body))
            raise self._stop(sort_error(reply.status, words, False), reply.status, words[:300])
        if reply.status != 200:  # 403: hosted APIs have keys that may complete and may not list
            return
        try:
            listed = [str(m["id"]) for m in json.loads(reply.body)["data"]]
        except GARBLED:
            raise self._input(f"answers /models with {reply.kind}, no list of models; does its address end with /v1?") from None
        if listed and self.name not in listed and len(listed) <= _CATALOGUE:
            raise self._input(f"has no model of this name; it has {', '.join(sorted(listed)[:5])}: write one of them in `model`")

    async def _listing(self) -> Reply:
        serving, begun = self._entry.serving, time.monotonic()
        while True:
            try:
                return await self.pool.send("GET", "/models", timeout=min(serving.timeout, serving.patience, 10))
            except Failed as failed:
                if failed.crowded or time.monotonic() - begun > min(serving.patience, 3):
                    raise self._input(f"cannot be reached: it {failed.why}; start the server or mend serving.endpoint") from None
            await asyncio.sleep(0.5)

    def complete(self, requests: Sequence[Request], sampling: Sampling, finished: Finished = unheard) -> list[Answer]:
        """One answer a request, in order; ``finished`` is called in this thread as each one is there."""
        schema = _schema(sampling)
        out = [Answer("", "fault", fault="no answer")] * len(requests)

        def heard(i: int, answer: Answer) -> None:
            out[i] = answer
            finished(i, answer)

        async def ask(i: int) -> Answer:
            return await self._answer(*self._asked(requests[i], sampling, schema), sampling)

        self.pool.each(len(requests), ask, heard)
        return out

    def likelihood(self, prompts: Sequence[str], answers: Sequence[str]) -> Array:
        """Mean log-probability (N,) of each answer's tokens; NaN where the endpoint gave none for this row.

        /completions reads prompt + answer with `echo: true, logprobs: 1, max_tokens: 0`: vLLM and SGLang give what they
        read, llama.cpp's server and most hosted APIs do not. A token across the border counts as the answer's.
        """
        out = np.full(len(prompts), np.nan, np.float32)
        rows = [i for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)) if prompt and answer]

        async def ask(n: int) -> float:
            return await self._likelihood(prompts[rows[n]], answers[rows[n]])

        def heard(n: int, value: float) -> None:
            out[rows[n]] = value

        self.pool.each(len(rows), ask, heard)
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
                spans = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            kept = text if len(spans) <= tokens else text[: spans[tokens][0]]
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

    async def _answer(self, route: str, body: Body, sampling: Sampling) -> Answer:
        def once(asked: Body) -> Awaitable[Answer]:
            return self._once(route, asked, sampling)

        try:
            answer = await self.pool.settle(lambda: once(body), lambda: once(_harmless(body)))
        except GivenUp as given_up:
            answer = Answer(self._clear(str(given_up))[:4000], "fault", fault="no answer")
        except Away as away:
            raise self._away(away) from None
        if answer.fault == _REFUSED:
            answer = await self._prove(answer, route, body, sampling)
        else:
            self._proved.add((route, sampling))
        self.counters["llm_requests"] += 1
        self.counters["llm_tokens_in"] += answer.tokens_in
        self.counters["llm_tokens_out"] += answer.tokens_out
        self.counters["llm_retries"] = self.pool.retries
        return answer

    async def _prove(self, answer: Answer, route: str, body: Body, sampling: Sampling) -> Answer:
        """Whose fault a refusal is: where none of its kind was ever answered, a harmless prompt with these settings tells."""
        async with self._proving:
            if (route, sampling) not in self._proved:
                try:
                    other = await self.pool.settle(lambda: self._once(route, _harmless(body), sampling), _nothing)
                except (GivenUp, Away):
                    return answer
                if other.fault == _REFUSED:
                    raise self._input(f"refuses every request with these settings: {answer.text[:300]}; mend them")
                self._proved.add((route, sampling))
        return answer

    async def _once(self, route: str, body: Body, sampling: Sampling) -> Answer:
        reply = await self.pool.send("POST", route, body)
        if reply.status == 200:
            return read_choice(self._read(reply), sampling)
        words, whose = self._refused(reply, bool(sampling.schema))
        if "max_completion_tokens" in words and "max_tokens" in body:  # OpenAI's reasoning models
            self._limit_name = "max_completion_tokens"
            body[self._limit_name] = body.pop("max_tokens")
            return await self._once(route, body, sampling)
        return Answer(words, "fault", fault={"unsafe": "refused", "too long": "prompt too long"}.get(whose, _REFUSED))

    async def _likelihood(self, prompt: str, answer: str) -> float:
        body = {"model": self.name, "prompt": prompt + answer, "echo": True, "logprobs": 1, "max_tokens": 0, "temperature": 0}

        async def once() -> float:
            reply = await self.pool.send("POST", "/completions", body)
            if reply.status != 200:
                words, whose = self._refused(reply, False)
                if whose in ("unsafe", "too long"):
                    return float("nan")
                raise self._input(f"gives no log-probabilities of a prompt: {words[:300]}; serve the model with vLLM or SGLang")
            data = self._read(reply)
            self.counters["llm_tokens_in"] += int((data.get("usage") or {}).get("prompt_tokens") or 0)
            found = mean_logprob(data, prompt, answer)
            if found is None:
                raise self._input("gives no log-probabilities of a prompt (echo, logprobs); serve the model with vLLM or SGLang")
            return found

        try:
            found = await self.pool.settle(once, once)
        except GivenUp:
            found = float("nan")
        except Away as away:
            raise self._away(away) from None
        self.counters["llm_requests"] += 1
        self.counters["llm_retries"] = self.pool.retries
        return found

    def _read(self, reply: Reply) -> Body:
        raw = self._clear(reply.body.decode("utf-8", "replace"))
        if "json" not in reply.kind:
            raise Failed(f"answers with {reply.kind}, no JSON: does its address end with /v1?", raw)
        try:
            data = json.loads(raw)
        except ValueError:
            raise Failed("answers with JSON that is cut or garbled", raw) from None
        if not isinstance(data, dict):
            raise Failed("answers with JSON that is no object", raw)
        return data

    def _refused(self, reply: Reply, schema: bool) -> tuple[str, Whose]:
        """What the server says of a request that it will not answer, if that is the request's affair; else raises."""
        words = self._clear(server_words(reply.body))
        whose = sort_error(reply.status, words, schema)
        if whose == "again":
            crowded = reply.status in (429, 503)
            raise Failed(f"answers with HTTP {reply.status} ({words[:120]})", words, crowded, reply.wait, own=not crowded)
        if whose not in ("too long", "unsafe", "prompt"):
            raise self._stop(whose, reply.status, words[:300])
        return words, whose

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

    def _clear(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


async def _nothing() -> None: ...


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
