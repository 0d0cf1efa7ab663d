"""Text completion on the CPU, row by row the same: what a prompt answers depends on it and its seed.

Each prompt is read alone and written beside fifteen others in one fixed shape. Products are of
integers (each token and each output channel with a scale of its own, arXiv:2208.07339), so their
sums are exact, and a third of the time goes by. The noise of a draw is a hash of (seed, position).
"""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from operators.columns import row_seed
from operators.contract import InputError
from operators.engines.decoder import Cache, attend_grouped, read_likelihood, read_tokens, step_rows, to_int8
from operators.engines.encoder import revision, source
from operators.engines.llm import LLM, NOTHING, TOO_LONG, Answer, Array, Finished, Request, Sampling, cut_text, likely, unheard
from operators.engines.models import ModelEntry, gguf_file, place
from operators.engines.shapes import one_thread, padded

ROWS = 16  # prompts written side by side, blanks included
GRAIN = 128  # memory of a row is padded to a multiple of it, so that many rows share a shape
TOP = 256  # likeliest tokens that a draw is made from
_PREFIXES = 8  # prefixes kept read


class TransformersLLM:
    """A causal model of transformers, on one thread. A schema is not enforced: the parser checks what it asks for."""

    def __init__(self, model: Any, tokenizer: Any, entry: ModelEntry, name: str) -> None:
        self._model, self._tokenizer, self._entry, self.name = model, tokenizer, entry, name
        self._pad = int(tokenizer.eos_token_id or tokenizer.pad_token_id or 0)
        self._ends = {tokenizer.eos_token_id, *np.atleast_1d(model.config.eos_token_id or [])} - {None}
        self._prefixes: OrderedDict[str, tuple[Cache, int]] = OrderedDict()
        self._turn = threading.Lock()  # the model's memory is one
        self.counters = {"llm_requests": 0, "llm_tokens_in": 0, "llm_tokens_out": 0}

    def complete(self, requests: Sequence[Request], sampling: Sampling, finished: Finished = unheard) -> list[Answer]:
        """One answer a request; those of one width are written side by side."""
        with self._turn:
            out = [TOO_LONG] * len(requests)
            prompts = [self._asked(r) for r in requests]
            widths: dict[int, list[int]] = {}
            for i, prompt in enumerate(prompts):
                if prompt.tokens + sampling.max_tokens > self._entry.max_tokens:
                    finished(i, out[i])
                else:
                    widths.setdefault(padded(prompt.tokens, GRAIN), []).append(i)
            for width, group in sorted(widths.items()):
                group.sort(key=lambda i: prompts[i].head)  # so that prefixes stay read
                for start in range(0, len(group), ROWS):
                    rows = group[start : start + ROWS]
                    for i, answer in zip(rows, self._write([prompts[i] for i in rows], width, sampling), strict=True):
                        out[i] = answer
                        finished(i, answer)
            self._count(out)
            return out

    def likelihood(self, prompts: Sequence[str], answers: Sequence[str], finished: Finished = unheard) -> list[Answer]:
        """The mean log-probability of each answer's tokens; each is read alone, so its row decides its score."""
        out: list[Answer] = []
        with self._turn:
            for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
                before, after = self._ids(prompt), self._ids(answer)
                found, tokens = NOTHING, len(before) + len(after)
                if before and after:
                    fits = tokens <= self._entry.max_tokens
                    found = likely(read_likelihood(self._model, before, after, self._pad), tokens) if fits else TOO_LONG
                out.append(found)
                finished(i, found)
            self._count(out)
        return out

    def cut(self, text: str, tokens: int) -> str:
        """The longest start of ``text`` of at most so many tokens."""
        return cut_text(self._tokenizer, text, tokens)

    def _count(self, answers: Sequence[Answer]) -> None:
        self.counters["llm_requests"] += len(answers)
        self.counters["llm_tokens_in"] += sum(a.tokens_in for a in answers)
        self.counters["llm_tokens_out"] += sum(a.tokens_out for a in answers)

    def _asked(self, request: Request) -> "_Prompt":
        if request.chat:
            turns = [{"role": "system", "content": request.system}] * bool(request.system)
            turns.append({"role": "user", "content": request.prompt})
            text, head = str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)), ""
        else:  # a tokenizer takes a prefix's last spaces to the word that follows
            text, head = request.prompt, request.prompt[: request.shared].rstrip(" ")
        ids = self._ids(text[len(head) :]) or [self._pad]  # something must be read for an answer to follow
        return _Prompt(head, ids, len(ids) + len(self._ids(head)), request.seed)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text else []

    def _prefix(self, head: str) -> tuple[Cache, int]:
        """The memory of a prefix, which is read once."""
        if head not in self._prefixes:
            ids = self._ids(head)
            memory = Cache(self._model.config, 1, padded(len(ids)), blank=False)
            if ids:
                read_tokens(self._model, memory, ids, 0, self._pad)
            self._prefixes[head] = (memory, len(ids))
            while len(self._prefixes) > _PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(head)
        return self._prefixes[head]

    def _write(self, rows: Sequence["_Prompt"], width: int, sampling: Sampling) -> list[Answer]:
        """Complete at most ROWS prompts in the one shape of their width."""
        memory = Cache(self._model.config, ROWS, width + sampling.max_tokens)
        starts, logits = np.full(ROWS, width, np.int64), np.zeros((ROWS, 0), np.float32)
        for r, row in enumerate(rows):
            read, before = self._prefix(row.head)
            alone = Cache(self._model.config, 1, before + padded(len(row.ids)), blank=False)
            alone.take(read, 0, before, 0, 0)
            last = read_tokens(self._model, alone, row.ids, before, self._pad)
            logits = logits if logits.size else np.zeros((ROWS, len(last)), np.float32)
            logits[r], starts[r] = last, width - before - len(row.ids)
            memory.take(alone, 0, before + len(row.ids), r, int(starts[r]))
        written: list[list[int]] = [[] for _ in rows]
        texts: list[str | None] = [None] * len(rows)
        for t in range(sampling.max_tokens):
            tokens = np.zeros(ROWS, np.int64)
            for r, row in enumerate(rows):
                if texts[r] is None:
                    tokens[r] = draw(logits[r], sampling.temperature, sampling.top_p, row.seed, t)
                    texts[r] = self._ended(written[r], int(tokens[r]), sampling.stop)
            if all(a is not None for a in texts) or t + 1 == sampling.max_tokens:
                break
            logits = step_rows(self._model, memory, tokens, starts, width + t)
        return [
            Answer(self._text(w) if a is None else a, "length" if a is None else "stop", row.tokens, len(w))
            for a, w, row in zip(texts, written, rows, strict=True)
        ]

    def _ended(self, written: list[int], token: int, stop: Sequence[str]) -> str | None:
        """Take in a token; the answer, if that ends it."""
        if token in self._ends:
            return self._text(written)
        written.append(token)
        text = self._text(written)
        found = [at for s in stop if (at := text.find(s)) >= 0]
        return text[: min(found)] if found else None

    def _text(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def draw(logits: Array, temperature: float, top_p: float, seed: int, position: int) -> int:
    """A token id by nucleus sampling (arXiv:1904.09751); the likeliest at temperature 0, ties to the lower id."""
    if temperature <= 0:
        return int(np.argmax(logits))
    kept = np.argpartition(-logits, TOP)[:TOP] if len(logits) > TOP else np.arange(len(logits))
    kept = kept[np.lexsort((kept, -logits[kept]))]
    shifted = (logits[kept].astype(np.float64) - float(logits[kept[0]])) / temperature
    mass = np.exp(shifted) / np.exp(shifted).sum()
    nucleus = int(np.searchsorted(np.cumsum(mass), top_p)) + 1
    steps = np.cumsum(mass[:nucleus])
    uniform = row_seed(seed, position) / 2**63
    return int(kept[min(int(np.searchsorted(steps, uniform * steps[-1], side="right")), len(steps) - 1)])


@dataclass(frozen=True)
class _Prompt:
    head: str  # what it shares with others
    ids: list[int]  # of the rest
    tokens: int  # of all of it
    seed: int


def load_gguf(entry: ModelEntry) -> LLM:
    """A .gguf file, made plain: neither llama.cpp nor accelerate is needed."""
    one_thread()
    source(entry)
    path = gguf_file(place(entry.model) or Path(entry.model)) or Path(entry.model)
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.initialization import no_init_weights
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    folder, file = str(path.parent), path.name
    with _parsed_once(), no_init_weights():
        config = AutoConfig.from_pretrained(folder, gguf_file=file)
        config._attn_implementation = attend_grouped()
        model = AutoModelForCausalLM.from_config(config, dtype="float32")
        weights = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    absent = set(model.load_state_dict(weights, strict=False).missing_keys) - {"lm_head.weight"}  # tied to the input's
    if absent or not model.config.tie_word_embeddings and "lm_head.weight" not in weights:
        raise InputError(f"models.yaml: {path} lacks {', '.join(sorted(absent)) or 'lm_head.weight'}; name a whole model")
    model.tie_weights()
    return TransformersLLM(_cast(model, entry.dtype), tokenizer, entry, path.stem)


@contextlib.contextmanager
def _parsed_once() -> Iterator[None]:
    """Let transformers parse a .gguf file's header once, not three times: 24 s to load become 12 s."""
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reader

    slow, bars = (gguf.GGUFReader, gguf.get_tensor_name_map), reader.tqdm
    gguf.GGUFReader, gguf.get_tensor_name_map = (lru_cache(maxsize=8)(f) for f in slow)
    reader.tqdm = lambda rows, **_: rows
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = slow
        reader.tqdm = bars


def load_transformers(entry: ModelEntry) -> LLM:
    """A causal model's folder, or its name on the hub."""
    one_thread()
    where, given = source(entry), {"revision": revision(entry), "trust_remote_code": entry.trust_remote_code}
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(where, dtype="float32", attn_implementation=attend_grouped(), **given)
    tokenizer = AutoTokenizer.from_pretrained(where, **given)
    return TransformersLLM(_cast(model, entry.dtype), tokenizer, entry, Path(where).name)


def _cast(model: Any, dtype: str) -> Any:
    import torch

    model = model.eval().requires_grad_(False)
    return to_int8(model) if dtype == "int8" else model.to(getattr(torch, dtype))
