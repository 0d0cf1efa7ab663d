"""Encoders: a text becomes a unit vector, the same one whatever it is encoded with.

The static encoder takes the mean of a transformer's input embeddings, as model2vec does, less their
common direction (arXiv:1702.01417, "All-but-the-Top").
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from operators.contract import InputError
from operators.engines.models import ModelEntry, place
from operators.engines.shapes import STEP, budget_of, one_thread, run_rows

Array = np.ndarray[Any, Any]
Role = Literal["query", "passage"]


class Encoder(Protocol):
    """Makes unit vectors of texts; a text that it can make nothing of becomes a zero vector."""

    dim: int
    counters: dict[str, int]
    entry: ModelEntry

    def encode(self, texts: Sequence[str], role: Role) -> Array:
        """The vectors (N, dim) float32 of ``texts`` in their role."""
        ...


def source(entry: ModelEntry) -> str:
    """What a library loads: the folder, or the name on the hub."""
    path = place(entry.model)
    if path is not None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a local folder needs no hub, and none must be waited for
    return entry.model if path is None else str(path)


def revision(entry: ModelEntry) -> str | None:
    """The commit of a hub model; folders have none."""
    return entry.revision or None if place(entry.model) is None else None


def unit(vectors: Array) -> Array:
    """Rows of length one; a zero row stays zero, what is not finite stays so."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
    return (vectors / np.where(norms == 0, 1, norms)).astype(np.float32)


def _prompts(entry: ModelEntry, own: Mapping[str, str]) -> dict[Role, str]:
    """What is set before a text of each role: as the entry says, else as the model's own prompts do."""

    def first(*names: str) -> str:
        return next((own[n] for n in names if own.get(n)), "")

    query, passage = entry.query_prompt, entry.passage_prompt
    return {
        "query": first("query") if query is None else query,
        "passage": first("document", "passage", "corpus") if passage is None else passage,
    }


class Tokens:
    """A tokenizer with a window: ids of a text, and a count of the texts that were cut."""

    def __init__(self, tokenizer: Any, window: int) -> None:
        self._tokenizer, self.window = tokenizer, window
        self.pad = int(tokenizer.pad_token_id or 0)

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> tuple[list[list[int]], list[bool]]:
        """The ids of each text (with its pair), and whether it was cut.

        In a pair a special token's name is text: a query that holds "[SEP]" does not end there. A text alone is tokenized as
        whoever trains or serves the encoder does, where it is that token.
        """
        # A window of far more characters than tokens: a book must not be tokenized to be cut.
        most = self.window * 64
        given = [[t[:most] for t in texts], *([[t[:most] for t in pairs]] if pairs is not None else [])]
        how = {"split_special_tokens": True} if pairs is not None else {}
        ids = [list(row) for row in self._tokenizer(*given, truncation=False, verbose=False, **how)["input_ids"]] if texts else []
        cut = [len(row) > self.window for row in ids]
        for i in np.flatnonzero(cut):
            one = [side[i] for side in given]
            ids[i] = list(self._tokenizer(*one, truncation=True, max_length=self.window, **how)["input_ids"])
        return ids, cut


def window_of(model: Any, most: int) -> int:
    """The tokens that a transformer may be shown: ``most``, or as many as it has places for, in whole `STEP`s."""
    tables = [m for name, m in model.named_modules() if name.endswith("position_embeddings") and hasattr(m, "num_embeddings")]
    # RoBERTa counts places from behind the one that stands for a pad.
    places: list[int] = [m.num_embeddings - (0 if m.padding_idx is None else m.padding_idx + 1) for m in tables]
    return min([most, *(max(STEP, count // STEP * STEP) for count in places)])


class SentenceEncoder:
    """Any sentence-transformers model, on the CPU, in canonical shapes.

    In bfloat16 the transformer alone is; what follows it, pooling first, is in float32.
    """

    def __init__(self, model: Any, entry: ModelEntry) -> None:
        self.model, self.entry, self.prompts = model, entry, _prompts(entry, model.prompts)
        self._budget = budget_of(entry.dtype)
        window = min(entry.max_tokens, model.max_seq_length or entry.max_tokens)
        self.tokens = Tokens(model.tokenizer, window)
        self.dim = int(model.get_embedding_dimension())
        self.counters = {"encoder_texts": 0, "encoder_truncated": 0}

    def encode(self, texts: Sequence[str], role: Role) -> Array:
        """The vectors (N, dim) float32 of ``texts`` in their role."""
        ids, cut = self.tokens([self.prompts[role] + t for t in texts])
        out = np.zeros((len(texts), self.dim), np.float32)
        for where, vectors in run_rows(ids, self.tokens.pad, self._forward, self._budget):
            out[where] = vectors
        self.counters["encoder_texts"] += len(texts)
        self.counters["encoder_truncated"] += sum(cut)
        return unit(out)

    def _forward(self, tokens: Array, mask: Array) -> Array:
        import torch

        with torch.inference_mode():
            vectors: Array = pooled(self.model, tokens, mask).numpy()
        return vectors


def pooled(model: Any, tokens: Array, mask: Array) -> Any:
    """The tensor (N, dim) float32 that a sentence-transformers model makes of token ids and their mask (N, length)."""
    import torch

    features = {"input_ids": torch.from_numpy(tokens), "attention_mask": torch.from_numpy(mask)}
    first, *rest = model
    features = {k: v.float() if torch.is_floating_point(v) else v for k, v in first(features).items()}
    for module in rest:
        features = module(features)
    return features["sentence_embedding"]


class StaticEncoder:
    """The mean of a model's word embeddings, less what all words share: no transformer runs."""

    def __init__(self, table: Array, tokenizer: Any, entry: ModelEntry) -> None:
        self.table, self._tokenizer, self._window, self.prompts = table, tokenizer, entry.max_tokens, _prompts(entry, {})
        self.entry = entry
        self.dim = int(table.shape[1])
        self.counters = {"encoder_texts": 0, "encoder_truncated": 0}

    def encode(self, texts: Sequence[str], role: Role) -> Array:
        """The vectors (N, dim) float32 of ``texts`` in their role."""
        out = np.zeros((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), 1024):
            ids, cut = self.tokens([self.prompts[role] + t for t in texts[start : start + 1024]])
            for i, found in enumerate(ids, start):
                if found:
                    out[i] = self.table[found].sum(axis=0)
            self.counters["encoder_truncated"] += sum(cut)
        self.counters["encoder_texts"] += len(texts)
        return unit(out)

    def tokens(self, texts: Sequence[str]) -> tuple[list[list[int]], list[bool]]:
        """The ids of each text, without those that begin and end a sentence, and whether it was cut."""
        window = self._window
        found = self._tokenizer.encode_batch([t[: window * 64] for t in texts], add_special_tokens=False)
        return [one.ids[:window] for one in found], [len(one.ids) > window for one in found]


def load_sentence(entry: ModelEntry) -> Encoder:
    """A sentence-transformers model."""
    one_thread()
    where = source(entry)
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        where, device="cpu", revision=revision(entry), trust_remote_code=entry.trust_remote_code,
        model_kwargs={"dtype": "float32"},
    )  # fmt: skip
    if entry.dtype == "bfloat16":
        model[0].bfloat16()
    return SentenceEncoder(model.eval(), entry)


def load_static(entry: ModelEntry) -> Encoder:
    """The word-embedding table of a saved model."""
    from safetensors import safe_open
    from tokenizers import Tokenizer

    folder = Path(source(entry))
    with safe_open(str(folder / "model.safetensors"), framework="numpy") as file:
        names = [n for n in file.keys() if n.endswith("word_embeddings.weight")]  # noqa: SIM118
        if not names:
            raise InputError(f"models.yaml: {entry.model!r} has no table word_embeddings.weight; static needs a BERT-like model")
        table = np.asarray(file.get_tensor(names[0]), np.float32)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return StaticEncoder(_weighted(table), tokenizer, entry)


def _weighted(table: Array) -> Array:
    """The table less its common part, frequent words made light.

    A WordPiece vocabulary is sorted by frequency, so the rank stands in for it (Zipf).
    """
    weights = np.log1p(np.arange(len(table), dtype=np.float64))
    common = table.mean(axis=0, dtype=np.float64)
    weighted: Array = ((table - common) * weights[:, None]).astype(np.float32)
    return weighted
