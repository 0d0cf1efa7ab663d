"""Add attributes to rows, drawn by the row's id: personas, lengths or languages that a prompt then names.

KaLM (arXiv:2501.01028) draws a persona a request; E5-mistral (arXiv:2401.00368) its placeholders.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pydantic import Field, ValidationInfo, model_validator

from operators.columns import content_id, put, repeat
from operators.contract import Columns, Example, InputError, Params, operator, row_id, text
from operators.list_attributes import Sampler, Values, check_lists, file_names, read_list
from operators.prompt import _find  # the one way a prompt file is found

_LARGEST = 1_000_000  # bytes of a file: what it holds goes into the recipe and to every worker
_MADE = ("task_id", "copy")


class DrawAttributes(Params):
    """What to draw, and how often. A file is found as a prompt is; its values become part of the recipe."""

    attributes: dict[str, Values] = Field(
        min_length=1, description="column: values, value: weight, or a file with one value a line"
    )
    key: str = Field(default="passage_id", min_length=1, description="the id that decides what is drawn")
    copies: int = Field(default=1, ge=1, description="rows made of each; unweighted combinations differ while there are any left")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def read(cls, value: Any, info: ValidationInfo) -> Any:
        """Take the values of files where their names are given."""
        if not file_names(value):
            return value
        roots = [Path(r) for r in (info.context or {}).get("roots", [])]
        taken: dict[str, Any] = {}
        for name, given in value["attributes"].items():
            path = _find(given, roots) if isinstance(given, str) else None
            if path and path.stat().st_size > _LARGEST:
                raise ValueError(
                    f"attributes.{name}: {path} is above 1 MB; draw from it in a step of list_attributes, or shorten it"
                )
            try:
                taken[name] = read_list(path, name) if path else given
            except InputError as error:
                raise ValueError(str(error)) from error
        return {**value, "attributes": taken}

    @model_validator(mode="after")
    def can_be_drawn(self) -> Self:
        """Refuse names that are no placeholder, and lists with nothing in them."""
        check_lists(self.attributes, (*_MADE, self.key))
        return self

    def lists(self) -> Mapping[str, list[str] | dict[str, float]]:
        """The lists; of files none is left."""
        return {k: v for k, v in self.attributes.items() if not isinstance(v, str)}


def _writes(p: DrawAttributes) -> Columns:
    return {"task_id": row_id, "copy": pa.int32(), **dict.fromkeys(p.attributes, text)}


@operator("map", version="1", reads=lambda p: {p.key: row_id}, writes=_writes)
def draw_attributes(table: pa.Table, p: DrawAttributes) -> pa.Table:
    """N rows in, N × copies out; `task_id` = hash(row, copy) is what a request about the copy is seeded by."""
    sampler, keys = Sampler(p.lists(), p.seed), table[p.key].to_pylist()
    drawn = [sampler.draw(copy, key) for key in keys for copy in range(p.copies)]
    wide = repeat(table, p.copies)
    tasks = [content_id(key.hex(), str(copy)) for key in keys for copy in range(p.copies)]
    wide = put(wide, "task_id", pa.array(tasks, row_id))
    wide = put(wide, "copy", pa.array(list(range(p.copies)) * len(keys), pa.int32()))
    for name in p.attributes:
        wide = put(wide, name, pa.array([d[name] for d in drawn], text))
    return wide


def example() -> Example:
    """Three passages, twice each."""
    keys = [bytes([i * 37 % 256] * 16) for i in range(3)]
    lists: dict[str, Values] = {"difficulty": ["high school", "college", "PhD"], "language": {"English": 3, "Dutch": 1}}
    return Example(pa.table({"passage_id": pa.array(keys, row_id)}), DrawAttributes(attributes=lists, copies=2))
