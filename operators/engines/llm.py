"""What a back end for text generation is: requests in, answers out, each answer told as it finishes.

Three back ends stand behind the protocol: transformers in process, vLLM in process, and any endpoint
that speaks the OpenAI protocol. What they return is kept in a ledger (`ledger.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

Array = np.ndarray[Any, Any]
LONGEST_TOKEN = 64  # characters: far above the mean of any prose, so of a whole book only a start is read to cut it
Finish = Literal["stop", "length", "fault"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn. Part of the identity of every request."""

    max_tokens: int = 64  # of an answer
    temperature: float = 0.8  # 0: the likeliest token
    top_p: float = 0.95
    stop: tuple[str, ...] = ()  # an answer ends before the first of them
    schema: str = ""  # JSON schema, as JSON text: the answer must follow it. Empty: free text


@dataclass(frozen=True, slots=True)
class Request:
    """One thing that is asked. Equal requests with equal sampling are asked once."""

    prompt: str  # the text to go on from; of a chat, the user's turn
    seed: int = 0
    row: str = ""  # hex id of the row that asks; part of the identity
    chat: bool = False  # the model's chat template is put around system and prompt
    system: str = ""  # of a chat
    shared: int = 0  # leading characters that other prompts begin with too: read once where the engine can


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Where ``fault`` says why there is none, ``text`` holds what there was."""

    text: str
    finish: Finish = "stop"  # length: cut at max_tokens
    tokens_in: int = 0
    tokens_out: int = 0
    fault: str = ""  # a reason for a reject, short and equal for equal causes: "prompt too long", "refused", …


TOO_LONG = Answer("", "fault", fault="prompt too long")
NOTHING = Answer("", "fault", fault="nothing to score")  # a likelihood without a prompt or without an answer


def likely(value: float, tokens_in: int, tokens_out: int = 0) -> Answer:
    """A mean log-probability as an answer: its text is the float32, exact."""
    if not abs(value) < 1e38:  # NaN too
        return Answer("", "fault", tokens_in, tokens_out, "no finite likelihood")
    return Answer(repr(float(np.float32(value))), "stop", tokens_in, tokens_out)


Finished = Callable[[int, Answer], None]  # index of the request, its answer; may be called from another thread


def unheard(_: int, __: Answer) -> None:
    """Tell nobody."""


class LLM(Protocol):
    """Answers requests. A row's failure is its answer's ``fault``; a dead engine raises `EngineDead`;
    an endpoint that stays away, a wrong key or an impossible schema raise `InputError`."""  # noqa: D205, D209

    name: str  # of the model; stored as `generator`
    counters: dict[str, int]  # llm_requests, llm_tokens_in, llm_tokens_out, and what the back end counts besides

    def complete(self, requests: Sequence[Request], sampling: Sampling, finished: Finished = unheard) -> list[Answer]:
        """One answer a request, in order; ``finished`` hears of each one the moment it is there.

        May be called from several threads at once: parts overlap, so that the engine stays full.
        """
        ...

    def likelihood(self, prompts: Sequence[str], answers: Sequence[str], finished: Finished = unheard) -> list[Answer]:
        """The mean log-probability, natural, of each answer's tokens after its prompt, told as ``complete`` tells.

        An answer's ``text`` is the float32 (`likely`), or its ``fault`` says why there is none.
        """
        ...

    def cut(self, text: str, tokens: int) -> str:
        """The longest start of ``text`` of at most so many tokens of the model's own."""
        ...


def behind(prompt: str, answer: str) -> str:
    """An answer as it goes on from a prompt: the blank between belongs to its first token; of no answer nothing is scored."""
    return answer if not answer or prompt[-1:].isspace() else f" {answer}"


def cut_text(tokenizer: Any, text: str, tokens: int) -> str:
    """The longest start of ``text`` of at most so many tokens of a tokenizer that tells offsets."""
    start = text[: tokens * LONGEST_TOKEN]
    for read in (start, text) if len(start) < len(text) else (text,):
        spans = tokenizer(read, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        if len(spans) > tokens:
            return text[: spans[tokens][0]]
    return text
