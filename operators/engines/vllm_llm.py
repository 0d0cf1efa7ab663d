"""vLLM in this process: one engine, driven asynchronously, so that its scheduler stays full between parts.

vLLM batches by the token (PagedAttention, arXiv:2309.06180) and reads a shared start once; answers
depend a little on their company, so a run is repeated from the ledger, not from the seed.
"""

import asyncio
import copy
import json
import queue
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from operators.contract import EngineDead, InputError
from operators.engines.encoder import source
from operators.engines.llm import LLM, NOTHING, TOO_LONG, Answer, Finished, Request, Sampling, cut_text, likely, unheard
from operators.engines.models import ModelEntry
from operators.engines.vllm_engine import Life, first_line, start

AHEAD = 4  # requests under way, in batches of the scheduler: more only fill memory


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A request as the engine takes it."""

    place: int  # among the requests of its call
    ids: list[int]
    seed: int


class VllmLLM:
    """A model of vLLM. Calls from several threads feed one engine: the first to come is fed first."""

    def __init__(self, life: Life, name: str) -> None:
        self._life, self._engine, self.name = life, life.engine, name
        self._config = life.engine.vllm_config
        self._window = int(self._config.model_config.max_model_len)
        # The engine's own tokenizer belongs to its loop; a second user could meet it borrowed.
        self._tokenizer, self._lock = copy.deepcopy(life.engine.get_tokenizer()), threading.Lock()
        self._room = asyncio.Semaphore(AHEAD * int(self._config.scheduler_config.max_num_seqs))
        self._turn, self._names = asyncio.Lock(), count()
        self.counters = {"llm_requests": 0, "llm_tokens_in": 0, "llm_tokens_out": 0, "llm_tokens_cached": 0}
        self._end = weakref.finalize(self, life.end)

    def complete(self, requests: Sequence[Request], sampling: Sampling, finished: Finished = unheard) -> list[Answer]:
        """One answer a request, in order; ``finished`` is called in the calling thread."""
        self._check(sampling)
        out = [TOO_LONG] * len(requests)
        texts = [(self._chat(r) if r.chat else r.prompt, r.chat) for r in requests]
        prompts = [_Prompt(i, ids, requests[i].seed) for i, ids in enumerate(self._read(texts))]
        fit = [p for p in prompts if len(p.ids) + sampling.max_tokens <= self._window]
        for i in sorted({*range(len(requests))} - {p.place for p in fit}):
            finished(i, TOO_LONG)
        fit.sort(key=lambda p: texts[p.place])  # what begins alike is read together, while it is in the cache
        for i, output in self._run(fit, self._params(sampling)):
            out[i] = _answer(output)
            finished(i, out[i])
        return out

    def likelihood(self, prompts: Sequence[str], answers: Sequence[str], finished: Finished = unheard) -> list[Answer]:
        """The mean log-probability of each answer's tokens; told in the calling thread."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        before = self._read([(p, False) for p in prompts], blank=False)
        after = self._read([(a, True) for a in answers], blank=False)
        out = [TOO_LONG if b and a else NOTHING for b, a in zip(before, after, strict=True)]
        asked = [_Prompt(i, b + a, 0) for i, (b, a) in enumerate(zip(before, after, strict=True)) if a and b]
        asked = sorted((p for p in asked if len(p.ids) < self._window), key=lambda p: p.ids)
        for i in sorted({*range(len(out))} - {p.place for p in asked}):
            finished(i, out[i])
        params = SamplingParams(
            max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        for i, output in self._run(asked, params):
            tokens, start = output.prompt_token_ids, len(before[i])
            told = zip(output.prompt_logprobs[start:], tokens[start:], strict=True)
            mean = float(np.mean([place[token].logprob for place, token in told]))
            out[i] = likely(mean, len(tokens), len(output.outputs[0].token_ids))
            finished(i, out[i])
        return out

    def cut(self, text: str, tokens: int) -> str:
        """The longest start of ``text`` of at most so many tokens."""
        with self._lock:
            if not getattr(self._tokenizer, "is_fast", False):
                raise InputError(f"models.yaml: the tokenizer of {self.name} has no offsets to cut by; set no token limit")
            return cut_text(self._tokenizer, text, tokens)

    def close(self) -> None:
        """End the engine; happens by itself when nobody holds the model any more."""
        self._end()

    def _run(self, prompts: Sequence[_Prompt], params: Any) -> Iterator[tuple[int, Any]]:
        """Feed the prompts; place and output of each, the moment it is there."""
        inbox: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        feeding = asyncio.run_coroutine_threadsafe(self._feed(prompts, params, inbox), self._life.loop)
        try:
            for _ in prompts:
                place, output = inbox.get()
                if isinstance(output, BaseException):
                    raise self._told(output)
                self._count(output)
                yield place, output
        finally:
            feeding.cancel()

    async def _feed(self, prompts: Sequence[_Prompt], params: Any, inbox: "queue.SimpleQueue[tuple[int, Any]]") -> None:
        tasks: set[asyncio.Task[None]] = set()

        def done(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            self._room.release()

        try:
            async with self._turn:  # a part is fed whole before the next one, so that it is whole first
                for prompt in prompts:
                    await self._room.acquire()
                    task = asyncio.create_task(self._ask(prompt, params, inbox))
                    tasks.add(task)
                    task.add_done_callback(done)
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _ask(self, prompt: _Prompt, params: Any, inbox: "queue.SimpleQueue[tuple[int, Any]]") -> None:
        own = copy.copy(params)
        own.seed = prompt.seed if own.temperature > 0 else None
        try:
            given = {"type": "token", "prompt_token_ids": prompt.ids}
            async for output in self._engine.generate(given, own, str(next(self._names))):  # FINAL_ONLY: one
                inbox.put((prompt.place, output))
        except Exception as error:
            inbox.put((prompt.place, error))

    def _told(self, error: BaseException) -> BaseException:
        from vllm.v1.engine.exceptions import EngineDeadError

        if isinstance(error, EngineDeadError) or self._engine.errored:
            return EngineDead(f"vLLM's engine for {self.name} is gone; what it wrote before is in the log")
        return error

    def _count(self, output: Any) -> None:
        with self._lock:
            self.counters["llm_requests"] += 1
            self.counters["llm_tokens_in"] += len(output.prompt_token_ids)
            self.counters["llm_tokens_out"] += len(output.outputs[0].token_ids)
            self.counters["llm_tokens_cached"] += output.num_cached_tokens or 0

    def _read(self, texts: Sequence[tuple[str, bool]], blank: bool = True) -> list[list[int]]:
        """The tokens of each text; what is marked bare gets none of the tokenizer's own before it."""
        out: list[list[int]] = [[] for _ in texts]
        pad = self._tokenizer.bos_token_id if self._tokenizer.bos_token_id is not None else self._tokenizer.eos_token_id
        for bare in (False, True):
            where = [i for i, (_, b) in enumerate(texts) if b == bare]
            if where:
                with self._lock:
                    found = self._tokenizer([texts[i][0] for i in where], add_special_tokens=not bare, verbose=False)
                for i, ids in zip(where, found["input_ids"], strict=True):
                    out[i] = list(ids)
        return [ids or [int(pad or 0)] for ids in out] if blank else out

    def _chat(self, request: Request) -> str:
        turns = [{"role": "system", "content": request.system}] * bool(request.system)
        turns.append({"role": "user", "content": request.prompt})
        if not getattr(self._tokenizer, "chat_template", None):
            raise InputError(f"models.yaml: {self.name} has no chat template; name a chat model, or ask without `chat`")
        try:
            with self._lock:
                return str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        except Exception as error:
            raise InputError(f"models.yaml: the chat template of {self.name} refuses the prompt: {first_line(error)}") from error

    def _params(self, sampling: Sampling) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        return SamplingParams(
            max_tokens=sampling.max_tokens, temperature=sampling.temperature, top_p=sampling.top_p,
            stop=list(sampling.stop), output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=StructuredOutputsParams(json=sampling.schema) if sampling.schema else None,
        )  # fmt: skip

    def _check(self, sampling: Sampling) -> None:
        """Raise where the engine cannot enforce the schema."""
        if not sampling.schema:
            return
        from vllm.exceptions import VLLMError

        try:
            json.loads(sampling.schema)
            settings = self._config.structured_outputs_config
            with self._lock:
                self._params(sampling).verify(self._config.model_config, None, settings, self._tokenizer)
        except (ValueError, VLLMError) as error:
            begin = sampling.schema[:60]
            raise InputError(f"vLLM cannot enforce the JSON schema {begin!r}: {first_line(error)}; mend the schema") from error


def load_vllm(entry: ModelEntry) -> LLM:
    """A model's folder, or its name on the hub, on the GPUs or the cores that this process sees."""
    return VllmLLM(start(entry), Path(source(entry)).name)


def _answer(output: Any) -> Answer:
    said, read = output.outputs[0], len(output.prompt_token_ids)
    if said.finish_reason not in ("stop", "length"):  # aborted, or its grammar failed
        return Answer(said.text, "fault", read, len(said.token_ids), "no answer")
    return Answer(said.text, said.finish_reason, read, len(said.token_ids))
