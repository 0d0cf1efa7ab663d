"""Prompt files for any task: front matter that says how to ask and what comes back, a body with {columns}.

---
chat: true
system: You are {persona}.
answer: json
schema: {type: object, required: [query], properties: {query: {type: string}}}
---
Write a search query in {language} about: {title}
"""

import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from operators.columns import row_seed
from operators.contract import InputError, Params
from operators.engines.models import ModelEntry, gguf_file, place
from operators.prompt import _find  # the one way a prompt file is found

_PLACE = re.compile(r"\{([a-z_]+)\}")
_KEYS = ("chat", "system", "answer", "schema", "item", "shots", "stop")
_HEADER = 64 << 20  # bytes of a .gguf file that its metadata stands in: vocabularies take 2 to 12 MB
ANSWER = "answer"  # what the only field of an answer without a schema is called


class Template(Params):
    """A prompt. In YAML it is a file name, found as `Prompt` is; in the recipe it is what the file says."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    text: str = Field(min_length=1, description="the prompt; {column} stands for a column's text")
    chat: bool = Field(default=False, description="the model's chat template is put around it")
    system: str = Field(default="", description="of a chat; may hold placeholders")
    answer: Literal["line", "text", "lines", "json"] = "text"
    # As text: the order of its properties is the order that an engine writes them in.
    schema_text: str = Field(default="", alias="schema", description="JSON schema of the object that is asked for")
    item: str = Field(default="", description="answer json: the list in the answer whose every element is a row of its own")
    shots: int | None = Field(default=None, ge=0, description="few-shots drawn by the row's seed; all where not said")
    stop: tuple[str, ...] | None = Field(default=None, description="what ends an answer")

    @model_validator(mode="before")
    @classmethod
    def read(cls, value: Any, info: ValidationInfo) -> Any:
        """Take what a file says where its name is given; a fault in it names the file."""
        if not isinstance(value, str):
            return value
        path = _find(value, [Path(r) for r in (info.context or {}).get("roots", [])])
        said = _parts(path)
        try:
            cls.model_validate(said)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) + ": " if first["loc"] else ""
            raise ValueError(f"{path}: {key}{first['msg'].removeprefix('Value error, ')}; mend the file") from error
        return said

    @field_validator("schema_text", mode="before")
    @classmethod
    def as_text(cls, value: Any) -> Any:
        """A schema that is written as YAML, as JSON text."""
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        """Refuse what contradicts itself."""
        if self.system and not self.chat:
            raise ValueError("system is for a chat: add `chat: true`, or write it into the body")
        if (self.answer == "json") != bool(self.schema_text):
            raise ValueError("`answer: json` and `schema` go together: give both or neither")
        if self.schema_text:
            _check_schema(self.schema)
        if self.item and (self.answer != "json" or not self.fields):
            raise ValueError(
                f"item {self.item!r} must be a property of the schema: a list of strings, or of objects with properties"
            )
        if self.shots is not None and self.shots > len(self._shots):
            raise ValueError(
                f"shots: {self.shots} are drawn of {len(self._shots)}; a shot is a block between blank lines before the"
                " placeholders, with a line that begins as the last line of the prompt does"
            )
        return self

    @property
    def schema(self) -> dict[str, Any]:  # type: ignore[override]
        """The schema of an answer; empty where none is asked for."""
        found: dict[str, Any] = json.loads(self.schema_text) if self.schema_text else {}
        return found

    @property
    def fields(self) -> dict[str, dict[str, Any]]:
        """What an answer gives, or an item of it: field → its schema; without a schema the one field `answer`."""
        if not self.schema_text:
            return {ANSWER: {"type": "string"}}
        whole: dict[str, dict[str, Any]] = self.schema["properties"]
        if not self.item:
            return whole
        element = whole.get(self.item, {}).get("items", {})
        if not isinstance(element, dict):
            return {}
        return {ANSWER: element} if element.get("type") == "string" else dict(element.get("properties", {}))

    @property
    def many(self) -> bool:
        """Whether one answer gives several rows."""
        return self.answer == "lines" or bool(self.item)

    @property
    def columns(self) -> list[str]:
        """The columns that its placeholders name."""
        return list(dict.fromkeys(_PLACE.findall(self.system) + _PLACE.findall(self.text)))

    @property
    def fixed(self) -> str:
        """What every prompt holds, whatever its row: placeholders and shots that may not be drawn taken out."""
        return _PLACE.sub("", self.system + " " + self._with([] if self.shots is not None else self._shots))

    @property
    def ends(self) -> tuple[str, ...]:
        """What ends an answer. Unsaid: a completion's line ends with the line, its few-shots with a blank line."""
        if self.stop is not None or self.chat:
            return self.stop or ()
        return ("\n",) if self.answer == "line" else ("\n\n",) if self._shots and self.answer != "json" else ()

    def asked(self, values: Mapping[str, str], seed: int) -> tuple[str, str, int]:
        """System, prompt, and how many leading characters others share; braces in a value mean nothing."""
        text = self.text
        if self.shots is not None:
            text = self._with(sorted(self._shots, key=lambda i: row_seed(seed, i))[: self.shots])
        first = _PLACE.search(text)
        shared = 0 if _PLACE.search(self.system) else first.start() if first else len(text)
        return _filled(self.system, values), _filled(text, values), shared

    @property
    def _blocks(self) -> list[str]:
        return self.text.split("\n\n")

    @property
    def _shots(self) -> list[int]:
        """The blocks that are few-shots: they hold the words which the prompt ends in, and no placeholder."""
        blocks = self._blocks
        label = _PLACE.split(blocks[-1].rstrip().rsplit("\n", 1)[-1])[-1].strip()
        asks = next((i for i, block in enumerate(blocks) if _PLACE.search(block)), len(blocks) - 1)
        return [i for i in range(asks) if label and f"\n{label}" in f"\n{blocks[i]}"]

    def _with(self, kept: Sequence[int]) -> str:
        gone = set(self._shots) - set(kept)
        return "\n\n".join(block for i, block in enumerate(self._blocks) if i not in gone)


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda m: values[m[1]], text)


def _parts(path: Path) -> dict[str, Any]:
    try:
        whole = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").rstrip("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8; save it as such") from error
    if not whole.startswith("---\n"):
        return {"text": whole}
    head, ended, body = f"{whole[4:]}\n".partition("\n---\n")
    if not ended:
        raise ValueError(f"{path}: its front matter never ends; set a line of --- behind it, and the prompt below")
    try:
        said = yaml.safe_load(head) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: what stands between the lines of --- is no YAML: {str(error).splitlines()[0]}") from error
    unknown = sorted(map(str, set(said) - set(_KEYS))) if isinstance(said, dict) else ["no keys"]
    if unknown:
        raise ValueError(f"{path}: between the lines of --- stands {unknown[0]!r}; there may be {', '.join(_KEYS)}")
    if "schema" in said:
        said.setdefault("answer", "json")
    return {**said, "text": body.strip("\n")}


def _check_schema(schema: Any) -> None:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator

    if not isinstance(schema, dict) or schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        raise ValueError("schema must be of an object: `{type: object, properties: {…}}`")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(map(str, error.path))
        raise ValueError(f"schema{'.' * bool(where)}{where} is no JSON schema: {error.message}") from error
    if "$ref" in _keys(schema) or "$dynamicRef" in _keys(schema):
        raise ValueError("schema holds a $ref, which not every engine follows: write out what it refers to")


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(inner)


def has_chat_template(entry: ModelEntry) -> bool:
    """Whether a model brings one, read off its files without loading it; true where that cannot be known."""
    if entry.backend == "openai":
        return True  # the server's affair
    path = place(entry.model)
    if entry.backend == "transformers-gguf" or (path and path.suffix == ".gguf"):
        file = gguf_file(path) if path else None
        return file is None or _in_gguf(file)
    names = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
    if path is None:
        from huggingface_hub import try_to_load_from_cache

        cached = [try_to_load_from_cache(entry.model, n, revision=entry.revision or None) for n in names]
        files = [Path(f) for f in cached if isinstance(f, str)]
        if not any(f.name == names[-1] for f in files):
            return True
    else:
        files = [path / n for n in names]
    return any(_names_one(f) for f in files if f.is_file()) or bool(path and (path / "chat_templates").is_dir())


def asking_faults(op: str, chat: bool, fixed: str, max_tokens: int, entry: ModelEntry | None) -> list[str]:
    """Why a prompt cannot be asked of a model, as far as that is known before it is loaded."""
    if entry is None:
        return []
    faults = []
    if chat:
        try:
            if not has_chat_template(entry):
                faults.append(f"{op}: the prompt says `chat: true`, {entry.model!r} has no chat template; name a chat model")
        except InputError as error:
            faults.append(f"{op}: {error}")
    least = len(fixed.split()) + max_tokens  # no tokenizer joins words
    if least > entry.max_tokens:
        faults.append(
            f"{op}: the prompt's own words and max_tokens take {least} tokens or more, the window of {entry.model!r} is"
            f" {entry.max_tokens}; lower max_tokens, shorten the prompt, or raise max_tokens of the model in models.yaml"
        )
    return faults


def _names_one(file: Path) -> bool:
    if file.suffix == ".jinja":
        return True
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")).get("chat_template"))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{file} cannot be read as JSON; mend the model's folder") from error


def _in_gguf(file: Path) -> bool:
    """A key of a .gguf file stands behind its length: a parser would take 8 s over the vocabulary before it."""
    key = b"tokenizer.chat_template"
    with file.open("rb") as opened:
        return struct.pack("<Q", len(key)) + key in opened.read(_HEADER)
