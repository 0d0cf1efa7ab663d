"""Scores of pairs, taken over: a teacher's score hangs on a query's and a passage's text alone.

So where one candidate of a query changed, the others' scores come from the earlier set of the same recipe. Beside the ids
it holds a hash of each text to the byte, since an id folds white space.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from cluster.work import Job
from operators.columns import flat
from operators.contract import row_id
from operators.engines.teacher import Teacher

Array = np.ndarray[Any, Any]
TEXTS_OF = "_texts_of_"  # and a column of ids: the hash of each of their texts, one behind the other


def texts_of(column: pa.ChunkedArray, texts: Any) -> pa.Array | None:
    """(N,) binary, of one id a row binary(16): 16 bytes of each id's text, by `Texts.exact`; None of a column without ids."""
    if column.type == row_id:
        return pa.Array.from_buffers(row_id, len(column), [None, pa.py_buffer(texts.exact(column))])
    if not (pa.types.is_list(column.type) and column.type.value_type == row_id):
        return None
    offsets, ids = flat(column)
    ends = pa.py_buffer((offsets * 16).astype(np.int32))
    return pa.Array.from_buffers(pa.binary(), len(column), [None, ends, pa.py_buffer(texts.exact(ids))])


class Recall:
    """A teacher that is asked only for the pairs whose score is not known."""

    def __init__(self, teacher: Teacher, keys: Array, scores: Array) -> None:
        """``keys`` (N, 2) uint64, sorted, are of the pairs that have ``scores`` (N,)."""
        self._teacher, self._keys, self._scores = teacher, keys, scores
        self.space, self.counters = teacher.space, teacher.counters

    def score(self, queries: Sequence[str], passages: Sequence[str]) -> Array:
        """The score (N,) float32 of each pair."""
        wanted = _keys(zip(queries, map(_hash, passages), strict=True))
        at = np.minimum(np.searchsorted(self._keys[:, 0], wanted[:, 0]), len(self._keys) - 1)
        known = (self._keys[at] == wanted).all(axis=1)
        out: Array = self._scores[at].copy()
        new = np.flatnonzero(~known).tolist()
        if len(new):
            out[new] = self._teacher.score([queries[i] for i in new], [passages[i] for i in new])
        return out


def recalling(job: Job, fresh: pa.Table) -> dict[str, Any]:
    """What the job uses, its teachers behind what earlier parts know of the queries of ``fresh``."""
    if not (job.op.pairs_scored(job.params) and job.work.previous and len(fresh)):
        return job.used
    keys, scores = _known(job, pc.unique(fresh["query"]))
    if not len(keys):
        return job.used
    return {n: Recall(u, keys, scores) if job.op.uses[n] is Teacher else u for n, u in job.used.items()}


def _known(job: Job, queries: pa.Array) -> tuple[Array, Array]:
    """(keys, scores) of the pairs of these queries in the earlier parts."""
    scored = job.op.pairs_scored(job.params)
    wanted = ["query", *(TEXTS_OF + c for c in scored), *scored.values()]
    keys, scores = [np.empty((0, 2), np.uint64)], [np.empty(0, np.float32)]
    for name, _ in job.work.previous:
        table = _told_of(job, name, wanted, queries)
        if not len(table):
            continue
        for ids, said in scored.items():
            offsets, values = flat(table[said])
            told = table["query"].take(pa.array(np.repeat(np.arange(len(table)), np.diff(offsets)))).to_pylist()
            texts = b"".join(table[TEXTS_OF + ids].to_pylist())
            each = (texts[i : i + 16] for i in range(0, len(texts), 16))
            has = values.is_valid().to_numpy(zero_copy_only=False)
            keys.append(_keys(zip(told, each, strict=True))[has])
            scores.append(values.drop_null().to_numpy())
    every, told = np.concatenate(keys), np.concatenate(scores)
    order = np.argsort(every[:, 0], kind="stable")
    return every[order], told[order]


def _told_of(job: Job, name: str, columns: list[str], queries: pa.Array) -> pa.Table:
    """The rows of these queries in an earlier part; none where it has been removed, or `keep` left a column out."""
    try:
        with job.store.parquet(name) as file:
            if set(columns) <= set(file.schema_arrow.names):
                mask = pc.is_in(file.read(columns=["query"])["query"], queries)
                if pc.any(mask).as_py():
                    return file.read(columns=columns).select(columns).filter(mask)
    except FileNotFoundError:
        pass
    return pa.table({})


def _keys(pairs: Iterable[tuple[str, bytes]]) -> Array:
    """(N, 2) uint64 of (query, the hash of a passage)."""
    hashed = b"".join(xxhash.xxh3_128_digest(text + query.encode("utf-8", "surrogatepass")) for query, text in pairs)
    return np.frombuffer(hashed, np.uint64).reshape(-1, 2)


def _hash(passage: str) -> bytes:
    return xxhash.xxh3_128_digest(passage.encode("utf-8", "surrogatepass"))
