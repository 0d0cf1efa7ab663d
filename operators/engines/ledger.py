"""No answer is paid for twice: what a back end returned is kept the moment it is there, and replayed.

An answer is kept under a hash of the model's identity, the prompt's text, the sampling, the seed and
the row. Models whose answers cannot be had again to the byte (vLLM, endpoints) so give equal sets too.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from operators.engines.llm import LLM, Answer, Finished, Request, Sampling, unheard

KEPT = ("", "refused")  # what was paid for; another fault may be gone once the window is wider or the server mended
COUNTED = (
    "llm_requests", "llm_replayed", "llm_tokens_in", "llm_tokens_out", "llm_cost_millionths",
    "llm_replayed_cost_millionths",  # what the replayed answers had cost, when an earlier attempt or run asked for them
)  # fmt: skip


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

        def ask(rows: Sequence[int], heard: Finished) -> list[Answer]:
            return self._llm.complete([requests[i] for i in rows], sampling, heard)

        return self._answers(keys, [r.row for r in requests], ask, finished)

    def likelihood(self, prompts: Sequence[str], answers: Sequence[str], finished: Finished = unheard) -> list[Answer]:
        """The mean log-probability of each answer after its prompt; only what is not kept yet is asked for."""
        keys = [_key(self._identity, p, a, None, 0, "likelihood") for p, a in zip(prompts, answers, strict=True)]

        def ask(rows: Sequence[int], heard: Finished) -> list[Answer]:
            return self._llm.likelihood([prompts[i] for i in rows], [answers[i] for i in rows], heard)

        return self._answers(keys, [""] * len(keys), ask, finished)

    def _answers(
        self, keys: Sequence[str], rows: Sequence[str], ask: Callable[[Sequence[int], Finished], list[Answer]], finished: Finished
    ) -> list[Answer]:
        """What is kept, and what ``ask`` gives for the places that are not; equal keys are asked once."""
        out = [self._journal.get(key) for key in keys]
        first = {key: i for i, key in reversed([*enumerate(keys)]) if out[i] is None}
        asked = sorted(first.values())

        def keep(place: int, answer: Answer) -> None:
            i = asked[place]
            if answer.fault in KEPT:
                self._journal.put(keys[i], rows[i], answer)
            finished(i, answer)

        fresh = ask(asked, keep) if asked else []
        self._count(fresh, len(keys) - len(asked), {k: a for k, a in zip(keys, out, strict=True) if a is not None})
        known = {keys[i]: answer for i, answer in zip(asked, fresh, strict=True)}
        return [answer if answer is not None else known[key] for answer, key in zip(out, keys, strict=True)]

    def cut(self, text: str, tokens: int) -> str:
        """The longest start of ``text`` of at most so many tokens of the model's own; what is cut is counted."""
        cut = self._llm.cut(text, tokens)
        if len(cut) < len(text):
            with self._turn:
                self.counters["llm_texts_cut"] = self.counters.get("llm_texts_cut", 0) + 1
        return cut

    def _count(self, fresh: Sequence[Answer], replayed: int, kept: Mapping[str, Answer]) -> None:
        read, written, cost = self._spent(fresh)
        told = (len(fresh), replayed, read, written, cost, self._spent(kept.values())[2])
        with self._turn:
            for name, count in zip(COUNTED, told, strict=True):
                self.counters[name] += count

    def _spent(self, answers: Iterable[Answer]) -> tuple[int, int, int]:
        """Tokens read, tokens written, millionths of the currency: prices are of a million tokens."""
        told = [(a.tokens_in, a.tokens_out) for a in answers]
        read, written = sum(t[0] for t in told), sum(t[1] for t in told)
        return read, written, round(read * self._prices[0] + written * self._prices[1])


def _key(identity: str, prompt: str, system: str | None, sampling: Sampling | None, seed: int, row: str) -> str:
    drawn: Any = [] if sampling is None else [
        sampling.max_tokens, sampling.temperature, sampling.top_p, list(sampling.stop), sampling.schema
    ]  # fmt: skip
    text = json.dumps([identity, prompt, system, drawn, seed, row], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
