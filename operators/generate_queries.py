"""Ask an LLM for queries of several types that a passage answers (CADET, arXiv:2505.19274).

A mix of types (question, claim, title, keywords, web query) trains better than any one of them.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Example, Needs, Params, ids, operator, row_id, text
from operators.engines.llm import LLM, Request, Sampling
from operators.prompt import PromptFile, default_prompts
from operators.template import asking_faults

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "「": "」", "`": "`", "*": "*"}
_WRITES = {
    "query_id": row_id, "query": text, "query_type": text, "instruction": text, "generator": text,
    "positive_ids": ids, "raw": text, "fault": text,
}  # fmt: skip


class GenerateQueries(Params):
    """What is asked of each passage."""

    prompts: dict[str, PromptFile] = Field(default_factory=default_prompts, min_length=1, description="query type: prompt file")
    instructions: dict[str, str] = Field(default={}, description="query type: the instruction stored with its queries")
    per_passage: int = Field(default=2, ge=1, description="queries a passage; their types are drawn evenly")
    temperature: float = Field(default=0.8, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=32, ge=1, description="of an answer")
    max_chars: int | None = Field(default=None, ge=1, description="of the passage that the model is shown")
    max_passage_tokens: int | None = Field(default=1024, ge=1, description="the same in the model's own tokens; cuts are counted")
    shots: int | None = Field(default=None, ge=0, description="few-shots drawn for each query of the prompt's; all if not said")
    seed: int = Field(default=0, ge=0)


def _check(p: GenerateQueries, using: Mapping[str, Any]) -> list[str]:
    asked = [(prompt.chat, prompt.text, p.max_tokens) for prompt in p.prompts.values()]
    found = [asking_faults("generate_queries", *a, using.get("llm")) for a in asked]
    return list(dict.fromkeys(fault for faults in found for fault in faults))


@operator(
    "map", version="3", reads={"passage_id": row_id, "title": text, "passage": text}, writes=_WRITES,
    needs=Needs(batch_rows=65536), calls=lambda p, models: {"": p.per_passage}, check=_check,
)  # fmt: skip
def generate_queries(table: pa.Table, p: GenerateQueries, *, llm: LLM) -> pa.Table:
    """N passages in, N × per_passage queries out, in input order.

    An answer that is empty, cut off or missing stays as a row, its reason in ``fault``: `clean_queries` rejects it.
    """
    wide = columns.repeat(table, p.per_passage)
    keys = wide["passage_id"].to_pylist()
    types = [t for key in table["passage_id"].to_pylist() for t in drawn_types(key, p)]
    cut = [_shown(passage, p, llm) for passage in table["passage"].to_pylist()]
    shown = [passage for passage in cut for _ in range(p.per_passage)]
    rows = zip(keys, types, shown, wide["title"].to_pylist(), strict=True)
    requests = [_request(p, i, *row) for i, row in enumerate(rows)]
    answers = llm.complete(requests, Sampling(p.max_tokens, p.temperature, p.top_p, ("\n",)))
    queries = [first_line(answer.text) for answer in answers]
    told = [p.instructions.get(t, "") for t in types]
    made = {
        "query_id": columns.content_ids(queries, told), "query": pa.array(queries, text), "query_type": pa.array(types, text),
        "instruction": pa.array(told, text), "generator": pa.array([llm.name] * len(answers), text),
        "positive_ids": pa.array([[k] for k in keys], ids), "raw": pa.array([a.text for a in answers], text),
        "fault": pa.array([a.fault or ("answer cut off" if a.finish == "length" else "") for a in answers], text),
    }  # fmt: skip
    for name, values in made.items():
        wide = columns.put(wide, name, values)
    return wide


def _shown(passage: str, p: GenerateQueries, llm: LLM) -> str:
    shown = cut_at_word(passage, p.max_chars)
    return shown if p.max_passage_tokens is None else llm.cut(shown, p.max_passage_tokens).rstrip()


def _request(p: GenerateQueries, place: int, key: bytes, kind: str, shown: str, title: str) -> Request:
    prompt, turn = p.prompts[kind], place % p.per_passage
    if p.shots is not None:
        prompt = prompt.drawn(p.shots, columns.row_seed(p.seed, key, kind, turn, "shots"))
    seed = columns.row_seed(p.seed, key, kind, turn)
    return Request(prompt.render(shown, title), seed, key.hex(), prompt.chat, prompt.system, len(prompt.prefix))


def drawn_types(passage_id: bytes, p: GenerateQueries) -> list[str]:
    """The types asked of a passage: a shuffle of all by the passage's own seed, from its start on."""
    order = sorted(p.prompts, key=lambda name: columns.row_seed(p.seed, passage_id, name))
    return [order[i % len(order)] for i in range(p.per_passage)]


def cut_at_word(passage: str, most: int | None) -> str:
    """The passage on one line, cut at the last word that ends within ``most`` characters."""
    # A line break would end the few shot that the passage stands in.
    line = " ".join(passage[: None if most is None else 2 * most + 1].split())
    if most is None or len(line) <= most:
        return line
    return line[: most + 1].rsplit(" ", 1)[0][:most] if " " in line[: most + 1] else line[:most]


def first_line(answer: str) -> str:
    """The first line that says something, without the quotes that wrap it."""
    line = next((found for line in answer.splitlines() if (found := line.strip())), "")
    while len(line) > 1 and _QUOTES.get(line[0]) == line[-1]:
        line = line[1:-1].strip()
    return columns.normalise(line)


def example() -> Example:
    """Three passages, with the packaged model."""
    from operators.engines import load_model, packaged

    words = [
        "Rsync copies only the parts of a file that changed, over ssh.",
        "Glaciers carve valleys with a round bottom, rivers carve narrow ones.",
        "Vitamin C is destroyed by long cooking.",
    ]
    table = pa.table({"title": pa.array(["rsync", "", ""], text), "passage": pa.array(words, text)})
    table = table.append_column("passage_id", columns.content_ids(["rsync", "", ""], words))
    return Example(table, GenerateQueries(max_tokens=12), {"llm": load_model("llm", packaged("llm"))})
