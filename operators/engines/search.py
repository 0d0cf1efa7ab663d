"""Kernels that propose the nearest passages: torch or faiss, on the CPU or a GPU, numpy for few. They decide nothing.

Whoever asks scores the proposals anew, so a kernel's last bits and its ties reach no data and the choice among them is no
identity: the fastest that is there is taken, and `PITHEAD_SEARCH` (torch or faiss) overrides it.
"""

import os
from typing import Any

import numpy as np

from operators.contract import InputError

Array = np.ndarray[Any, Any]
BLOCK = 4096  # passages whose scores are held at a time: with 1,024 queries 16 MiB; 1,024 and 8,192 were 12 % slower
GPU_BLOCK = 1 << 17
FAISS_GPU_TOP = 2048  # the most that faiss returns from a GPU (faiss#2103)
NAMES = ("torch", "faiss")
FEW = 1 << 24  # products up to which numpy does it: a process without torch need not load it


def propose(queries: Array, passages: Array, wide: int) -> tuple[Array, Array]:
    """The ``wide`` passages of the highest float32 dot product with each query.

    (Q, d) and (P, d) float32 with ``wide`` ≤ P give scores (Q, wide) float32, highest first, and places (Q, wide) int64.
    """
    name = os.environ.get("PITHEAD_SEARCH", "")
    if name and name not in NAMES:
        raise InputError(f"PITHEAD_SEARCH is {name!r}; say {' or '.join(NAMES)}, or leave it out")
    if not name and len(queries) * len(passages) <= FEW:
        return by_numpy(queries, passages, wide)
    return by_faiss(queries, passages, wide) if name == "faiss" else by_torch(queries, passages, wide)


def by_numpy(queries: Array, passages: Array, wide: int) -> tuple[Array, Array]:
    """One product, held whole."""
    found = queries @ passages.T
    every = np.broadcast_to(np.arange(found.shape[1]), found.shape)
    chosen = np.argpartition(-found, wide - 1, axis=1)[:, :wide] if wide < found.shape[1] else every
    scores = np.take_along_axis(found, chosen, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, 1), np.take_along_axis(chosen, order, 1).astype(np.int64)


def by_torch(queries: Array, passages: Array, wide: int, block: int = 0) -> tuple[Array, Array]:
    """Products of a block of passages at a time; what does not pass a query's last proposal so far is never sorted.

    1,024 queries × 53,000 passages × 384, one thread, 116 proposals: 0.49 s, faiss 1.42.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    block = block or (BLOCK if device == "cpu" else GPU_BLOCK)
    torch.set_num_threads(1)  # the workers are the parallelism
    torch.backends.cuda.matmul.allow_tf32 = False  # the caller's error bound is of float32
    asked = torch.from_numpy(np.array(queries)).to(device)  # a copy: torch warns of memory that it may not write to
    scores = torch.empty((len(queries), 0), device=device)
    places = torch.empty((len(queries), 0), dtype=torch.int64, device=device)
    with torch.inference_mode():
        for start in range(0, len(passages), block):
            found = asked @ torch.from_numpy(np.array(passages[start : start + block])).to(device).T
            if scores.shape[1] < wide:
                at = torch.arange(start, start + found.shape[1], device=device).expand(len(queries), -1)
            else:
                found, at = _passing(found, scores[:, -1:], start)
            if found.shape[1]:
                every = torch.cat([scores, found], 1)
                scores, chosen = every.topk(min(wide, every.shape[1]), dim=1)
                places = torch.cat([places, at], 1).gather(1, chosen)
    return scores.cpu().numpy(), places.cpu().numpy()


def _passing(found: Any, last: Any, start: int) -> tuple[Any, Any]:
    """The scores above each query's ``last``, moved to the left and filled up with −∞, and their places."""
    import torch

    mask = found > last
    if found.is_cuda:
        row, column = mask.nonzero(as_tuple=True)
    else:  # torch took fourteen times as long as numpy here
        row, column = map(torch.from_numpy, np.divmod(np.flatnonzero(mask.numpy()), found.shape[1]))
    counts = torch.bincount(row, minlength=len(found))
    width = int(counts.max()) if len(counts) else 0
    scores = torch.full((len(found), width), -torch.inf, device=found.device)
    places = torch.zeros((len(found), width), dtype=torch.int64, device=found.device)
    slot = torch.arange(len(row), device=found.device) - (counts.cumsum(0) - counts)[row]
    scores[row, slot], places[row, slot] = found[row, column], column + start
    return scores, places


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
