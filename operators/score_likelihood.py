"""Score how likely the model finds each query that it wrote: the mean log-probability given the query's prompt.

InPars (arXiv:2202.05144) keeps the tenth of its queries with the highest one.
"""

from typing import Annotated, Self

import pyarrow as pa
from pydantic import Field, WithJsonSchema, model_validator

from operators import columns
from operators.ask_llm import AskLlm, _requests  # the prompt must be the one that was asked
from operators.contract import Columns, Example, Needs, Outcome, Params, operator, reject, row_id, score, text
from operators.engines.llm import LLM, behind
from operators.template import ANSWER, Template


class ScoreLikelihood(Params):
    """The prompt, and the rest as the step that asked has it."""

    prompt: Annotated[Template, WithJsonSchema({"type": "string", "description": "the prompt file that was asked"})]
    column: str = Field(default="query", min_length=1, description="the column of the answers")
    row: str = Field(default="passage_id", min_length=1, description="the id that seeded a row's answer")
    max_chars: int | None = Field(default=None, ge=1, description="of each column that the model is shown")
    max_column_tokens: int | None = Field(default=1024, ge=1, description="the same in the model's own tokens; cuts are counted")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def goes_on_from_a_text(self) -> Self:
        """Refuse prompts whose answer is not what goes on from them."""
        if self.prompt.chat or self.prompt.answer == "json":
            raise ValueError("prompt: a likelihood is of the text that goes on from a prompt; use one without chat and schema")
        if self.column in self.prompt.columns:
            raise ValueError(f"prompt: it shows {{{self.column}}}, which is what is scored; use the prompt that wrote it")
        return self


def _reads(p: ScoreLikelihood) -> Columns:
    return {p.row: row_id, p.column: text, **dict.fromkeys(p.prompt.columns, text)}


@operator(
    "map", version="3", reads=_reads, writes={"likelihood": score}, rows="fewer", needs=Needs(batch_rows=65536),
    calls=lambda p, models: {"": 1},
)  # fmt: skip
def score_likelihood(table: pa.Table, p: ScoreLikelihood, *, llm: LLM) -> Outcome:
    """Add ``likelihood``, natural, 0 at most; a row that has none is a reject with the back end's reason."""
    asked = AskLlm(
        prompt=p.prompt, writes={ANSWER: "_answer"}, row=p.row, seed=p.seed,
        max_chars=p.max_chars, max_column_tokens=p.max_column_tokens,
    )  # fmt: skip
    prompts = [r.prompt for r in _requests(table, asked, llm)]
    answers = [behind(q, a) for q, a in zip(prompts, table[p.column].to_pylist(), strict=True)]
    found = llm.likelihood(prompts, answers)
    wide = columns.put(table, "likelihood", pa.array([None if a.fault else float(a.text) for a in found], score))
    return reject(wide, [bool(a.fault) for a in found], [a.fault for a in found], table[p.column].to_pylist())


def example() -> Example:
    """Three queries of one passage: a good one, a poor one, none at all."""
    from operators.engines import load_model, packaged

    passage = "Rsync copies only the parts of a file that changed, over ssh."
    table = pa.table({"passage": pa.array([passage] * 3, text), "passage_id": columns.content_ids([""] * 3, [passage] * 3)})
    table = table.append_column("query", pa.array(["how does rsync copy files", "green ideas sleep", "zx qv jw"], text))
    prompt = Template.model_validate("web_query.md").model_copy(update={"answer": "line"})
    return Example(table, ScoreLikelihood(prompt=prompt), {"llm": load_model("llm", packaged("llm"))})
