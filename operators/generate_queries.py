"""Ask an LLM for queries of several types that a passage answers (CADET, arXiv:2505.19274; C02).

Few-shot and completion-style: a small model then writes queries, where with chat prompts it copies the
passage. Sampling is seeded by (seed, passage, type, copy), so no cut and no order changes an answer.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.columns import content_ids, put, repeat, row_seed
from operators.contract import Example, Needs, Params, ids, operator, row_id, text
from operators.engines.llm import LLM
from operators.prompt import Prompt

TYPES = ("question", "keywords", "claim", "title", "web_query")
Prompts = dict[str, Prompt]


def default_prompts() -> Prompts:
    """The packaged prompts, one a query type."""
    return {name: Prompt.model_validate(f"{name}.md") for name in TYPES}


class GenerateQueries(Params):
    """CADET: temperature 0.8, at most 2,048 characters of the passage, queries below 20 words."""

    prompts: Prompts = Field(default_factory=default_prompts, min_length=1)  # query type → file
    per_passage: int = Field(default=2, ge=1)  # types go round, from a place that the passage's id draws
    temperature: float = Field(default=0.8, ge=0)
    max_tokens: int = Field(default=28, ge=1)
    max_chars: int = Field(default=1200, ge=1)  # of a passage; cut at a word
    instruction: str = ""
    seed: int = 0


WRITES = {**dict.fromkeys(("query", "raw", "query_type", "instruction", "generator"), text), "query_id": row_id, "positive_ids": ids}


@operator("map", version="1", reads={"passage_id": row_id, "title": text, "passage": text}, writes=WRITES,
          calls=lambda p: p.per_passage, needs=Needs(batch_rows=256))  # fmt: skip
def generate_queries(table: pa.Table, p: GenerateQueries, *, llm: LLM) -> pa.Table:
    """N passages in, N × per_passage rows out, in input order; ``raw`` is the whole answer."""
    wide = repeat(table, p.per_passage)
    passages = wide["passage_id"].to_pylist()
    kinds = [_type(p, one, i % p.per_passage) for i, one in enumerate(passages)]
    prompts = [p.prompts[k].render(_cut(t, v, p.max_chars)) for k, t, v in
               zip(kinds, wide["title"].to_pylist(), wide["passage"].to_pylist(), strict=True)]  # fmt: skip
    seeds = [row_seed(p.seed, one, k, i % p.per_passage) for i, (one, k) in enumerate(zip(passages, kinds, strict=True))]
    heads = [p.prompts[k].prefix for k in kinds]
    raw = llm.complete(prompts, seeds, max_tokens=p.max_tokens, temperature=p.temperature, stop=("\n",), prefixes=heads)
    queries = [first_line(r) for r in raw]
    count = len(wide)
    columns = {"query": queries, "raw": raw, "query_type": kinds, "instruction": [p.instruction] * count, "generator": [llm.name] * count}
    for name, values in columns.items():
        wide = put(wide, name, pa.array(values, text))
    wide = put(wide, "query_id", content_ids(queries, columns["instruction"]))
    offsets = pa.array(np.arange(count + 1, dtype=np.int32))
    return put(wide, "positive_ids", pa.ListArray.from_arrays(offsets, wide["passage_id"].combine_chunks().cast(row_id)))


def _type(p: GenerateQueries, passage: bytes, copy: int) -> str:
    names = sorted(p.prompts)
    return names[(row_seed(p.seed, passage) + copy) % len(names)]


def _cut(title: str, passage: str, most: int) -> str:
    whole = " ".join(f"{title}. {passage}".split() if title else passage.split())
    return whole if len(whole) <= most else whole[:most].rsplit(" ", 1)[0]


def first_line(answer: str) -> str:
    """The first line of an answer that says something, without quotes around it."""
    line = next((x.strip() for x in answer.splitlines() if x.strip()), "")
    for a, b in (('"', '"'), ("'", "'"), ("“", "”"), ("`", "`")):
        if len(line) > 1 and line[0] == a and line[-1] == b:
            line = line[1:-1].strip()
    return line


def shots_of(prompts: Mapping[str, Prompt]) -> set[str]:
    """The few-shot queries of all prompts, folded."""
    return {" ".join(s.lower().split()) for p in prompts.values() for s in p.shots}


def example() -> Example:
    """Three passages, two queries each."""
    from operators.engines import load_model, packaged

    passages = ["Ice melts above zero degrees Celsius.", "Iron rusts where water and oxygen reach it.", "Coal is mined from seams."]
    table = pa.table({
        "passage_id": content_ids([""] * 3, passages), "title": pa.array(["Ice", "", ""], text), "passage": pa.array(passages, text),
    })  # fmt: skip
    llm = load_model("llm", packaged("llm"))
    return Example(table, GenerateQueries(max_tokens=6), {"llm": llm})
