"""Models behind small protocols: text completion, encoding, scoring."""

import importlib
import threading
from functools import lru_cache
from typing import Any

from operators.contract import InputError
from operators.engines.models import BACKENDS, ModelEntry, model_fault, packaged

__all__ = ["ModelEntry", "load_model", "model_fault", "packaged"]


def load_model(kind: str, entry: ModelEntry) -> Any:
    """Load the model of an entry of models.yaml, once a process; an `InputError` says why it cannot be."""
    if entry.kind != kind:
        raise InputError(f"models.yaml: {entry.model!r} is a {entry.kind}, a {kind} is needed; name another entry")
    if fault := model_fault(entry):
        raise InputError(f"models.yaml: {fault}")
    with _LOADING:
        return _load(kind, entry.model_dump_json())


_LOADING = threading.RLock()  # parts that a worker does at once must not load a model twice; a teacher loads its LLM


@lru_cache(maxsize=4)
def _load(kind: str, text: str) -> Any:
    entry = ModelEntry.model_validate_json(text)
    module, _, function = BACKENDS[kind][entry.backend].partition(":")
    return getattr(importlib.import_module(module), function)(entry)
