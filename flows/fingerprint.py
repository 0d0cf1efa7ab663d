"""One hash for one recipe: what was asked of the data, never where or how fast it ran."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel


def canonical(value: Any) -> str:
    """JSON that is the same in every process; raises on what it cannot name."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def fingerprint(*parts: Any) -> str:
    """Sixteen hex digits of ``parts``."""
    return hashlib.sha256("\n".join(map(canonical, parts)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
