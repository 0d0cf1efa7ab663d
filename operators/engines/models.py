"""Entries of models.yaml. NOTE to the helper who owns this file: keep `identity()` and `model_fault`."""

from typing import Any, Literal

from operators.contract import Params


class ModelEntry(Params):
    """One model."""

    kind: Literal["llm", "encoder", "teacher"]
    backend: str
    model: str
    revision: str = ""
    dtype: str = "float32"
    score_space: str = "cosine"

    def identity(self) -> dict[str, Any]:
        """What a recipe holds of the model."""
        return self.model_dump(mode="json")


def model_fault(entry: ModelEntry) -> str | None:
    """Why the model cannot be loaded; None where it can."""
    return None
