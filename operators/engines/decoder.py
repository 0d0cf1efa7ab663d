"""What runs a decoder in one shape: its memory, grouped attention, products of integers."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from operators.engines.processor import flags
from operators.engines.shapes import padded

Array = np.ndarray[Any, Any]
EXACT = 2**24 // 127**2  # products of two numbers up to 127 whose sum float32 holds: 1,040


class Cache:
    """Keys and values of so many rows, written in place (transformers' own copies all of it each step)."""

    def __init__(self, config: Any, rows: int, width: int, blank: bool = True) -> None:
        """Room for ``width`` tokens a row; without ``blank`` every place must be written before it is read."""
        import torch

        heads = config.num_key_value_heads
        dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (config.num_hidden_layers, 2, rows, heads, width, dim)
        self.data, self.at = torch.zeros(shape) if blank else torch.empty(shape), 0

    def update(self, keys: Any, values: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Put what a layer computed at the place of writing: all that it may look back on."""
        end = self.at + keys.shape[2]
        self.data[layer, 0, :, :, self.at : end] = keys
        self.data[layer, 1, :, :, self.at : end] = values
        seen = self.data[layer, :, :, :, :end].to(keys.dtype)
        return seen[0], seen[1]

    def get_seq_length(self, *_: Any) -> int:
        """The tokens that are held."""
        return self.at

    def take(self, other: "Cache", start: int, end: int, row: int, at: int) -> None:
        """Copy the tokens ``start:end`` of the other's first row to ``at`` of a row here."""
        self.data[:, :, row, :, at : at + end - start] = other.data[:, :, 0, :, start:end]


def read_tokens(model: Any, memory: Cache, ids: Sequence[int], before: int, pad: int) -> Array:
    """Read one row's tokens behind ``before`` others; the logits (V,) that follow the last one.

    Pads stand behind the tokens, where no token looks.
    """
    import torch

    width = min(padded(len(ids)), memory.data.shape[4] - before)
    width = width if width >= len(ids) else len(ids)
    tokens = torch.full((1, width), pad, dtype=torch.long)
    tokens[0, : len(ids)] = torch.tensor(ids)
    behind = torch.arange(before + width)[None, :] > torch.arange(before, before + width)[:, None]
    memory.at = before
    last = slice(len(ids) - 1, len(ids))
    logits = _forward(model, memory, tokens, torch.arange(before, before + width)[None], behind[None, None], last)
    return np.asarray(logits[0])


def read_likelihood(model: Any, before: Sequence[int], after: Sequence[int], pad: int) -> float:
    """Mean natural log-probability of the tokens ``after``, each behind ``before`` and those that precede it."""
    import torch

    ids = [*before, *after]
    width = padded(len(ids))
    tokens = torch.full((1, width), pad, dtype=torch.long)
    tokens[0, : len(ids)] = torch.tensor(ids)
    behind = torch.arange(width)[None, :] > torch.arange(width)[:, None]
    memory = Cache(model.config, 1, width, blank=False)
    told = slice(len(before) - 1, len(ids) - 1)  # each place tells of the token behind it
    logits = _forward(model, memory, tokens, torch.arange(width)[None], behind[None, None], told).astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    norm = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    return float((logits[np.arange(len(after)), list(after)] - norm).mean())


def step_rows(model: Any, memory: Cache, tokens: Array, starts: Array, at: int) -> Array:
    """Take one token a row at place ``at``; the logits (rows, V) that follow."""
    import torch

    begins = torch.from_numpy(starts)[:, None]
    blind = (torch.arange(at + 1)[None] < begins)[:, None, None]
    memory.at = at
    return _forward(model, memory, torch.from_numpy(tokens)[:, None], at - begins, blind, slice(0, 1))


def _forward(model: Any, memory: Cache, tokens: Any, positions: Any, blind: Any, told: slice) -> Array:
    """The logits (rows × told places, V) of the places ``told``."""
    import torch

    mask = torch.zeros(blind.shape, dtype=model.dtype).masked_fill_(blind, torch.finfo(model.dtype).min)
    with torch.inference_mode():
        states = model.base_model(
            input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=memory, use_cache=True
        ).last_hidden_state[:, told].flatten(0, 1)
        logits: Array = model.lm_head(states).float().numpy()
    return logits


def attend_grouped() -> str:
    """Register attention that shares each key among its group of heads without copying it: its name."""
    from transformers import AttentionInterface

    def grouped(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **_: Any) -> tuple[Any, None]:
        rows, heads, tokens, dim = query.shape
        shared = key.shape[1]
        wide = query.reshape(rows, shared, heads // shared * tokens, dim)
        scores = (wide @ key.transpose(2, 3) * scaling).view(rows, shared, heads // shared, tokens, -1)
        weights = (scores + mask[:, :, None]).softmax(dim=-1).view(rows, shared, heads // shared * tokens, -1)
        return (weights @ value).view(rows, heads, tokens, dim).transpose(1, 2), None

    AttentionInterface.register("pithead_grouped", grouped)
    return "pithead_grouped"


def to_int8(model: Any) -> Any:
    """Make every linear layer one of int8 weights; inputs are rounded token by token."""
    import torch

    floats = floats_are_faster()
    for layer in [m for m in model.modules() if isinstance(m, torch.nn.Linear)]:
        scale = (layer.weight.abs().amax(dim=1) / 127).clamp_min(1e-12)
        weight = (layer.weight / scale[:, None]).round().t()
        layer.forward = partial(_linear_int8, products=products_of(weight, floats), scale=scale, bias=layer.bias)
        layer.weight = torch.nn.Parameter(torch.empty(0), requires_grad=False)
    return model


def _linear_int8(x: Any, *, products: Callable[[Any], Any], scale: Any, bias: Any) -> Any:
    flat = x.reshape(-1, x.shape[-1])
    step = flat.abs().amax(dim=1, keepdim=True).clamp_min_(1e-8).div_(127)
    out = products((flat / step).round_()).mul_(step).mul_(scale)
    return (out if bias is None else out.add_(bias)).view(*x.shape[:-1], -1)


def products_of(weight: Any, floats: bool) -> Callable[[Any], Any]:
    """What multiplies whole numbers of up to 127 (N, K) with such a ``weight`` (K, M): float32, the exact sums rounded once.

    With ``floats`` by float32's product, in which sums below 2²⁴ are exact in any order; four bytes a weight in place of one.
    """
    import torch

    if not floats:
        whole = weight.to(torch.int8).contiguous()
        return lambda rows: torch._int_mm(rows.to(torch.int8), whole).float()
    cuts = range(0, weight.shape[0], EXACT)
    parts = [np.ascontiguousarray(weight[at : at + EXACT].numpy()) for at in cuts]

    def products(rows: Any) -> Any:
        # By numpy's BLAS: torch's took up to twice as long on an EPYC.
        found = [rows[:, at : at + EXACT].numpy() @ part for at, part in zip(cuts, parts, strict=True)]
        whole = found[0] if len(found) == 1 else np.sum(found, axis=0, dtype=np.float64).astype(np.float32)
        return torch.from_numpy(whole)

    return products


def floats_are_faster() -> bool:
    """Whether this processor multiplies float32 faster than int8: without VNNI or AMX some 30 times."""
    return not {"avx512_vnni", "amx_int8"} & flags()
