"""Students: encoders that a training set teaches. A student starts as an encoder of models.yaml and is one itself.

InfoNCE with in-batch and hard negatives (arXiv:1807.03748; MultipleNegativesRankingLoss of sentence-transformers), and
listwise distillation, the divergence of a student's softmax over a row's own list from its teacher's (CADET,
arXiv:2505.19274, student temperature 0.05, teacher 0.3, a tenth of InfoNCE beside it). One thread, one seed, rows in a
fixed order: the same rows give the same weights.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from operators.engines.encoder import Encoder, Role, SentenceEncoder, StaticEncoder, load_sentence, load_static, pooled
from operators.engines.models import ModelEntry
from operators.engines.shapes import one_thread
from operators.engines.train_cross import descend

Array = np.ndarray[Any, Any]
_GROUP = 32  # texts of like length that are encoded together: in one batch short ones would be padded to the longest
_HELD = 256  # texts whose activations are kept for the gradient
_WEIGHTS, _TOLD = "model.safetensors", "student.json"
_PENALTY = 1e4  # taken off a masked logit, as a trainer does whose loss must stay finite


class Row(NamedTuple):
    """A query's tokens, and its passages by their place in a list of tokens."""

    query: Sequence[int]
    positive: int
    negatives: Sequence[int] = ()
    masked: Sequence[int] = ()  # no positives of it and no negatives either
    listed: Sequence[int] = ()  # what a teacher scored
    scores: Sequence[float] = ()  # of ``listed``

    @property
    def passages(self) -> list[int]:
        """All that it brings into a batch."""
        return [self.positive, *self.negatives, *self.listed]


@dataclass(frozen=True)
class Settings:
    """How to train. ``contrastive`` is InfoNCE's weight, ``listwise`` that of distillation."""

    contrastive: float = 1.0
    listwise: float = 0.0
    scale: float = 20.0  # of cosines: one by the student's temperature
    temperature: float = 0.3  # the teacher's
    rate: float = 2e-5
    warmup: float = 0.1
    half: bool = False  # products in bfloat16, weights in float32


class Learner(Protocol):
    """Weights in training."""

    trained: list[Any]
    decay: float

    def vectors(self, tokens: Sequence[Sequence[int]]) -> Any:
        """The unit vectors (N, dim) of these texts, a tensor that knows its gradient."""
        ...

    def finish(self) -> None:
        """Give the weights back to their encoder."""
        ...


class _Transformer:
    """A sentence-transformers model without dropout; its word embeddings stay as they are, as in `train_cross`.

    In bfloat16 attention is written out: MiniLM on 32 texts of 128 tokens took 1.6 s so, 2.9 s by torch's fused kernel, of
    whose gradient 2.3 s (a core shared with others); in float32 3.6 and 3.1 s.
    """

    decay = 0.01

    def __init__(self, encoder: SentenceEncoder, half: bool) -> None:
        self._encoder, self.model = encoder, encoder.model.eval()
        self._attention = self.model[0].auto_model.config._attn_implementation
        if half:
            self.model[0].auto_model.set_attn_implementation("eager")
        self.model[0].auto_model.get_input_embeddings().weight.requires_grad_(False)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]

    def vectors(self, tokens: Sequence[Sequence[int]]) -> Any:
        """Groups of like length, back in the order given. Of more than `_HELD` texts each group is computed again for its
        gradient, so that memory stays that of a group: 1,100 texts of 128 tokens would else hold some 15 GB."""  # noqa: D205, D209
        import torch
        from torch.utils.checkpoint import checkpoint

        order = np.argsort([len(t) for t in tokens], kind="stable")
        found = []
        for start in range(0, len(order), _GROUP):
            group = [tokens[i] for i in order[start : start + _GROUP]]
            wide, mask = (np.full((len(group), max(1, *map(len, group))), v, np.int64) for v in (self._encoder.tokens.pad, 0))
            for i, row in enumerate(group):
                wide[i, : len(row)], mask[i, : max(len(row), 1)] = row, 1
            if len(tokens) > _HELD:
                found.append(checkpoint(pooled, self.model, wide, mask, use_reentrant=False))
            else:
                found.append(pooled(self.model, wide, mask))
        return torch.nn.functional.normalize(torch.cat(found).float()[np.argsort(order)], dim=-1)

    def finish(self) -> None:
        self.model.requires_grad_(False)
        self.model[0].auto_model.set_attn_implementation(self._attention)


class _Static:
    """The rows of a table of word embeddings that the texts use: no other one would move."""

    decay = 0.0  # a row that is used would shrink beside those that are not

    def __init__(self, encoder: StaticEncoder, used: Sequence[Sequence[int]]) -> None:
        import torch

        self._encoder = encoder
        self._rows = np.unique(np.concatenate([np.zeros(1, np.int64), *(np.asarray(t, np.int64) for t in used)]))
        self._place = np.zeros(len(encoder.table), np.int64)
        self._place[self._rows] = np.arange(len(self._rows))
        self.trained = [torch.nn.Parameter(torch.from_numpy(encoder.table[self._rows].copy()))]

    def vectors(self, tokens: Sequence[Sequence[int]]) -> Any:
        import torch

        flat = torch.from_numpy(self._place[np.concatenate([np.zeros(0, np.int64), *tokens]).astype(np.int64)])
        starts = torch.from_numpy(np.cumsum([0, *(len(t) for t in tokens[:-1])]))
        return torch.nn.functional.normalize(torch.nn.functional.embedding_bag(flat, self.trained[0], starts, mode="sum"), dim=-1)

    def finish(self) -> None:
        self._encoder.table[self._rows] = self.trained[0].detach().numpy()


class Student(Encoder):
    """A trained encoder, and what it started from; the artifact is the weights that training moved."""

    def __init__(self, encoder: SentenceEncoder | StaticEncoder) -> None:
        self._encoder = encoder
        self.dim, self.counters, self.entry = encoder.dim, encoder.counters, encoder.entry

    def encode(self, texts: Sequence[str], role: Role) -> Array:
        """The vectors (N, dim) float32 of ``texts`` in their role."""
        return self._encoder.encode(texts, role)

    def save(self, folder: Path) -> None:
        """Weights as safetensors by name, and the entry of the encoder that has all others."""
        from safetensors.numpy import save_file

        weights = {name: np.ascontiguousarray(value) for name, value in _weights(self._encoder).items()}
        save_file(weights, folder / _WEIGHTS)
        (folder / _TOLD).write_text(json.dumps(self.entry.model_dump(mode="json"), sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote onto the encoder that it started from."""
        from safetensors.numpy import load_file

        entry = ModelEntry.model_validate_json((folder / _TOLD).read_text(encoding="utf-8"))
        encoder, weights = fresh(entry), load_file(folder / _WEIGHTS)
        if isinstance(encoder, StaticEncoder):
            encoder.table = weights["embedding.weight"]
        else:
            import torch

            encoder.model.load_state_dict({n: torch.from_numpy(w) for n, w in weights.items()}, strict=False)
        return cls(_as_said(encoder, entry))


def fresh(entry: ModelEntry) -> SentenceEncoder | StaticEncoder:
    """The encoder of an entry in float32, and nobody else's: training changes its weights."""
    one_thread()
    load = load_static if entry.backend == "static" else load_sentence
    made = load(entry.model_copy(update={"dtype": "float32"}))
    assert isinstance(made, SentenceEncoder | StaticEncoder)
    made.entry = entry  # in whose dtype the student will encode
    return made


def tokens_of(encoder: SentenceEncoder | StaticEncoder, texts: Sequence[str], role: Role, most: int) -> list[list[int]]:
    """The tokens of texts in their role, ``most`` of each; where one ends a text, the last of them does."""
    found, _ = encoder.tokens([encoder.prompts[role] + t for t in texts])
    if isinstance(encoder, StaticEncoder):
        return [list(t[:most]) for t in found]
    return [t if len(t) <= most else [*t[: most - 1], t[-1]] for t in found]


def _as_said(encoder: SentenceEncoder | StaticEncoder, entry: ModelEntry) -> SentenceEncoder | StaticEncoder:
    """The encoder in the dtype of the entry."""
    if isinstance(encoder, StaticEncoder) or entry.dtype != "bfloat16":
        return encoder
    encoder.model[0].bfloat16()
    return SentenceEncoder(encoder.model, entry)


def _weights(encoder: SentenceEncoder | StaticEncoder) -> dict[str, Array]:
    if isinstance(encoder, StaticEncoder):
        return {"embedding.weight": encoder.table}
    still = {id(encoder.model[0].auto_model.get_input_embeddings().weight)}
    return {n: p.detach().float().numpy() for n, p in encoder.model.named_parameters() if id(p) not in still}


def train(
    encoder: SentenceEncoder | StaticEncoder, rows: Sequence[Row], passages: Sequence[Sequence[int]], steps: Sequence[Array],
    settings: Settings, say: Callable[[int, int, float], None],
) -> Student:  # fmt: skip
    """Teach an encoder that `fresh` gave: ``passages`` are tokens, ``steps`` the places of each batch's ``rows``."""
    import torch

    entry = encoder.entry
    if isinstance(encoder, StaticEncoder):
        learner: Learner = _Static(encoder, [*passages, *(r.query for r in rows)])
    else:
        learner = _Transformer(encoder, settings.half)

    def loss_of(where: Array) -> Any:
        batch = [rows[i] for i in where]
        pool = list(dict.fromkeys(place for row in batch for place in row.passages))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.half):
            left, right = learner.vectors([r.query for r in batch]), learner.vectors([passages[i] for i in pool])
        return loss(settings.scale * left.float() @ right.float().T, batch, pool, settings)

    descend(learner.trained, steps, loss_of, (settings.rate, settings.warmup), say, learner.decay)
    learner.finish()
    return Student(_as_said(encoder, entry))


def loss(logits: Any, batch: Sequence[Row], pool: Sequence[int], settings: Settings) -> Any:
    """The loss of scaled cosines (B, P) of a batch's queries with the passages of ``pool``, each of which stands there once.

    A passage that is two rows' positive is so no negative of either; of what a row masks `_PENALTY` is taken off.
    """
    import torch

    column = {place: i for i, place in enumerate(pool)}
    total = torch.zeros(())
    if settings.contrastive:
        off = torch.zeros(logits.shape)
        for i, row in enumerate(batch):
            out = [column[m] for m in row.masked if m in column and m != row.positive]
            off[i, out] = _PENALTY
        target = torch.tensor([column[row.positive] for row in batch])
        total = total + settings.contrastive * torch.nn.functional.cross_entropy(logits - off, target)
    if settings.listwise:
        for i, row in enumerate(batch):
            told = torch.tensor(row.scores, dtype=torch.float32) / settings.temperature
            own = torch.log_softmax(logits[i, [column[p] for p in row.listed]], dim=0)
            wanted = torch.log_softmax(told, dim=0)
            total = total + settings.listwise / len(batch) * (wanted.exp() * (wanted - own)).sum()
    return total
