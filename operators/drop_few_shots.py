"""Drop rows whose query, or whose whole passage, repeats a few-shot of the prompt that wrote them.

Small models hand a prompt's examples back; CADET (arXiv:2505.19274) and E5-mistral (arXiv:2401.00368) drop what is not new.
"""

from collections.abc import Sequence
from typing import Annotated

import pyarrow as pa
from pydantic import Field, WithJsonSchema

from operators import columns
from operators.contract import Columns, Example, Outcome, Params, operator, outcome_of, text
from operators.template import Template

REPEATS = "repeats a few-shot example"
SHORT, LONG = 12, 40  # characters from which a query, and a passage, stands in a prompt by no chance; a label is shorter
PromptFiles = list[Annotated[Template, WithJsonSchema({"type": "string", "description": "a prompt file"})]]


class DropFewShots(Params):
    """Which columns are looked at, and the prompts that wrote them."""

    prompts: PromptFiles = Field(min_length=1)
    query: str = Field(default="query", min_length=1)
    passages: list[str] = Field(default=[], description="columns of whole passages, that were written too")


def _reads(p: DropFewShots) -> Columns:
    return dict.fromkeys([p.query, *p.passages], text)


@operator("map", version="1", reads=_reads, rows="fewer")
def drop_few_shots(table: pa.Table, p: DropFewShots) -> Outcome:
    """N rows: those that say something of their own, as they are."""
    shown = few_shots(p.prompts)
    told = zip(*(table[name].to_pylist() for name in (p.query, *p.passages)), strict=True)
    faults = {i: (REPEATS, again) for i, (query, *rest) in enumerate(told) if (again := repeated(query, rest, shown))}
    return outcome_of(table, table.take(pa.array([i for i in range(len(table)) if i not in faults], pa.int64())), faults)


def few_shots(prompts: Sequence[Template]) -> list[str]:
    """What each prompt shows whatever its row, as `repeated` compares it."""
    return [_folded(prompt.fixed) for prompt in prompts]


def repeated(query: str, passages: Sequence[str], shown: Sequence[str]) -> str:
    """The text that stands in a prompt; empty where none does."""
    held = [(query, SHORT), *((passage, LONG) for passage in passages)]
    return next((t for t, least in held if len(f := _folded(t)) >= least and any(f in prompt for prompt in shown)), "")


def _folded(value: str) -> str:
    return columns.normalise(value).casefold()


def example() -> Example:
    """Three queries: one of its own, one of the prompt, a short one."""
    prompt = Template(text="Passage: Owls hunt.\nQuery: do owls hunt at night\n\nPassage: {passage}\nQuery:")
    rows = pa.array(["why does iron rust", "Do owls hunt  at night", "owls"], text)
    return Example(pa.table({"query": rows}), DropFewShots(prompts=[prompt]))
