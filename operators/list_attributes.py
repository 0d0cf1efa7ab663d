"""Rows of attributes drawn from lists: what a prompt's placeholders are filled with so that answers differ.

E5-mistral (arXiv:2401.00368) draws query type, length, difficulty, clarity, words and language;
KaLM (arXiv:2501.01028) draws personas.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field, ValidationInfo, model_validator

from operators.columns import SLICE, content_id, row_seed
from operators.contract import Columns, InputError, Item, Outcome, Params, operator, row_id, text

Values = list[str] | dict[str, float] | str  # evenly; by weight; a file of them
Lists = Mapping[str, Sequence[str] | Mapping[str, float]]
_ROUNDS = 4  # of a Feistel network: a permutation that looks random (Luby and Rackoff)


class ListAttributes(Params):
    """What there is to draw from. Without weights no combination comes twice before all have come once."""

    rows: int = Field(ge=1)
    attributes: dict[str, Values] = Field(
        min_length=1, description="column: values, value: weight, or a file with one value a line"
    )
    path: str = Field(default="", description="the folder of the files; where flows look for prompts, if not said")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def find(cls, value: Any, info: ValidationInfo) -> Any:
        """Take the first folder that has the files, where none is said."""
        files = file_names(value)
        if not files or value.get("path"):
            return value
        roots = [Path(r) for r in (info.context or {}).get("roots", [])]
        found = next((r for r in roots if all((r / f).is_file() for f in files)), None)
        return {**value, "path": str(found)} if found else value

    @model_validator(mode="after")
    def can_be_drawn(self) -> Self:
        """Refuse names that are no placeholder, and lists with nothing in them."""
        check_lists(self.attributes, ("task_id",))
        return self

    def lists(self) -> Lists:
        """The lists, those of files read."""
        return {
            name: read_list(Path(self.path).expanduser() / given, name) if isinstance(given, str) else given
            for name, given in self.attributes.items()
        }


def file_names(params: Any) -> list[str]:
    """The attributes that are a file's name, of params not yet checked."""
    given = params.get("attributes") if isinstance(params, dict) else None
    return [v for v in given.values() if isinstance(v, str)] if isinstance(given, dict) else []


def check_lists(attributes: Mapping[str, Values], taken: Sequence[str]) -> None:
    """One sentence where an attribute cannot be a column, or has nothing to draw."""
    for name, given in attributes.items():
        if not name.replace("_", "a").isalpha() or not name.isascii() or name.lower() != name or name in taken:
            raise ValueError(
                f"attributes.{name}: name it in small letters and '_', as a placeholder, and not {' or '.join(taken)}"
            )
        if not given or (isinstance(given, list) and len(set(given)) < len(given)):
            raise ValueError(f"attributes.{name}: list at least one value, each of them once; weigh it to draw it more often")
        if isinstance(given, dict) and (min(given.values()) < 0 or sum(given.values()) <= 0):
            raise ValueError(f"attributes.{name}: a weight is a number from 0 on, and one of them is above it")


def read_list(path: Path, name: str) -> list[str]:
    """The values of a file, one a line; of a .jsonl each record's field ``name``. The first of equal ones stays."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if path.suffix == ".jsonl":
            lines = [json.loads(line)[name] for line in lines]
    except OSError as error:
        raise InputError(f"attributes.{name}: there is no file {path}; write it or mend its name") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"attributes.{name}: {path} must be UTF-8, of a .jsonl every line a record with {name!r}") from error
    if not lines or not all(isinstance(line, str) and line.strip() for line in lines):
        raise InputError(f"attributes.{name}: {path} must hold texts, at least one")
    return list(dict.fromkeys(line.strip() for line in lines))


class Sampler:
    """Draws the ``number``-th combination of the lists, any of them on its own."""

    def __init__(self, lists: Lists, seed: int) -> None:
        self._seed = seed
        self._even = {k: list(v) for k, v in sorted(lists.items()) if not isinstance(v, Mapping)}
        weighted = {k: sorted(v.items()) for k, v in lists.items() if isinstance(v, Mapping)}  # a mapping has no order
        self._weighted = {k: ([x for x, _ in v], np.cumsum([w for _, w in v])) for k, v in weighted.items()}
        self._size = math.prod(map(len, self._even.values()))

    def draw(self, number: int, *key: bytes) -> dict[str, str]:
        """Attribute → value. Even lists: the combination at this place of an order that seed and key decide."""
        turn, place = divmod(number, self._size)
        place = permuted(place, self._size, row_seed(self._seed, *key, turn))
        drawn = {}
        for name, values in self._even.items():
            place, which = divmod(place, len(values))
            drawn[name] = values[which]
        for name, (values, steps) in self._weighted.items():
            uniform = row_seed(self._seed, *key, number, name) / 2**63 * steps[-1]
            drawn[name] = values[min(int(np.searchsorted(steps, uniform, side="right")), len(values) - 1)]
        return drawn


def permuted(place: int, size: int, seed: int) -> int:
    """Where ``place`` goes in a permutation of ``size`` places that the seed decides, found without listing it."""
    half = max((size - 1).bit_length() + 1, 2) // 2
    mask = (1 << half) - 1
    while True:  # the network permutes up to four times as many places: walk on until back inside
        left, right = place >> half, place & mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (row_seed(seed, turn, right) & mask)
        place = left << half | right
        if place < size:
            return place


def _items(p: ListAttributes) -> list[Item]:
    listed = {k: v if isinstance(v, Mapping) else list(v) for k, v in p.lists().items()}
    digest = xxhash.xxh3_128_hexdigest(json.dumps(listed, sort_keys=True).encode())
    return [Item("attributes", digest)]


def _writes(p: ListAttributes) -> Columns:
    return {"task_id": row_id, **dict.fromkeys(p.attributes, text)}


def _check(p: ListAttributes, using: Mapping[str, Any]) -> list[str]:
    try:
        p.lists()
    except InputError as error:
        return [str(error)]
    return []


@operator("source", version="1", key="task_id", items=_items, writes=_writes, check=_check)
def list_attributes(item: Item, p: ListAttributes) -> Iterator[Outcome]:
    """``rows`` rows; `task_id` = hash(seed, number, what was drawn)."""
    sampler = Sampler(p.lists(), p.seed)
    for start in range(0, p.rows, SLICE):
        numbers = range(start, min(start + SLICE, p.rows))
        drawn = [sampler.draw(n) for n in numbers]
        keys = [content_id(str(p.seed), str(n), *(d[k] for k in sorted(d))) for n, d in zip(numbers, drawn, strict=True)]
        columns = {name: pa.array([d[name] for d in drawn], text) for name in p.attributes}
        yield Outcome(pa.table({"task_id": pa.array(keys, row_id), **columns}), seen=len(drawn))


def example(folder: Path) -> ListAttributes:
    """Four rows of E5-mistral's placeholders, the clarity from a file, English twice as often."""
    (folder / "clarity.txt").write_text("clear\nunderstandable with some effort\nambiguous\n")
    types, languages = ["extremely long-tail", "long-tail", "common"], {"English": 2.0, "Dutch": 1.0}
    lists: dict[str, Values] = {"query_type": types, "clarity": "clarity.txt", "language": languages}
    return ListAttributes(rows=4, attributes=lists, path=str(folder))
