"""Prompt templates, kept as files so that they can be read, diffed and hashed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ValidationInfo, WithJsonSchema, model_validator

from operators.columns import row_seed
from operators.contract import Params
from operators.engines.models import models_file

PASSAGE = "{passage}"
TITLE = "{title}"  # optional
TYPES = ("question", "keywords", "claim", "title", "web_query")


class Prompt(Params):
    """A template. In YAML it is a file name; in the recipe it is the text of that file.

    A file may begin with YAML between two lines of ``---``: ``chat: true`` and ``system: …``.
    """

    text: str
    chat: bool = False
    system: str = ""

    @model_validator(mode="before")
    @classmethod
    def read(cls, value: Any, info: ValidationInfo) -> Any:
        """Take the text of a file where its name is given."""
        if isinstance(value, str):
            roots = (info.context or {}).get("roots", [])
            value = _parts(_find(value, [Path(r) for r in roots]))
        if isinstance(value, dict) and isinstance(value.get("text"), str) and value["text"].count(PASSAGE) != 1:
            start = value["text"][:40].replace("\n", " ")
            raise ValueError(f"the prompt that begins {start!r} must hold {PASSAGE} exactly once; put it where the passage goes")
        return value

    def render(self, passage: str, title: str = "") -> str:
        """The template with the passage in its place; braces in a passage mean nothing."""
        before, after = self.text.split(PASSAGE)
        return before.replace(TITLE, title) + passage + after.replace(TITLE, title)

    @property
    def prefix(self) -> str:
        """What every rendered prompt begins with."""
        before = self.text.split(PASSAGE)[0]
        return before.split(TITLE)[0]

    def drawn(self, count: int, seed: int) -> "Prompt":
        """The prompt with ``count`` of its few-shots, drawn by the seed and kept in their order."""
        before, after = self.text.split(PASSAGE)
        head, cut, last = before.rpartition("\n\n")
        blocks = head.split("\n\n") if cut else []
        shots = [i for i, block in enumerate(blocks) if self.label and f"\n{self.label}" in f"\n{block}"]
        gone = set(sorted(shots, key=lambda i: row_seed(seed, i))[count:])
        kept = [block for i, block in enumerate(blocks) if i not in gone]
        return self.model_copy(update={"text": "\n\n".join([*kept, last]) + PASSAGE + after})

    @property
    def label(self) -> str:
        """The words that stand before an answer: the template's last line."""
        return self.text.rstrip().rsplit("\n", 1)[-1].split(PASSAGE)[-1].strip()

    @property
    def examples(self) -> list[str]:
        """The answers of the few shots."""
        label = self.label
        lines = self.prefix.splitlines() if label else []
        return [line.removeprefix(label).strip() for line in lines if line.startswith(label)]

    @property
    def markers(self) -> list[str]:
        """The labels that begin the template's lines: an answer that holds one has run on."""
        lines = [self.label, self.text.split(PASSAGE)[0].rsplit("\n", 1)[-1].strip()]
        return [line for line in lines if line.endswith(":")]


PromptFile = Annotated[Prompt, WithJsonSchema({"type": "string", "description": "a prompt file"})]  # as YAML says it


def default_prompts() -> dict[str, Prompt]:
    """The prompts that ship with the package, by query type."""
    return {name: Prompt.model_validate(f"{name}.md") for name in TYPES}


def _parts(path: Path) -> dict[str, Any]:
    whole = path.read_text(encoding="utf-8").rstrip("\n")
    if not whole.startswith("---\n"):
        return {"text": whole}
    head, _, body = whole[4:].partition("\n---\n")
    try:
        said = yaml.safe_load(head) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: what stands between the lines of --- is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(said, dict) or "text" in said:
        raise ValueError(f"{path}: write `chat: true` and `system: …` between the lines of ---")
    return {**said, "text": body.lstrip("\n")}


def _find(name: str, roots: Sequence[Path]) -> Path:
    given = Path(name).expanduser()
    folders = [*roots, models_file().parent / "prompts"]
    found = [p for p in ([given] if given.is_absolute() else [f / given for f in folders]) if p.is_file()]
    if not found:
        where = "" if given.is_absolute() else f" in {', '.join(map(str, dict.fromkeys(folders)))}"
        raise ValueError(f"there is no prompt file {name!r}{where}; write it or mend its name")
    return found[0]
