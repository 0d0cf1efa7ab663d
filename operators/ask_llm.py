"""Ask an LLM about each row: a prompt file says what is asked and what comes back, `writes` where it goes.

Published recipes are this operator with their prompts: E5-mistral (arXiv:2401.00368), Gecko (arXiv:2403.20327),
KaLM (arXiv:2501.01028), contrast negatives, paraphrases, rewriting, translation, labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, WithJsonSchema, field_validator, model_validator

from operators import columns
from operators.answers import CUT_OFF, NOT_SCHEMA, parse_json, parse_line, parse_lines, parse_text, spoken
from operators.contract import (
    Columns,
    Example,
    Needs,
    Outcome,
    Params,
    flag,
    ids,
    operator,
    outcome_of,
    row_id,
    score,
    text,
    texts,
)
from operators.engines.llm import LLM, Answer, Request, Sampling
from operators.generate_queries import cut_at_word
from operators.mended_json import whole_characters
from operators.template import ANSWER, Template, asking_faults

_TYPES = {"string": text, "number": score, "integer": score, "boolean": flag}
_TOLD = {"raw": text, "generator": text, "repaired": flag}
_IDS = {"query_id": ("query", "instruction"), "passage_id": ("title", "passage")}  # content id → of what
_EMPTY = "empty answer"
_HIGHEST = 1e38  # of a number: float32 holds it
_WRITTEN = {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}]}


class AskLlm(Params):
    """What is asked about a row, and where the answer goes.

    Where ``query`` is written, `query_id` is made anew, and `positive_ids` of the row's `passage_id` if ``row`` is
    that or ``passage`` is written too; where ``passage`` is written, `passage_id`. Columns that an id is taken of
    count only if they are written or shown; others are "". ``identify`` says it otherwise.
    """

    prompt: Annotated[Template, WithJsonSchema({"type": "string", "description": "a prompt file"})]
    writes: Annotated[dict[str, str], WithJsonSchema(_WRITTEN)] = Field(
        min_length=1, description="field of the answer: column; of an answer without fields the column"
    )
    row: str = Field(default="query_id", min_length=1, description="the id that seeds a row's answer")
    constant: dict[str, str] = Field(default={}, description="column: the text that every row gets, as its query_type")
    lists: list[str] = Field(default=[], description="placeholders whose column holds lists of texts: shown one a line")
    identify: dict[str, list[str]] = Field(
        default={}, description='id column: the columns that it is the hash of; "" is an empty one'
    )
    max_tokens: int = Field(default=256, ge=1, description="of an answer")
    temperature: float = Field(default=0.8, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_chars: int | None = Field(default=None, ge=1, description="of each column that the model is shown")
    max_column_tokens: int | None = Field(default=1024, ge=1, description="the same in the model's own tokens; cuts are counted")
    seed: int = Field(default=0, ge=0)

    @field_validator("writes", mode="before")
    @classmethod
    def one_column(cls, value: Any) -> Any:
        """A lone column's name, of an answer that has no fields."""
        return {ANSWER: value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def can_be_written(self) -> Self:
        """Refuse fields that the answer lacks, and columns that would be written twice."""
        fields = self.prompt.fields
        for name in self.writes:
            if name not in fields:
                hint = "write one column's name" if self.prompt.answer != "json" else f"it has {', '.join(fields)}"
                raise ValueError(f"writes.{name}: the answer has no such field; {hint}")
            if _kind(fields[name]) is None:
                raise ValueError(
                    f"writes.{name}: the schema must say its type: string, number, integer, boolean or a list of string"
                )
        made = [*self.writes.values(), *self.constant, *_TOLD, *(["item"] if self.prompt.many else [])]
        twice = sorted({c for c in made if made.count(c) > 1 or c == self.row or c == "_row"})
        if twice:
            raise ValueError(f"writes: {twice[0]!r} is taken; name another column")
        if unknown := sorted(set(self.lists) - set(self.prompt.columns)):
            raise ValueError(f"lists: the prompt has no placeholder {{{unknown[0]}}}")
        texts_only = {c: k for c, k in _made(self).items() if k != text}
        for key, of in self.identified().items():
            if key in made or any(c in texts_only or c in self.lists for c in of):
                raise ValueError(f"identify.{key}: an id is a column of its own, the hash of columns that hold one text a row")
        return self

    def identified(self) -> dict[str, list[str]]:
        """Id column → the columns that it is the hash of, "" for an empty one."""
        written = {*self.writes.values(), *self.constant}
        have = {*written, *self.prompt.columns} - set(self.lists)
        own = {"query_id": "query", "passage_id": "passage"}
        usual = {k: [c if c in have else "" for c in _IDS[k]] for k, c in own.items() if c in self.writes.values()}
        return {**usual, **self.identify}

    def has_positive(self) -> bool:
        """Whether a written query has a passage of its own: the one that it was asked about, or one written with it."""
        return "query" in self.writes.values() and (self.row == "passage_id" or "passage_id" in self.identified())


def _kind(schema: Any) -> pa.DataType | None:
    said = schema.get("type") if isinstance(schema, dict) else None
    said = next((s for s in said if s != "null"), None) if isinstance(said, list) else said
    if said == "array":
        return texts if _kind(schema.get("items")) == text else None
    return _TYPES.get(str(said))


def _made(p: AskLlm) -> dict[str, pa.DataType]:
    fields = p.prompt.fields
    return {column: kind for name, column in p.writes.items() if (kind := _kind(fields[name]))}


def _reads(p: AskLlm) -> Columns:
    shown = {c: texts if c in p.lists else text for c in p.prompt.columns}
    hashed = {c for of in p.identified().values() for c in of if c} - set(_made(p)) - set(p.constant)
    return {p.row: row_id, **shown, **{c: text for c in sorted(hashed)}}


def _writes(p: AskLlm) -> Columns:
    named = {**_made(p), **dict.fromkeys(p.constant, text), **_TOLD}
    keys = {**dict.fromkeys(p.identified(), row_id), **({"positive_ids": ids} if p.has_positive() else {})}
    return {**named, **keys, **({"item": pa.int32()} if p.prompt.many else {})}


def _check(p: AskLlm, using: Mapping[str, Any]) -> list[str]:
    return asking_faults("ask_llm", p.prompt.chat, p.prompt.fixed, p.max_tokens, using.get("llm"))


@operator(
    "map", version="2", reads=_reads, writes=_writes, needs=Needs(batch_rows=65536), check=_check,
    calls=lambda p, models: {"": 1},
)  # fmt: skip
def ask_llm(table: pa.Table, p: AskLlm, *, llm: LLM) -> Outcome:
    """One request a row; one row out, or one an item. A row without a usable answer is a reject with the raw answer."""
    requests = _requests(table, p, llm)
    sampling = Sampling(p.max_tokens, p.temperature, p.top_p, p.prompt.ends, p.prompt.schema_text)
    answers = llm.complete(requests, sampling)
    found: list[_Found] = []
    faults: dict[int, tuple[str, str]] = {}
    schema = p.prompt.schema
    for i, answer in enumerate(answers):
        values, repaired, fault = _parsed(answer, p, schema)
        fault = fault or _missing(values, p)
        if fault:
            faults[i] = (fault, whole_characters(answer.text))
        else:
            found += [_Found(i, n, value, whole_characters(answer.text), repaired) for n, value in enumerate(values)]
    return outcome_of(table, _table(table, found, p, llm.name), faults)


@dataclass(frozen=True, slots=True)
class _Found:
    row: int  # in the table
    item: int  # in the answer
    fields: Mapping[str, Any]
    raw: str
    repaired: bool


def _requests(table: pa.Table, p: AskLlm, llm: LLM) -> list[Request]:
    names, keys, requests = p.prompt.columns, table[p.row].to_pylist(), []
    shown = {name: _shown(table[name].to_pylist(), p, llm) for name in names}
    for i, key in enumerate(keys):
        values = {name: shown[name][i] for name in names}
        system, prompt, shared = p.prompt.asked(values, columns.row_seed(p.seed, key, "shots"))
        seed = columns.row_seed(p.seed, key)
        requests.append(Request(prompt, seed, key.hex(), p.prompt.chat, system, shared))
    return requests


def _shown(values: Sequence[str | Sequence[str]], p: AskLlm, llm: LLM) -> list[str]:
    """A column's texts, cut; what many rows show, as a passage of several queries, is cut once."""
    whole = [_one_text(value, p) for value in values]
    if p.max_column_tokens is None:
        return whole
    cut = {shown: llm.cut(shown, p.max_column_tokens).rstrip() for shown in dict.fromkeys(whole)}
    return [cut[shown] for shown in whole]


def _one_text(value: str | Sequence[str], p: AskLlm) -> str:
    """A row's text: in a chat with its lines, in a completion on one, since a line break ends its few-shots."""
    most = p.max_chars
    if not isinstance(value, str):
        value = "\n".join(f"- {cut_at_word(item, most)}" for item in value)
        return value if most is None or len(value) <= most else value[: most + 1].rpartition("\n")[0]
    if not p.prompt.chat:
        return cut_at_word(value, most)
    whole = value.strip()
    if most is None or len(whole) <= most:
        return whole
    head = whole[: most + 1]
    return (head.rsplit(None, 1)[0] if len(head.split(None, 1)) > 1 else head)[:most].rstrip()


def _parsed(answer: Answer, p: AskLlm, schema: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool, str]:
    """Fields of each row that an answer gives; whether it was repaired; why there is none.

    Of lines that are cut off the last is dropped, of JSON what was whole by then counts, a text is a fault.
    """
    if answer.fault:
        return [], False, answer.fault
    cut, kind = answer.finish == "length", p.prompt.answer
    if kind == "json":
        value, repaired, fault = parse_json(answer.text, schema, cut)
        given = value[p.prompt.item] if not fault and p.prompt.item in (value or {}) else [] if p.prompt.item else [value]
        return [v if isinstance(v, dict) else {ANSWER: v} for v in given], repaired, fault
    said = spoken(answer.text)
    if cut and kind != "text":
        said = said.rpartition("\n")[0]
    if cut and (kind == "text" or not said.strip()):
        return [], False, CUT_OFF
    lines = parse_lines(said) if kind == "lines" else [parse_line(said) if kind == "line" else parse_text(said)]
    return [{ANSWER: line} for line in lines], False, ""


def _missing(values: Sequence[Mapping[str, Any]], p: AskLlm) -> str:
    """Why a parsed answer is none: a field that is written is not there, or says nothing."""
    for value in values:
        for name in p.writes:
            said = value.get(name)
            if name not in value or isinstance(said, int | float) and not abs(said) < _HIGHEST:
                return NOT_SCHEMA
            inner = said if isinstance(said, list) else [said]
            if not inner or any(v is None or isinstance(v, str) and not any(map(str.isalnum, v)) for v in inner):
                return _EMPTY
    return "" if values else _EMPTY


def _table(table: pa.Table, found: Sequence[_Found], p: AskLlm, generator: str) -> pa.Table:
    rows = len(found)
    wide = table.take(pa.array([f.row for f in found], pa.int64()))
    kinds = _made(p)
    made: dict[str, pa.Array] = {}
    for name, column in p.writes.items():
        values = [f.fields[name] for f in found]
        if kinds[column] == text:
            values = [v.strip() for v in values]
        elif kinds[column] == score:  # Arrow refuses whole numbers that float32 must round
            values = [float(v) for v in values]
        made[column] = pa.array(values, kinds[column])
    made |= {name: pa.array([value] * rows, text) for name, value in p.constant.items()}
    made |= {"raw": pa.array([f.raw for f in found], text), "generator": pa.array([generator] * rows, text)}
    made["repaired"] = pa.array([f.repaired for f in found], flag)
    if p.prompt.many:
        made["item"] = pa.array([f.item for f in found], pa.int32())
    for name, values in made.items():
        wide = columns.put(wide, name, values)
    fresh = {k: columns.content_ids(*(wide[c].to_pylist() if c else [""] * rows for c in of)) for k, of in p.identified().items()}
    for name, values in fresh.items():
        wide = columns.put(wide, name, values)
    if p.has_positive():
        owner = wide["passage_id"].combine_chunks()
        wide = columns.put(wide, "positive_ids", columns.lists(np.arange(rows + 1), owner))
    return wide


def example() -> Example:
    """Three passages and the packaged model: a search query each, from few-shots."""
    from operators.engines import load_model, packaged

    words = [
        "Rsync copies only the parts of a file that changed, over ssh.",
        "Glaciers carve valleys with a round bottom, rivers carve narrow ones.",
        "Vitamin C is destroyed by long cooking.",
    ]
    table = pa.table({"passage_id": columns.content_ids([""] * 3, words), "passage": pa.array(words, text)})
    prompt = Template.model_validate("web_query.md").model_copy(update={"answer": "line"})
    params = AskLlm(prompt=prompt, writes={ANSWER: "query"}, row="passage_id", max_tokens=12)
    return Example(table, params, {"llm": load_model("llm", packaged("llm"))})
