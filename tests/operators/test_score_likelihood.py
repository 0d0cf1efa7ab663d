"""Score likelihood: a query that fits its passage is likelier than noise; the prompt is the one that was asked."""

import pytest

from operators.ask_llm import AskLlm, ask_llm
from operators.contract import apply
from operators.engines.endpoint import load_endpoint
from operators.engines.models import ModelEntry, Serving
from operators.score_likelihood import ScoreLikelihood, example, score_likelihood
from operators.template import Template
from tests.operators.engines.openai_server import OpenAIServer


def test_a_query_that_fits_is_likelier_than_one_that_does_not() -> None:
    case = example()
    good, poor, noise = apply(score_likelihood, case.table, case.params, **case.used).table["likelihood"].to_pylist()
    assert 0 > good > max(poor, noise)


def test_what_a_prompt_answered_greedily_is_likelier_than_anothers_answer() -> None:
    case = example()
    prompt = case.params.prompt
    asked = AskLlm(
        prompt=prompt, writes={"answer": "query"}, row="passage_id", max_tokens=16, temperature=0, constant={"instruction": ""}
    )
    own = apply(ask_llm, case.table.slice(0, 1), asked, **case.used).table
    first = apply(score_likelihood, own, ScoreLikelihood(prompt=prompt), **case.used).table["likelihood"][0].as_py()
    others = apply(score_likelihood, case.table, ScoreLikelihood(prompt=prompt), **case.used).table["likelihood"].to_pylist()
    assert first > max(others)


def test_a_chat_and_a_prompt_that_shows_the_answer_are_refused() -> None:
    with pytest.raises(ValueError, match="without chat and schema"):
        ScoreLikelihood(prompt=Template(text="Ask about {passage}", chat=True))
    with pytest.raises(ValueError, match="it shows {query}"):
        ScoreLikelihood(prompt=Template(text="{query}"))


def test_a_pair_above_the_window_is_a_reject() -> None:
    case = example()
    long = case.table.set_column(0, "passage", [["word " * 6000] * 3])
    outcome = apply(score_likelihood, long, case.params.model_copy(update={"max_column_tokens": None}), **case.used)
    assert outcome.rejects["reason"].to_pylist() == ["prompt too long"] * 3
    assert len(apply(score_likelihood, long.slice(0, 1), case.params, **case.used).table) == 1  # cut by default


def test_a_reject_says_what_the_endpoint_said_and_a_poisoned_row_does_not_stop_the_others() -> None:
    case = example()
    rules = {"green": "500", "zx": "unsafe"}
    with OpenAIServer(rules=rules) as server:
        entry = ModelEntry(kind="llm", backend="openai", model="m", dtype="", serving=Serving(endpoint=server.url, patience=60))
        outcome = apply(score_likelihood, case.table, case.params, llm=load_endpoint(entry))
    assert outcome.table["likelihood"].to_pylist()[0] < 0
    assert outcome.rejects.to_pylist() == [
        {"_row": 1, "reason": "no answer", "value": "green ideas sleep"}, {"_row": 2, "reason": "refused", "value": "zx qv jw"},
    ]  # fmt: skip
