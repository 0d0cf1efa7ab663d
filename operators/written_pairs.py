"""Take the pairs that an LLM wrote whole, query and passage and negative, for a training set: texts become ids.

E5-mistral (arXiv:2401.00368) asks for one JSON example a task; Nemotron (arXiv:2511.07025) for a text, its label and a
misleading label. Answers that repeat a prompt's example, or one text in two roles, teach nothing and are rejected.
"""

from typing import Literal

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Outcome, Params, ids, operator, outcome_of, row_id, text
from operators.drop_few_shots import REPEATS, PromptFiles, few_shots, repeated
from operators.template import Template


class WrittenPairs(Params):
    """Which columns hold what was written, and what the rows are said to be."""

    negative: str = Field(default="negative", description="the column of the written negative; empty: none was written")
    into: Literal["negative_ids", "candidate_ids"] = Field(default="negative_ids", description="candidate_ids: to be scored")
    source: str = Field(default="written", min_length=1, description="the source that the rows get")
    licence: str = Field(default="", description="the licence that the rows get")
    prompts: PromptFiles = Field(default=[], description="repeats of their few-shots are rejected")


def _reads(p: WrittenPairs) -> Columns:
    return {"query": text, "instruction": text, "passage": text, **({p.negative: text} if p.negative else {})}


def _writes(p: WrittenPairs) -> Columns:
    fixed = {"query_id": row_id, "passage_id": row_id, "positive_ids": ids, "source": text, "licence": text, "title": text}
    return {**fixed, **({p.into: ids, "negative_id": row_id} if p.negative else {})}


@operator("map", version="2", reads=_reads, writes=_writes, rows="fewer")
def written_pairs(table: pa.Table, p: WrittenPairs) -> Outcome:
    """N examples: those that say three different things, with ids of their texts; `list_texts` gives the texts."""
    names = ["query", "instruction", "passage", *([p.negative] if p.negative else [])]
    told = [table[name].to_pylist() for name in names]
    shown = few_shots(p.prompts)
    faults = {i: why for i, row in enumerate(zip(*told, strict=True)) if (why := _fault(row, shown))}
    kept = table.take(pa.array([i for i in range(len(table)) if i not in faults], pa.int64()))
    empty = pa.array([""] * len(kept), text)
    kept = columns.put(kept, "title", empty)
    for name, value in (("source", p.source), ("licence", p.licence)):
        kept = columns.put(kept, name, pa.array([value] * len(kept), text))
    owner = columns.content_ids(empty.to_pylist(), kept["passage"].to_pylist())
    kept = columns.put(kept, "query_id", columns.content_ids(kept["query"].to_pylist(), kept["instruction"].to_pylist()))
    kept = columns.put(kept, "passage_id", owner)
    kept = columns.put(kept, "positive_ids", pa.array([[one] for one in owner.to_pylist()], ids))
    if p.negative:
        other = columns.content_ids(empty.to_pylist(), kept[p.negative].to_pylist())
        kept = columns.put(kept, "negative_id", other)
        kept = columns.put(kept, p.into, pa.array([[one] for one in other.to_pylist()], ids))
    return outcome_of(table, kept, faults)


def _fault(row: tuple[str, ...], shown: list[str]) -> tuple[str, str] | None:
    query, _, *passages = (columns.normalise(value).casefold() for value in row)
    if not query or not all(passages):
        return "empty text", row[0]
    if query in passages:
        return "the query is its passage", row[0]
    if len(set(passages)) < len(passages):
        return "the negative is the positive", row[2]
    again = repeated(query, passages, shown)
    return (REPEATS, again) if again else None


def example() -> Example:
    """Five examples: one is good, one has one passage in two roles, one copies, one is empty, one repeats the prompt."""
    prompt = Template(text='Task: find\nExample: {"query": "do owls hunt at night"}\n\nTask: {instruction}\nExample:')
    query = ["why does iron rust", "how do owls hunt", "ships", "", "Do owls hunt at night"]
    rows = {
        "query": pa.array(query, text), "instruction": pa.array(["find"] * 5, text),
        "passage": pa.array(["Iron reacts with water.", "By ear.", "Ships", "Nothing.", "They do."], text),
        "negative": pa.array(["Copper turns green.", "By Ear.", "Boats", "None.", "They do not."], text),
    }  # fmt: skip
    return Example(pa.table(rows), WrittenPairs(prompts=[prompt]))
