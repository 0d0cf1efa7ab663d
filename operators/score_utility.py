"""Score how much a passage helps a model to answer: the answer's log-probability with the passage less that without.

LLM-Embedder (arXiv:2310.07554, section 3.1) and ULLME (arXiv:2408.03402) train retrievers on such scores. Per token of
the answer, in nats: above 0 the passage helps.
"""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, WithJsonSchema, model_validator

from operators import columns
from operators.content import indexed, told
from operators.contract import Columns, Example, Needs, Outcome, Params, ids, operator, outcome_of, scores, text
from operators.engines.llm import LLM, Answer, behind
from operators.index_texts import Texts
from operators.template import Template

Prompt = Annotated[Template, WithJsonSchema({"type": "string", "description": "a prompt file without chat"})]
SHOWN = "passage"  # the placeholder of a candidate's text


class ScoreUtility(Params):
    """The two prompts, how far down the candidates, and the columns."""

    prompt: Prompt = Field(description="what the answer goes on from; {passage} is the candidate with its title")
    without: Prompt = Field(description="the same without {passage}")
    answer: str = Field(default="answer", min_length=1, description="the column of the right answer")
    max_candidates: int = Field(default=20, ge=1, description="the first so many are scored, the rest stay null")
    max_column_tokens: int = Field(default=512, ge=1, description="of a passage, in the model's own tokens")
    scores: str = Field(default="utility_scores", min_length=1, description="of the candidates")
    positives: str = Field(default="utility_positives", min_length=1, description="of the positives")

    @model_validator(mode="after")
    def _a_pair_of_prompts(self) -> Self:
        for name, prompt, shown in (("prompt", self.prompt, True), ("without", self.without, False)):
            if prompt.chat or prompt.answer == "json":
                raise ValueError(f"{name}: the answer goes on from it, so use one without chat and schema")
            if (SHOWN in prompt.columns) != shown:
                raise ValueError(f"{name}: it must {'show' if shown else 'not show'} {{{SHOWN}}}, which is what is measured")
            if self.answer in prompt.columns:
                raise ValueError(f"{name}: it shows {{{self.answer}}}, which is what is scored")
        columns.apart(scores=self.scores, positives=self.positives)
        return self


def _shown_of(p: ScoreUtility) -> set[str]:
    return {"query", *p.prompt.columns, *p.without.columns} - {SHOWN}


def _reads(p: ScoreUtility) -> Columns:
    return {p.answer: text, "positive_ids": ids, "candidate_ids": ids, **dict.fromkeys(sorted(_shown_of(p)), text)}


@operator(
    "map", version="1", reads=_reads, writes=lambda p: {p.scores: scores, p.positives: scores}, rows="fewer",
    needs=Needs(batch_rows=4096), calls=lambda p, models: {"": 1 + p.max_candidates, "positive_ids": 1},
)  # fmt: skip
def score_utility(table: pa.Table, p: ScoreUtility, *, llm: LLM, texts: Texts) -> Outcome:
    """Add the scores of candidates and positives, aligned to their ids; a row with a fault is a reject with its reason.

    A passage that no call could score, as it is too long for the window, has null; one call is made a distinct prompt.
    """
    positives, candidates = (table[c].to_pylist() for c in ("positive_ids", "candidate_ids"))
    asked = [[*own, *found[: p.max_candidates]] for own, found in zip(positives, candidates, strict=True)]
    passages = {i: llm.cut(one, p.max_column_tokens) for i, one in told(texts, chain(*asked)).items()}
    rows, answers = table.select(sorted(_shown_of(p))).to_pylist(), [a.strip() for a in table[p.answer].to_pylist()]
    plain = [(p.without.asked(values, 0)[1], answer) for values, answer in zip(rows, answers, strict=True)]
    both = zip(asked, rows, answers, strict=True)
    helped = [(p.prompt.asked({**values, SHOWN: passages[i]}, 0)[1], answer) for row, values, answer in both for i in row]
    found = _likelihoods([*plain, *helped], llm)
    return _outcome(table, p, asked, found[: len(plain)], found[len(plain) :])


def _likelihoods(pairs: Sequence[tuple[str, str]], llm: LLM) -> list[Answer]:
    """An answer for each (prompt, answer), every distinct pair asked once."""
    distinct = list(dict.fromkeys(pairs))
    found = llm.likelihood([q for q, _ in distinct], [behind(q, a) for q, a in distinct])
    known = dict(zip(distinct, found, strict=True))
    return [known[pair] for pair in pairs]


def _outcome(
    table: pa.Table, p: ScoreUtility, asked: Sequence[Sequence[bytes]], plain: Sequence[Answer], helped: Sequence[Answer]
) -> Outcome:
    ends = np.cumsum([0, *map(len, asked)])
    base, value = (np.array([np.nan if a.fault else float(a.text) for a in said], np.float64) for said in (plain, helped))
    gain = (value - np.repeat(base, np.diff(ends))).astype(np.float32)
    faults: dict[int, tuple[str, str]] = {i: (a.fault, "") for i, a in enumerate(plain) if a.fault}
    owners, _ = columns.flat(table["positive_ids"])
    sizes, rows = np.diff(owners), dict[str, list[Any]]({p.positives: [], p.scores: []})
    each = zip(pairwise(ends), sizes, table["candidate_ids"].to_pylist(), strict=True)
    for i, ((start, end), count, found) in enumerate(each):
        own, rest = gain[start : start + count], gain[start + count : end]
        if np.isnan(own).any() and i not in faults:
            faults[i] = (next(a.fault for a in helped[start : start + count] if a.fault), "a positive has no score")
        rows[p.positives].append(_nulls(own))
        rows[p.scores].append(_nulls(rest) + [None] * (len(found) - len(rest)))
    kept = np.array([i not in faults for i in range(len(table))], bool)
    out = table
    for name, values in rows.items():
        out = columns.put(out, name, pa.array(values, scores))
    return outcome_of(table, out.filter(pa.array(kept)), faults)


def _nulls(values: Any) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]


def example() -> Example:
    """Two questions with their short answers, each over a passage that holds it and one that does not; an empty answer."""
    from operators.engines import load_model, packaged

    words = ["Owls hunt mice at night.", "Bread needs yeast to rise.", "Iron rusts in rain."]
    key, texts = indexed(words)
    table = pa.table({
        "query": pa.array(["When do owls hunt?", "What does bread need to rise?", "What rusts?"], text),
        "answer": pa.array(["at night", "yeast", ""], text),
        "positive_ids": pa.array([[key[0]], [key[1]], [key[2]]], ids),
        "candidate_ids": pa.array([[key[1], key[0]], [key[2]], []], ids),
    })  # fmt: skip
    p = ScoreUtility.model_validate({"prompt": "answer_with_passage.md", "without": "answer.md", "max_candidates": 1})
    return Example(table, p, {"llm": load_model("llm", packaged("llm")), "texts": texts})
