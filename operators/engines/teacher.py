"""Teachers: how well a passage answers a query, in a declared score space.

Late interaction (ColBERT, arXiv:2004.12832): each query token takes its best passage token; here over
the token vectors of an encoder that was trained for something else, and still better than its mean.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from operators.engines.encoder import Tokens, revision, source, window_of
from operators.engines.models import ModelEntry, Space
from operators.engines.shapes import budget_of, one_thread, run_rows

Array = np.ndarray[Any, Any]
_CHUNK = 256  # passages whose token vectors are held at a time
_PAIRS = 2048  # pairs tokenized at a time
_TEACHER = "teacher.json"  # beside a trained model: how it is to be read


CALLS = {"llm-relevance": 2, "llm-likelihood": 1}  # back end: what it asks its LLM about a pair


class Teacher(Protocol):
    """Scores pairs of a query and a passage."""

    space: Space
    counters: dict[str, int]

    def score(self, queries: Sequence[str], passages: Sequence[str]) -> Array:
        """The score (N,) float32 of each pair."""
        ...


class LateInteraction(Teacher):
    """MaxSim over an encoder's token vectors, as a mean over the query's tokens: a cosine."""

    space: Space = "cosine"

    def __init__(self, model: Any, tokenizer: Any, entry: ModelEntry) -> None:
        self._model, self._entry = model, entry
        self._tokens = Tokens(tokenizer, window_of(model, entry.max_tokens))
        self.counters = {"teacher_pairs": 0, "teacher_texts": 0, "teacher_truncated": 0}

    def score(self, queries: Sequence[str], passages: Sequence[str]) -> Array:
        """The score (N,) float32 of each pair; each distinct text is encoded once."""
        import torch

        asked, of_query = _distinct(queries)
        told, of_passage = _distinct(passages)
        out = np.zeros(len(of_query), np.float32)
        left = self._encode([(self._entry.query_prompt or "") + t for t in asked])
        order = np.argsort(of_passage, kind="stable")
        ends = np.searchsorted(of_passage[order], np.arange(0, len(told) + _CHUNK, _CHUNK))
        for chunk, (start, end) in enumerate(zip(ends, ends[1:], strict=False)):
            first = chunk * _CHUNK
            right = self._encode([(self._entry.passage_prompt or "") + t for t in told[first : first + _CHUNK]])
            for pair in order[start:end]:
                q, d = left[of_query[pair]], right[of_passage[pair] - first]
                with torch.inference_mode():
                    out[pair] = float((q @ d.T).amax(dim=1).mean()) if len(q) and len(d) else np.nan
        self.counters["teacher_pairs"] += len(out)
        return out

    def _encode(self, texts: Sequence[str]) -> list[Any]:
        """The unit token vectors (tokens, dim) of each text."""
        import torch

        ids, cut = self._tokens(texts)
        vectors: list[Any] = [None] * len(ids)
        for where, states in run_rows(ids, self._tokens.pad, self._forward, budget_of(self._entry.dtype)):
            for i, row in zip(where, states, strict=True):
                # Without the first and last token: they stand for the whole, not for a word.
                vectors[i] = torch.from_numpy(row[1 : len(ids[i]) - 1].copy())
        self.counters["teacher_texts"] += len(texts)
        self.counters["teacher_truncated"] += sum(cut)
        return vectors

    def _forward(self, tokens: Array, mask: Array) -> Array:
        import torch

        with torch.inference_mode():
            ids, seen = torch.from_numpy(tokens), torch.from_numpy(mask)
            states = self._model(input_ids=ids, attention_mask=seen).last_hidden_state
            out: Array = torch.nn.functional.normalize(states.float(), dim=-1).numpy()
        return out


class CrossEncoder(Teacher):
    """Any cross-encoder with one output: query and passage are read together. Also what a training leaves behind."""

    def __init__(self, model: Any, tokenizer: Any, entry: ModelEntry) -> None:
        self._model, self._entry, self.space = model, entry, entry.score_space
        self._tokens = Tokens(tokenizer, window_of(model, entry.max_tokens))
        self._types = "token_type_ids" in tokenizer.model_input_names
        self._tokenizer = tokenizer
        self.counters = {"teacher_pairs": 0, "teacher_texts": 0, "teacher_truncated": 0}

    def score(self, queries: Sequence[str], passages: Sequence[str]) -> Array:
        """The score (N,) float32 of each pair."""
        out = np.zeros(len(queries), np.float32)
        # Near lengths together before the cut, so that few batches are filled with blanks.
        order = np.argsort([len(q) + len(p) for q, p in zip(queries, passages, strict=True)], kind="stable")
        for start in range(0, len(order), _PAIRS):
            block = order[start : start + _PAIRS]
            left = [(self._entry.query_prompt or "") + queries[i] for i in block]
            ids, cut = self._tokens(left, [(self._entry.passage_prompt or "") + passages[i] for i in block])
            for where, scores in run_rows(ids, self._tokens.pad, self._forward, budget_of(self._entry.dtype)):
                out[block[where]] = scores
            self.counters["teacher_truncated"] += sum(cut)
        self.counters["teacher_pairs"] += len(out)
        self.counters["teacher_texts"] += 2 * len(out)
        return out

    def save(self, folder: Path) -> None:
        """Weights as safetensors, configuration and tokenizer: a model's folder, and beside them what the teacher is."""
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        said = self._entry.model_dump(mode="json", include={"max_tokens", "activation", "query_prompt", "passage_prompt"})
        (folder / _TEACHER).write_text(json.dumps(said, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        said = json.loads((folder / _TEACHER).read_text(encoding="utf-8"))
        entry = {"kind": "teacher", "backend": "cross-encoder", "model": str(folder.absolute()), **said}
        return cls(*_classifier(ModelEntry.model_validate(entry)))

    def _forward(self, tokens: Array, mask: Array) -> Array:
        import torch

        features = {"input_ids": torch.from_numpy(tokens), "attention_mask": torch.from_numpy(mask)}
        if self._types:
            features["token_type_ids"] = torch.from_numpy(self._second(tokens, mask))
        with torch.inference_mode():
            logits = self._model(**features).logits[:, 0].float()
            out: Array = (torch.sigmoid(logits) if self._entry.activation else logits).numpy()
        return out

    def _second(self, tokens: Array, mask: Array) -> Array:
        """Which tokens belong to the passage: those behind the first separator."""
        ends = tokens == self._tokenizer.sep_token_id
        second: Array = ((np.cumsum(ends, axis=1) - ends) > 0).astype(np.int64) * mask
        return second


def load_late(entry: ModelEntry) -> Teacher:
    """Token vectors of any transformers encoder."""
    one_thread()
    where, given = source(entry), {"revision": revision(entry), "trust_remote_code": entry.trust_remote_code}
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(where, **given)
    return LateInteraction(AutoModel.from_pretrained(where, dtype=entry.dtype, **given).eval(), tokenizer, entry)


def load_cross(entry: ModelEntry) -> Teacher:
    """A cross-encoder as sentence-transformers saves it: a sequence classifier of one output."""
    return CrossEncoder(*_classifier(entry))


def _classifier(entry: ModelEntry) -> tuple[Any, Any, ModelEntry]:
    one_thread()
    where, given = source(entry), {"revision": revision(entry), "trust_remote_code": entry.trust_remote_code}
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(where, **given)
    model = AutoModelForSequenceClassification.from_pretrained(where, dtype=entry.dtype, **given).eval()
    if model.config.num_labels != 1:
        from operators.contract import InputError

        raise InputError(f"models.yaml: {entry.model!r} has {model.config.num_labels} outputs; a teacher needs one")
    return model, tokenizer, entry


def _distinct(texts: Sequence[str]) -> tuple[list[str], Array]:
    """Each text once, short ones first, and where each of ``texts`` is among them."""
    known = sorted(set(texts), key=lambda t: (len(t), t))
    place = {t: i for i, t in enumerate(known)}
    return known, np.array([place[t] for t in texts], np.int64)
