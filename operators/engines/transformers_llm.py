"""Text completion on the CPU, row by row the same: what a prompt answers depends on it and its seed.

Each prompt is read alone and written beside fifteen others in one fixed shape. Products are of
integers (each token and each output channel with a scale of its own, arXiv:2208.07339), so their
sums are exact, and a third of the time goes by. The noise of a draw is a hash of (seed, position).
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from operators.columns import row_seed
from operators.contract import InputError
from operators.engines.decoder import Cache, attend_grouped, read_tokens, step_rows, to_int8
from operators.engines.encoder import revision, source
from operators.engines.models import ModelEntry, gguf_file, place
from operators.engines.shapes import one_thread, padded

Array = np.ndarray[Any, Any]
ROWS = 16  # prompts written side by side, blanks included
GRAIN = 128  # memory of a row is padded to a multiple of it, so that many rows share a shape
TOP = 256  # likeliest tokens that a draw is made from
_PREFIXES = 8  # prefixes kept read


class LLM(Protocol):
    """Completes prompts. Equal (prompt, seed, temperature) must give equal text."""

    name: str
    counters: dict[str, int]

    def complete(
        self, prompts: Sequence[str], seeds: Sequence[int], *, max_tokens: int, temperature: float,
        stop: Sequence[str] = (), prefixes: Sequence[str] = (),
    ) -> list[str]:
        """One completion a prompt, up to a stop text. ``prefixes``: what each prompt begins with and shares
        with others, so that it need be read only once; a back end may leave it unused."""  # noqa: D209
        ...


class TransformersLLM:
    """A causal model of transformers, on one thread."""

    def __init__(self, model: Any, tokenizer: Any, entry: ModelEntry, name: str) -> None:
        self._model, self._tokenizer, self._entry, self.name = model, tokenizer, entry, name
        self._pad = int(tokenizer.eos_token_id or tokenizer.pad_token_id or 0)
        self._ends = {tokenizer.eos_token_id, *np.atleast_1d(model.config.eos_token_id or [])} - {None}
        self._prefixes: OrderedDict[str, tuple[Cache, int]] = OrderedDict()
        self.counters = {"llm_requests": 0, "llm_tokens": 0}

    def complete(
        self, prompts: Sequence[str], seeds: Sequence[int], *, max_tokens: int, temperature: float,
        stop: Sequence[str] = (), prefixes: Sequence[str] = (),
    ) -> list[str]:
        """One completion a prompt, up to a stop text."""
        heads = [_shared(p, h) for p, h in zip(prompts, prefixes or [""] * len(prompts), strict=True)]
        ids = [self._ids(p[len(h) :]) for p, h in zip(prompts, heads, strict=True)]
        ids = [row or [self._pad] for row in ids]  # something must be read for an answer to follow
        lengths = [len(row) + len(self._ids(h)) for row, h in zip(ids, heads, strict=True)]
        if lengths and max(lengths) + max_tokens > self._entry.max_tokens:
            raise InputError(
                f"models.yaml: {self.name} takes {self._entry.max_tokens} tokens (max_tokens), a prompt and its answer need"
                f" {max(lengths) + max_tokens}; lower the step's max_chars or max_tokens"
            )
        wide = np.array([padded(n, GRAIN) for n in lengths], np.int64)
        out = [""] * len(prompts)
        for width in np.unique(wide):
            group = sorted(np.flatnonzero(wide == width).tolist(), key=lambda i: heads[i])  # so that prefixes stay read
            for start in range(0, len(group), ROWS):
                rows = group[start : start + ROWS]
                picked = [(heads[i], ids[i], seeds[i]) for i in rows]
                for i, answer in zip(rows, self._write(picked, int(width), max_tokens, temperature, stop), strict=True):
                    out[i] = answer
        self.counters["llm_requests"] += len(prompts)
        return out

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

    def _write(
        self, rows: list[tuple[str, list[int], int]], width: int, max_tokens: int, temperature: float, stop: Sequence[str]
    ) -> list[str]:
        """Complete at most ROWS prompts in the one shape of their width."""
        memory = Cache(self._model.config, ROWS, width + max_tokens)
        starts, logits = np.full(ROWS, width, np.int64), np.zeros((ROWS, 0), np.float32)
        for r, (head, ids, _) in enumerate(rows):
            read, before = self._prefix(head)
            alone = Cache(self._model.config, 1, before + padded(len(ids)), blank=False)
            alone.take(read, 0, before, 0, 0)
            last = read_tokens(self._model, alone, ids, before, self._pad)
            logits = logits if logits.size else np.zeros((ROWS, len(last)), np.float32)
            logits[r], starts[r] = last, width - before - len(ids)
            memory.take(alone, 0, before + len(ids), r, int(starts[r]))
        written: list[list[int]] = [[] for _ in rows]
        answers: list[str | None] = [None] * len(rows)
        for t in range(max_tokens):
            tokens = np.zeros(ROWS, np.int64)
            for r, (_, _, seed) in enumerate(rows):
                if answers[r] is None:
                    tokens[r] = draw(logits[r], temperature, self._entry.top_p, seed, t)
                    answers[r] = self._ended(written[r], int(tokens[r]), stop)
            if all(a is not None for a in answers) or t + 1 == max_tokens:
                break
            logits = step_rows(self._model, memory, tokens, starts, width + t)
        return [self._text(w) if a is None else a for a, w in zip(answers, written, strict=True)]

    def _ended(self, written: list[int], token: int, stop: Sequence[str]) -> str | None:
        """Take in a token; the answer, if that ends it."""
        self.counters["llm_tokens"] += 1
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


def _shared(prompt: str, prefix: str) -> str:
    """The prefix less its last spaces: a tokenizer takes them to the word that follows."""
    if not prompt.startswith(prefix):
        raise ValueError("a prompt does not begin with its prefix")
    return prefix.rstrip(" ")


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
