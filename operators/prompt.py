"""Prompts are files, so that they can be read, diffed and hashed; identity is their text."""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

PACKAGED = Path(__file__).parent.parent / "configs" / "prompts"
PLACE = "{passage}"


class Prompt(BaseModel):
    """A template with ``{passage}`` in it once. In YAML a file's name, in the recipe its text."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    text: str

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str):
            return value
        roots = [Path(r) for r in (info.context or {}).get("roots", [])]
        for root in [*roots, PACKAGED]:
            path = root / value
            if path.is_file():
                return {"text": path.read_text(encoding="utf-8")}
        raise ValueError(f"no prompt file {value!r} in {', '.join(str(r) for r in [*roots[:2], PACKAGED])}")

    @model_validator(mode="after")
    def _placed(self) -> "Prompt":
        if self.text.count(PLACE) != 1:
            raise ValueError(f"a prompt holds {PLACE} once, this one {self.text.count(PLACE)} times: {self.text[:60]!r}")
        return self

    @property
    def prefix(self) -> str:
        """What stands before the passage, the same in every prompt: it need be read only once."""
        return self.text[: self.text.index(PLACE)]

    def render(self, passage: str) -> str:
        """The prompt for one passage. Replaced, not formatted: braces of a passage mean nothing."""
        return self.text.rstrip("\n").replace(PLACE, passage)

    @property
    def shots(self) -> list[str]:
        """The queries of its few-shot examples: what stands behind the cue that ends the prompt."""
        cue = self.text.rstrip().rsplit("\n", 1)[-1].strip()
        found = re.findall(rf"^{re.escape(cue)}[ \t]*(\S.*)$", self.text, re.MULTILINE) if cue != PLACE else []
        return [f.strip() for f in found]
