"""Cross-encoders in vLLM: a sequence classifier of one output, run by its pooling engine.

A reranker that is a language model with a yes/no prompt (Qwen3-Reranker) is `backend: llm-relevance, llm: vllm` instead:
turning its weights into a classifier needs overrides that differ by model. Pairs are tokenized here, as `CrossEncoder`
does it, so that both cut alike. Scores depend a little on their company.
"""

import asyncio
import weakref
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np

from operators.contract import EngineDead
from operators.engines.encoder import Tokens, revision, source
from operators.engines.models import ModelEntry
from operators.engines.teacher import Teacher
from operators.engines.vllm_engine import Life, start

Array = np.ndarray[Any, Any]
_PAIRS = 2048  # pairs tokenized, and under way at once


class VllmTeacher:
    """A cross-encoder in an engine of its own; nothing of it stays when nobody holds it any more."""

    def __init__(self, life: Life, tokenizer: Any, entry: ModelEntry) -> None:
        self._life, self._entry, self.space = life, entry, entry.score_space
        self._tokens, self._separator = Tokens(tokenizer, entry.max_tokens), tokenizer.sep_token_id
        self._types = "token_type_ids" in tokenizer.model_input_names
        self._names = count()
        self.counters = {"teacher_pairs": 0, "teacher_texts": 0, "teacher_truncated": 0}
        self._end = weakref.finalize(self, life.end)

    def score(self, queries: Sequence[str], passages: Sequence[str]) -> Array:
        """The score (N,) float32 of each pair."""
        out = np.zeros(len(queries), np.float32)
        for start_ in range(0, len(queries), _PAIRS):
            block = slice(start_, start_ + _PAIRS)
            left = [(self._entry.query_prompt or "") + q for q in queries[block]]
            ids, cut = self._tokens(left, [(self._entry.passage_prompt or "") + p for p in passages[block]])
            out[block] = asyncio.run_coroutine_threadsafe(self._all(ids), self._life.loop).result()
            self.counters["teacher_truncated"] += sum(cut)
        self.counters["teacher_pairs"] += len(out)
        self.counters["teacher_texts"] += 2 * len(out)
        return out

    def close(self) -> None:
        """End the engine; happens by itself when nobody holds the teacher any more."""
        self._end()

    async def _all(self, ids: Sequence[list[int]]) -> list[float]:
        return list(await asyncio.gather(*(self._one(row) for row in ids)))

    async def _one(self, ids: list[int]) -> float:
        from vllm import PoolingParams
        from vllm.v1.engine.exceptions import EngineDeadError

        # Where the passage begins, as vLLM wants to be told it for BERT's token types.
        more = {"compressed_token_type_ids": ids.index(self._separator) + 1} if self._types else None
        params = PoolingParams(task="classify", use_activation=bool(self._entry.activation), extra_kwargs=more)
        given = {"type": "token", "prompt_token_ids": ids}
        found = float("nan")
        try:
            async for output in self._life.engine.encode(given, params, f"pair-{next(self._names)}"):
                found = float(output.outputs.data.reshape(-1)[0])
        except EngineDeadError as error:
            raise EngineDead(f"vLLM's engine for {self._entry.model!r} is gone; what it wrote before is in the log") from error
        return found


def load_vllm_teacher(entry: ModelEntry) -> Teacher:
    """A cross-encoder's folder, or its name on the hub, on the GPUs or the cores that this process sees."""
    from transformers import AutoTokenizer

    # An encoder has nothing to keep of a prefix: with the cache on, vLLM 0.32 does not start.
    options = {"runner": "pooling", "enable_prefix_caching": False, **entry.serving.options}
    life = start(entry.model_copy(update={"serving": entry.serving.model_copy(update={"options": options})}))
    given = {"revision": revision(entry), "trust_remote_code": entry.trust_remote_code}
    return VllmTeacher(life, AutoTokenizer.from_pretrained(source(entry), **given), entry)
