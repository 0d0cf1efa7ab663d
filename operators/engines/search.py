"""Kernels that propose the nearest passages: numpy on the CPU, torch on a GPU or with AMX, or faiss. They decide nothing.

Whoever asks scores the proposals anew and is told what no other passage can score more than, so a kernel's precision, its
last bits and its ties reach no data and the choice among them is no identity: the fastest that is there is taken, and
`PITHEAD_SEARCH` (torch or faiss) overrides it.
"""

import os
import warnings
from functools import cache
from typing import Any

import numpy as np

from operators.contract import InputError
from operators.engines.processor import flags, may_have_gpu
from operators.engines.search_numpy import by_numpy

Array = np.ndarray[Any, Any]
QUERIES, BLOCK = 512, 2048  # whose products are held at a time, 2 MiB in bfloat16: 1,024 × 4,096 took half as long again
GPU_QUERIES, GPU_BLOCK = 1024, 1 << 17
SPARE = 16  # proposals beyond those asked for
FAISS_GPU_TOP = 2048  # the most that faiss returns from a GPU (faiss#2103)
NAMES = ("torch", "faiss")
FEW = 1 << 24  # products up to which bfloat16 is not worth its roundings
UNIT = 2.0**-24  # float32: |computed − exact dot| ≤ d · UNIT · |q| · |p|, in whatever order it was summed
FLUSHED = 2.0**-125  # what a subnormal product may lose
LARGE = 1e30  # products up to which no bfloat16 overflows


class Pool:
    """Passages (P, d) float32 to be searched, and what the kernels need of them, made once."""

    def __init__(self, vectors: Array) -> None:
        self.vectors = vectors
        self.longest = float(_norms(vectors).max(initial=0))
        self._half: _Half | None = None

    def error(self, queries: Array) -> Array:
        """(Q,) how far a float32 dot product of each query can be from the exact one."""
        bound: Array = queries.shape[1] * (UNIT * 1.01 * _norms(queries) * self.longest + FLUSHED)
        return bound

    def rough(self, queries: Array) -> bool:
        """Whether `propose` is faster for these where it may be less precise."""
        name = os.environ.get("PITHEAD_SEARCH", "")
        few = len(queries) * len(self.vectors) <= FEW
        return bool(name != "faiss" and not few and _has_amx() and _norms(queries).max(initial=0) * self.longest < LARGE)

    def propose(self, queries: Array, wide: int, rough: bool = False, floor: Array | None = None) -> tuple[Array, Array]:
        """The passages of the highest dot products with each query (Q, d): places (Q, W) int64, -1 where there is none.

        Beside them (Q,) float64: no other passage's exact product is above it, but of those that are not among a query's
        ``wide`` best, and of those whose product, rounded to float32, is below ``floor`` (Q,) float32.
        """
        name = os.environ.get("PITHEAD_SEARCH", "")
        if name and name not in NAMES:
            raise InputError(f"PITHEAD_SEARCH is {name!r}; say {' or '.join(NAMES)}, or leave it out")
        asked, wide = wide, min(wide + SPARE + (wide // 2 if rough else 0), len(self.vectors))
        if rough:
            places, ceiling = self._by_half(queries, asked, wide, floor)
        elif name == "faiss":
            scores, places = by_faiss(queries, self.vectors, wide)
            ceiling = scores.min(axis=1) + self.error(queries)
        else:
            error = self.error(queries)
            start = None if floor is None else np.nextafter(below(floor) - error, -np.inf).astype(np.float32)
            kernel = by_torch if name == "torch" or _has_gpu() else by_numpy
            scores, places = kernel(queries, self.vectors, wide, start=start)
            ceiling = scores.min(axis=1) + error
        return places, ceiling if wide < len(self.vectors) else np.full(len(queries), -np.inf)

    def _by_half(self, queries: Array, asked: int, wide: int, floor: Array | None) -> tuple[Array, Array]:
        """Products of both sides rounded to bfloat16, summed in float32, rounded again; bounded by what the roundings lost.

        The passages' mean is taken off first: it moves all of a query's products alike, and what is shorter loses less
        (static embeddings, top 100: 6 % of the queries must be searched again, 44 without).
        """
        self._half = half = self._half or _Half(self.vectors)
        told, size = _tensor(queries).bfloat16(), queries.shape[1]
        own, missed, shift = _norms(queries), _norms(queries - told.float().numpy()), queries.astype(np.float64) @ half.mean
        error = missed * half.longest + (own + missed) * (half.lost + 2 * size * UNIT * half.longest)
        error = error * 1.01 + size * FLUSHED * (1 + own + half.longest)  # subnormal factors count as zero, too
        start = None
        if floor is not None:
            least = below(floor) - shift - error - _rounding(floor - shift)
            start = (least - np.abs(least) * 2.0**-7).astype(np.float32)  # and it may be rounded up to a bfloat16
        scores, places = _by_blocks(told, half.passages, wide, QUERIES, BLOCK, start)
        if asked < wide:  # what is not among those asked for even where both are as far off as can be
            last = np.partition(scores, wide - asked, axis=1)[:, wide - asked].astype(np.float64)
            places[scores < (last - 2.02 * (error + _rounding(last)))[:, None]] = -1
        last = scores.min(axis=1).astype(np.float64)
        return places, last + error + _rounding(last) + shift


def _rounding(scores: Array) -> Array:
    """Half of the last place of a bfloat16, and a little."""
    found: Array = np.exp2(np.frexp(scores)[1] - 9.0) * 1.01
    return found


def below(floor: Array) -> Array:
    """What is rounded to less than the floor in float32."""
    found: Array = np.nextafter(floor, np.float32(-np.inf)).astype(np.float64)
    return found


class _Half:
    """Passages less their mean in bfloat16, with their greatest length and the most that rounding took off one."""

    def __init__(self, vectors: Array) -> None:
        import torch

        mean = vectors.mean(axis=0)
        self.mean, self.longest, off = mean.astype(np.float64), 0.0, 0.0
        self.passages = torch.empty(vectors.shape, dtype=torch.bfloat16)
        for start in range(0, len(vectors), BLOCK):  # blocks stay in the cache: whole, this took ten times as long
            cut = slice(start, start + BLOCK)
            told = vectors[cut] - mean
            self.passages[cut] = torch.from_numpy(told)
            self.longest = max(self.longest, float(_norms(told).max()))
            off = max(off, float(_norms(self.passages[cut].float().numpy() - told).max()))
        self.lost = off + 2 * UNIT * (self.longest + float(np.linalg.norm(mean)))


@cache
def _has_amx() -> bool:
    """Whether this processor multiplies matrices of bfloat16: five times as fast as float32; without it, slower."""
    if "amx_bf16" not in flags():
        return False
    import torch

    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)()) and not _has_gpu()


@cache
def _has_gpu() -> bool:
    """Whether torch sees one."""
    if not may_have_gpu():
        return False
    import torch

    return bool(torch.cuda.is_available())


def _norms(vectors: Array) -> Array:
    found: Array = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return found


def by_torch(
    queries: Array, passages: Array, wide: int, block: int = 0, start: Array | None = None
) -> tuple[Array, Array]:
    """In float32, on the GPU where torch sees one: scores (Q, wide) and places, in no order.

    Of products not above ``start`` (Q,) none need be found: in their stead stands ``start``, at -1.

    1,024 queries × 53,000 passages × 384, one thread, 116 proposals: 0.49 s, faiss 1.42.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False  # the caller's error bound is of float32
    if device == "cpu":
        return _by_blocks(_tensor(queries), _tensor(passages), wide, QUERIES, block or BLOCK, start)
    return _by_blocks(_tensor(queries).to(device), _tensor(passages), wide, GPU_QUERIES, block or GPU_BLOCK, start)


def _tensor(vectors: Array) -> Any:
    """On the same memory, which torch warns of where it may not be written to: nobody does."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(vectors)


def _by_blocks(
    queries: Any, passages: Any, wide: int, rows: int, block: int, start: Array | None
) -> tuple[Array, Array]:
    import torch

    torch.set_num_threads(1)  # the workers are the parallelism
    least = None if start is None else torch.from_numpy(start).to(queries.device)
    with torch.inference_mode():
        cuts = [slice(i, i + rows) for i in range(0, len(queries), rows)]
        found = [_best(queries[c], passages, wide, block, None if least is None else least[c]) for c in cuts]
    scores, places = (torch.cat(x).cpu().numpy() for x in zip(*found, strict=True))
    return scores, places


def _best(queries: Any, passages: Any, wide: int, block: int, start: Any) -> tuple[Any, Any]:
    """Products with a block of passages at a time; what does not pass a query's last proposal so far is not looked at.

    What passes is sorted when there is as much of it as there are proposals, so some ten times, whatever the blocks.
    """
    import torch

    scores = torch.empty((len(queries), 0), device=queries.device)
    places = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
    if start is not None:
        scores, places = start[:, None].repeat(1, wide), torch.full((len(queries), wide), -1, device=queries.device)
    waiting: list[tuple[Any, Any, Any]] = []
    for first in range(0, len(passages), block):
        found = queries @ passages[first : first + block].to(queries.device).T
        if scores.shape[1] < wide:
            at = torch.arange(first, first + found.shape[1], device=queries.device).expand(len(queries), -1)
            scores, places = _highest(torch.cat([scores, found.float()], 1), torch.cat([places, at], 1), wide)
            continue
        row, column = _passing(found, scores.amin(1, keepdim=True))
        waiting.append((row, column + first, found[row, column].float()))
        if sum(len(r) for r, _, _ in waiting) >= len(queries) * wide:
            scores, places, waiting = *_taken(scores, places, waiting), []
    return _taken(scores, places, waiting) if waiting else (scores, places)


def _highest(scores: Any, places: Any, wide: int) -> tuple[Any, Any]:
    best, chosen = scores.topk(min(wide, scores.shape[1]), dim=1, sorted=False)
    return best, places.gather(1, chosen)


def _passing(found: Any, last: Any) -> tuple[Any, Any]:
    """(rows, columns) of the scores above each query's ``last``."""
    import torch

    if found.is_cuda:
        row, column = (found > last).nonzero(as_tuple=True)
        return row, column
    if found.dtype == torch.float32:
        above = found.numpy() > last.numpy()  # torch took three times as long, its nonzero fourteen times
    elif bool((last > 0).all()):
        above = found.view(torch.int16).numpy() > last.bfloat16().view(torch.int16).numpy()  # in the order of their bits
    else:
        above = (found > last.bfloat16()).numpy()
    row, column = np.divmod(np.flatnonzero(above), found.shape[1])
    return torch.from_numpy(row), torch.from_numpy(column)


def _taken(scores: Any, places: Any, waiting: list[tuple[Any, Any, Any]]) -> tuple[Any, Any]:
    """The proposals, and what passed them, each block's in the order of rows, filled up with −∞: the best of both."""
    import torch

    sizes = torch.stack([torch.bincount(row, minlength=len(scores)) for row, _, _ in waiting])
    width = int(sizes.sum(0).max())
    more = torch.full((len(scores), width), -torch.inf, device=scores.device)
    where = torch.zeros((len(scores), width), dtype=torch.int64, device=scores.device)
    before = sizes.cumsum(0) - sizes
    for (row, at, found), size, first in zip(waiting, sizes, before, strict=True):
        slot = torch.arange(len(row), device=scores.device) + (first - (size.cumsum(0) - size))[row]
        more[row, slot], where[row, slot] = found, at
    return _highest(torch.cat([scores, more], 1), torch.cat([places, where], 1), scores.shape[1])


def by_faiss(queries: Array, passages: Array, wide: int) -> tuple[Array, Array]:
    """`faiss.knn`, on a GPU where this faiss sees one and ``wide`` is within its limit there."""
    import faiss

    faiss.omp_set_num_threads(1)
    found: tuple[Array, Array]
    if getattr(faiss, "get_num_gpus", int)() and wide <= FAISS_GPU_TOP:
        resources = faiss.StandardGpuResources()
        found = faiss.knn_gpu(resources, queries, passages, wide, metric=faiss.METRIC_INNER_PRODUCT)
    else:
        found = faiss.knn(queries, passages, wide, metric=faiss.METRIC_INNER_PRODUCT)
    return found
