"""Teachers that are LLMs: the probability of "yes" after a prompt, or of the query after the passage.

Relevance classification and query likelihood are Gecko's two scorers (arXiv:2403.20327, section 3.2); Qwen3-Reranker
(arXiv:2506.05176) is the former. Both ask `LLM.likelihood`, so every back end of an LLM serves, behind the ledger too.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from operators.contract import InputError
from operators.engines import load_model
from operators.engines.llm import LLM, Answer, behind
from operators.engines.models import ModelEntry
from operators.engines.teacher import Teacher

Array = np.ndarray[Any, Any]
LABELS = ("yes", "no")


class _Asking:
    """What both share: an LLM, a prompt, a window whose text is cut and counted."""

    def __init__(self, llm: LLM, entry: ModelEntry) -> None:
        self.llm, self._entry, self.space = llm, entry, entry.score_space
        self.counters = {"teacher_pairs": 0, "teacher_texts": 0, "teacher_truncated": 0, **dict.fromkeys(llm.counters, 0)}

    def asking(self, llm: LLM) -> Self:
        """The same teacher over another LLM: this one behind a ledger."""
        return type(self)(llm, self._entry)

    def _shown(self, texts: Sequence[str], share: float) -> list[str]:
        """Each text as far as it may fill its share of the window."""
        cut = {t: self.llm.cut(t, max(1, int(self._entry.max_tokens * share))) for t in set(texts)}
        self.counters["teacher_truncated"] += sum(len(cut[t]) < len(t) for t in texts)
        return [cut[t] for t in texts]

    def _likelihood(self, prompts: Sequence[str], answers: Sequence[str]) -> list[Answer]:
        before = dict(self.llm.counters)
        found = self.llm.likelihood(prompts, [behind(p, a) for p, a in zip(prompts, answers, strict=True)])
        for name, count in self.llm.counters.items():
            self.counters[name] = self.counters.get(name, 0) + count - before.get(name, 0)
        return found

    def _count(self, pairs: int) -> None:
        self.counters["teacher_pairs"] += pairs
        self.counters["teacher_texts"] += 2 * pairs


class RelevanceTeacher(_Asking):
    """P(yes) / (P(yes) + P(no)) of the next token: a probability. Two calls a pair."""

    def score(self, queries: Sequence[str], passages: Sequence[str]) -> Array:
        """The score (N,) float32 of each pair; NaN where the LLM gave none."""
        shown = zip(self._shown(queries, 1 / 8), self._shown(passages, 1 / 2), strict=True)
        prompts = [_filled(self._entry.prompt, query=q, passage=p) for q, p in shown]
        found = self._likelihood([p for p in prompts for _ in LABELS], [label for _ in prompts for label in LABELS])
        self._count(len(prompts))
        yes, no = (_numbers(found[i::2]) for i in (0, 1))
        with np.errstate(over="ignore"):
            out: Array = (1 / (1 + np.exp(no - yes))).astype(np.float32)
        return out


class LikelihoodTeacher(_Asking):
    """The mean log-probability, natural, of the query's tokens after the passage. One call a pair."""

    def score(self, queries: Sequence[str], passages: Sequence[str]) -> Array:
        """The score (N,) float32 of each pair; NaN where the LLM gave none."""
        prompts = [_filled(self._entry.prompt, passage=p) for p in self._shown(passages, 1 / 2)]
        found = self._likelihood(prompts, self._shown(queries, 1 / 8))
        self._count(len(prompts))
        return _numbers(found).astype(np.float32)


def load_relevance(entry: ModelEntry) -> Teacher:
    """A yes/no prompt over the LLM that the entry names; its labels must be a token each, or their means would lie."""
    llm = _generator(entry)
    label = LABELS if entry.prompt[-1:].isspace() else tuple(f" {x}" for x in LABELS)
    if entry.llm != "openai" and any(llm.cut(x, 1) != x for x in label):
        raise InputError(f"models.yaml: {entry.model!r} has no single token for each of {label}; choose another model")
    return RelevanceTeacher(llm, entry)


def load_likelihood(entry: ModelEntry) -> Teacher:
    """A prompt that the query goes on from, over the LLM that the entry names."""
    return LikelihoodTeacher(_generator(entry), entry)


def _generator(entry: ModelEntry) -> LLM:
    asked = entry.generator()
    assert asked is not None  # ModelEntry refuses such a teacher without one
    llm: LLM = load_model("llm", asked)
    return llm


def _filled(prompt: str, **values: str) -> str:
    """The prompt with each text in its place; braces in a text mean nothing."""
    places = sorted((prompt.index(f"{{{name}}}"), name) for name in values)
    out, last = "", 0
    for at, name in places:
        out += prompt[last:at] + values[name]
        last = at + len(name) + 2
    return out + prompt[last:]


def _numbers(answers: Sequence[Answer]) -> Array:
    return np.array([np.nan if a.fault else float(a.text) for a in answers], np.float64)
