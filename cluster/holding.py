"""Artifacts that are held while rows come and go: what was fitted, on which rows, and what a run decided of them.

``held/<what was asked>/<time>-<fingerprint>.json`` names an artifact that was fitted, newest last;
``<fingerprint>.rows`` holds the smallest hashes of the ids that it was fitted on, ``<fingerprint>.json`` which one a step uses.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.store import Store
from cluster.task import manifest_of, parts_of
from operators.columns import id_pairs, row_keys

LEAST = 1 << 16  # ids that a sketch keeps: exact up to so many rows, within 0.4 % of the drift of any number
IDS = ("query_id", "passage_id", "doc_id", "pair_id")  # what tells rows apart, the narrowest first

Array = np.ndarray[Any, Any]


def sketch(store: Store, homes: Sequence[str]) -> Array:
    """The smallest distinct hashes (K,) uint64 of the rows of these steps, sorted: a bottom-k sketch (Cohen and Kaplan 2007)."""
    best = np.empty(0, np.uint64)
    for part in parts_of(store, homes):
        with store.parquet(part["file"]) as file:
            have = file.schema_arrow.names
            own = [name for name in IDS if name in have][:1]
            table = file.read(columns=own or [name for name in have if not name.startswith("_")])
        keys = table[own[0]] if own else pa.chunked_array([row_keys(table, table.column_names)])
        best = np.unique(np.concatenate([best, id_pairs(keys)["hi"].astype(np.uint64)]))[:LEAST]
    return best


def drift(one: Array, other: Array) -> float:
    """The rows of either side that the other lacks, as a share of all of both: 0.01 where 1 % of the rows were replaced."""
    both = np.union1d(one, other)[:LEAST]
    shared = np.isin(both, one).sum() + np.isin(both, other).sum() - len(both)
    return round(float((len(both) - shared) / max(len(both) + shared, 1)), 6)


def fitted(store: Store, asked: str, but: str = "") -> str | None:
    """The newest artifact's fingerprint of all that were fitted for this, so far as they are stored."""
    for name in reversed([n for n in store.names(f"held/{asked}") if n.count("-") == 1]):
        said = store.read_json(f"held/{asked}/{name}")
        if said and said["fingerprint"] != but and manifest_of(store, said["home"]):
            return str(said["fingerprint"])
    return None


def decided(store: Store, asked: str, fresh: str) -> dict[str, Any] | None:
    """What was decided for the inputs of today, whose own artifact would be ``fresh``: the fingerprint to use, the drift."""
    said = store.read_json(f"held/{asked}/{fresh}.json")
    return said if isinstance(said, dict) and {"use", "drift", "limit"} <= said.keys() else None


def decide(store: Store, asked: str, fresh: str, homes: Sequence[str], limit: float) -> str:
    """Hold the newest artifact unless more than ``limit`` of the rows came or went since it was fitted; what is used."""
    use, found = fitted(store, asked, fresh), 0.0
    if use is not None and limit != np.inf:
        found = drift(_rows(store, asked, use), _noted(store, asked, fresh, homes))
    use = fresh if use is None or found > limit else use
    told = None if limit == np.inf else limit  # JSON has no infinity
    store.write_json(f"held/{asked}/{fresh}.json", {"use": use, "drift": found, "limit": told})
    return use


def note(store: Store, asked: str, fresh: str, home: str, homes: Sequence[str]) -> None:
    """Name an artifact that is whole as the newest that was fitted for this."""
    if fitted(store, asked) != fresh:
        _noted(store, asked, fresh, homes)
        store.write_json(f"held/{asked}/{time.time_ns():020d}-{fresh}.json", {"fingerprint": fresh, "home": home})


def _noted(store: Store, asked: str, fresh: str, homes: Sequence[str]) -> Array:
    """The sketch of today's rows, kept."""
    name = f"held/{asked}/{fresh}.rows"
    if not store.exists(name):
        store.write(name, sketch(store, homes).astype("<u8").tobytes())
    return _rows(store, asked, fresh)


def _rows(store: Store, asked: str, fingerprint: str) -> Array:
    name = f"held/{asked}/{fingerprint}.rows"
    return np.frombuffer(store.read(name), "<u8") if store.exists(name) else np.empty(0, np.uint64)
