"""The code of an operator, as one hash: recorded with what it made, and part of a user's own recipe."""

import hashlib
import inspect
from pathlib import Path

from operators.contract import Operator


def code_of(op: Operator) -> str:
    """Sixteen hex digits of the operator's module; what that imports is not looked at. Empty where there is no file."""
    try:
        file = inspect.getsourcefile(op.fn)
        return hashlib.sha256(Path(file or "").read_bytes()).hexdigest()[:16]
    except (TypeError, OSError):
        return ""


def moved(op: Operator, recorded: str) -> bool:
    """Whether the code is another than the recorded one; not where nothing was recorded."""
    return bool(recorded) and recorded != code_of(op)
