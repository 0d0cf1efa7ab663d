"""Models behind small protocols: text completion, encoding, scoring."""

import importlib
from functools import lru_cache
from typing import Any

from operators.contract import InputError
from operators.engines.models import BACKENDS, ModelEntry, model_fault, packaged

__all__ = ["ModelEntry", "load_model", "model_fault", "packaged"]


@lru_cache(maxsize=4)
def load_model(kind: str, entry: ModelEntry) -> Any:
    """Load the model of an entry of models.yaml, once a process; an `InputError` says why it cannot be."""
    if entry.kind != kind:
        raise InputError(f"models.yaml: {entry.model!r} is a {entry.kind}, a {kind} is needed; name another entry")
    if fault := model_fault(entry):
        raise InputError(f"models.yaml: {fault}")
    module, _, function = BACKENDS[kind][entry.backend].partition(":")
    return getattr(importlib.import_module(module), function)(entry)
