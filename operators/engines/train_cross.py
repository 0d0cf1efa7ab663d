"""Train a cross-encoder of one output on groups of a query, its positive and its negatives.

A step takes groups of like length. Listwise is cross-entropy over a group, its positive the class (localised
contrastive estimation, arXiv:2101.08751, section 3); pointwise is binary cross-entropy of every pair (monoBERT,
arXiv:1910.14424). One thread, one seed, rows in a fixed order: the same rows give the same weights.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Loss = Literal["listwise", "pointwise", "both"]
_EVERY = 15.0  # seconds between two lines of progress
_POOL = 16  # batches that are sorted by length together


class Group(NamedTuple):
    """Token ids of one query's pairs, the positive first; and how many of each stand before the passage."""

    pairs: list[list[int]]
    firsts: list[int]


@dataclass(frozen=True)
class Settings:
    """How to train."""

    loss: Loss = "both"
    groups: int = 8  # a step
    epochs: int = 1
    rate: float = 3e-5
    warmup: float = 0.1  # the share of the steps in which the rate rises from 0
    seed: int = 0
    half: bool = False  # products in bfloat16, weights in float32


def train(model: Any, groups: Sequence[Group], pad: int, settings: Settings, say: Callable[[int, int, float], None]) -> None:
    """Train ``model`` in place; ``say(step, steps, loss)`` is called after every step."""
    import torch

    torch.manual_seed(settings.seed)
    model.eval()  # without dropout, whose draws are slow on a CPU; whether it would help was not measured
    model.get_input_embeddings().weight.requires_grad_(False)  # half of MiniLM's weights, and of the optimiser's time

    def loss_of(where: Array) -> Any:
        batch = [groups[i] for i in where]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.half):
            logits = _logits(model, batch, pad)
        return _loss(logits, [len(g.pairs) for g in batch], settings.loss)

    order = list(_order([max(map(len, g.pairs)) for g in groups], settings))
    trained = [p for p in model.parameters() if p.requires_grad]
    descend(trained, order, loss_of, (settings.rate, settings.warmup), say)


def descend(
    trained: Sequence[Any], order: Sequence[Any], loss_of: Callable[[Any], Any], rates: tuple[float, float],
    say: Callable[[int, int, float], None], decay: float = 0.01,
) -> None:  # fmt: skip
    """AdamW, a step for each of ``order``: ``rates`` are the rate at its height and the share of steps in which it rises."""
    import torch

    flat = {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0}
    optimiser = torch.optim.AdamW([{"params": [p for p in trained if p.ndim > 1]}, flat], lr=rates[0], weight_decay=decay)
    rise = max(1, round(rates[1] * len(order)))
    for step, where in enumerate(order):
        rate = rates[0] * min((step + 1) / rise, (len(order) - step) / max(1, len(order) - rise))
        for one in optimiser.param_groups:
            one["lr"] = rate
        loss = loss_of(where)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        say(step + 1, len(order), float(loss.detach()))


class Said:
    """Progress as lines: a step count, the mean loss of late, an estimate."""

    def __init__(self, name: str) -> None:
        self.name, self.losses = name, list[float]()
        self.start = self.last = time.monotonic()

    def __call__(self, step: int, steps: int, loss: float) -> None:
        """Count one step; a line each quarter of a minute."""
        self.losses.append(loss)
        now = time.monotonic()
        if now - self.last > _EVERY or (step == steps and now - self.start > _EVERY):
            left, mean = (now - self.start) / step * (steps - step), float(np.mean(self.losses))
            sys.stderr.write(f"{self.name}: step {step} of {steps}, loss {mean:.3f}, {left:.0f} s to go\n")
            self.last, self.losses = now, []


def _order(lengths: Sequence[int], settings: Settings) -> Iterator[Array]:
    """The groups of every step: shuffled, of like length, no length first."""
    random = np.random.default_rng(settings.seed)
    for _ in range(settings.epochs):
        steps = []
        shuffled = random.permutation(len(lengths))
        for start in range(0, len(shuffled), _POOL * settings.groups):
            pool = shuffled[start : start + _POOL * settings.groups]
            pool = pool[np.argsort([lengths[i] for i in pool], kind="stable")]
            steps += [pool[i : i + settings.groups] for i in range(0, len(pool), settings.groups)]
        for i in random.permutation(len(steps)):
            yield steps[i]


def _logits(model: Any, batch: Sequence[Group], pad: int) -> Any:
    """The logit of every pair, one group behind the other."""
    import torch

    pairs = [p for g in batch for p in g.pairs]
    firsts = [f for g in batch for f in g.firsts]
    width = max(map(len, pairs))
    tokens, mask, types = (np.full((len(pairs), width), v, np.int64) for v in (pad, 0, 0))
    for i, (pair, first) in enumerate(zip(pairs, firsts, strict=True)):
        tokens[i, : len(pair)] = pair
        mask[i, : len(pair)] = 1
        types[i, first : len(pair)] = 1
    features = {"input_ids": tokens, "attention_mask": mask}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        features["token_type_ids"] = types
    return model(**{k: torch.from_numpy(v) for k, v in features.items()}).logits[:, 0].float()


def _loss(logits: Any, sizes: Sequence[int], kind: Loss) -> Any:
    """The mean over groups; of ``both`` the sum."""
    import torch

    loss = torch.zeros(())
    for row in torch.split(logits, list(sizes)):
        first = torch.zeros(len(row))
        first[0] = 1
        if kind != "pointwise":
            loss = loss - torch.log_softmax(row, dim=0)[0]
        if kind != "listwise":
            loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(row, first)
    return loss / len(sizes)
