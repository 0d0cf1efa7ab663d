"""No answer is paid for twice: what a back end returned is kept the moment it is there, and replayed.

An answer is kept under a hash of the model's identity, the prompt's text, the sampling, the seed and
the row. Models whose answers cannot be had again to the byte (vLLM, endpoints) so give equal sets too.
"""

import hashlib
import json
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from operators.engines.llm import LLM, Answer, Array, Finished, Request, Sampling, unheard

TRANSIENT = ("no answer",)  # faults that another try may mend: not kept


COUNTED = ("llm_requests", "llm_replayed", "llm_tokens_in", "llm_tokens_out", "llm_cost_millionths")


class Journal(Protocol):
    """Where answers are kept. `put` may be called from several threads."""

    def get(self, key: str) -> Answer | None:
        """The answer that is kept, if there is one."""
        ...

    def put(self, key: str, row: str, answer: Answer) -> None:
        """Keep it; it must outlive this process from here on."""
        ...


class Ledger:
    """An LLM behind a journal. One stands before the back end for every part; its counters are that part's."""

    def __init__(self, llm: LLM, identity: str, journal: Journal, prices: tuple[float, float] = (0, 0)) -> None:
        self._llm, self._identity, self._journal, self._prices = llm, identity, journal, prices
        self._turn = threading.Lock()
        self.name = llm.name
        self.counters = dict.fromkeys(COUNTED, 0)

    def complete(self, requests: Sequence[Request], sampling: Sampling, finished: Finished = unheard) -> list[Answer]:
        """One answer a request; only what is not kept yet is asked for."""
        keys = [_key(self._identity, r.prompt, r.system if r.chat else None, sampling, r.seed, r.row) for r in requests]
        out = [self._journal.get(key) for key in keys]
        first = {key: i for i, key in reversed([*enumerate(keys)]) if out[i] is None}  # equal requests are asked once
        asked = sorted(first.values())
        failed: list[Exception] = []  # of the journal, which may be called from a thread of the back end's

        def keep(place: int, answer: Answer) -> None:
            i = asked[place]
            try:
                if answer.fault not in TRANSIENT and not failed:
                    self._journal.put(keys[i], requests[i].row, answer)
                finished(i, answer)
            except Exception as error:
                failed.append(error)

        answers = self._llm.complete([requests[i] for i in asked], sampling, keep) if asked else []
        if failed:
            raise failed[0]
        self._count(answers, len(requests) - len(asked))
        known = {keys[i]: answer for i, answer in zip(asked, answers, strict=True)}
        return [answer if answer is not None else known[key] for answer, key in zip(out, keys, strict=True)]

    def likelihood(self, prompts: Sequence[str], answers: Sequence[str]) -> Array:
        """Mean log-probability (N,) of each answer after its prompt; what is kept is not computed."""
        keys = [_key(self._identity, p, a, None, 0, "likelihood") for p, a in zip(prompts, answers, strict=True)]
        kept = [self._journal.get(key) for key in keys]
        asked = [i for i, answer in enumerate(kept) if answer is None]
        out = np.array([float(a.text) if a is not None else np.nan for a in kept], np.float32)
        if asked:
            out[asked] = self._llm.likelihood([prompts[i] for i in asked], [answers[i] for i in asked])
        for i in (i for i in asked if np.isfinite(out[i])):
            self._journal.put(keys[i], "", Answer(repr(float(out[i]))))
        self._count([Answer("")] * len(asked), len(keys) - len(asked))
        return out

    def cut(self, text: str, tokens: int) -> str:
        """The longest start of ``text`` of at most so many tokens of the model's own; what is cut is counted."""
        cut = self._llm.cut(text, tokens)
        if len(cut) < len(text):
            with self._turn:
                self.counters["llm_texts_cut"] = self.counters.get("llm_texts_cut", 0) + 1
        return cut

    def _count(self, answers: Sequence[Answer], replayed: int) -> None:
        read, written = sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers)
        cost = read * self._prices[0] + written * self._prices[1]  # prices are of a million tokens
        with self._turn:
            for name, count in zip(self.counters, (len(answers), replayed, read, written, round(cost)), strict=False):
                self.counters[name] += count


def _key(identity: str, prompt: str, system: str | None, sampling: Sampling | None, seed: int, row: str) -> str:
    drawn: Any = [] if sampling is None else [
        sampling.max_tokens, sampling.temperature, sampling.top_p, list(sampling.stop), sampling.schema
    ]  # fmt: skip
    text = json.dumps([identity, prompt, system, drawn, seed, row], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
