"""A passage that holds the answer helps to give it; scores stand beside their ids; a row without an answer is told."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators.columns import flat
from operators.content import floats, indexed
from operators.contract import apply, ids, text
from operators.engines import load_model, packaged
from operators.score_utility import ScoreUtility, example, score_utility

FACTS = [  # made up, so that no model knows them
    ("Which metal covers the roof of Orvik hall?", "copper", "The roof of Orvik hall was covered with copper plates in 1911."),
    ("Who leads the Tarn choir?", "Mara Lind", "Mara Lind has led the Tarn choir since it left the old church."),
    ("How long is the Pell tunnel?", "nine kilometres", "The Pell tunnel is nine kilometres long and has two tubes."),
    ("What do the Sorn people drink at weddings?", "birch sap", "At weddings the Sorn people drink birch sap from wooden cups."),
    ("In which month is the Kesta fair held?", "October", "The Kesta fair is held every October on the river bank."),
    ("What colour is the flag of Ilmen?", "green", "The flag of Ilmen is green with a white owl."),
    ("What powers the Dray ferry?", "hydrogen", "The Dray ferry runs on hydrogen that is made beside the pier."),
    ("Where did the Ulm meteorite fall?", "in a vineyard", "The Ulm meteorite fell in a vineyard and broke a wall."),
    ("What does the Vesk museum show?", "clocks", "The Vesk museum shows clocks of four centuries."),
    ("Which animal guards the Ostra farm?", "a goose", "A goose guards the Ostra farm, and nobody passes it."),
]
PROMPTS = {"prompt": "answer_with_passage.md", "without": "answer.md"}


@pytest.fixture(scope="module")
def llm():
    return load_model("llm", packaged("llm"))


def asked(candidates: list[list[int]], answers: list[str] | None = None):
    key, texts = indexed([passage for _, _, passage in FACTS])
    count = len(candidates)
    table = pa.table({
        "query": pa.array([q for q, _, _ in FACTS[:count]], text),
        "answer": pa.array(answers or [a for _, a, _ in FACTS[:count]], text),
        "positive_ids": pa.array([[k] for k in key[:count]], ids),
        "candidate_ids": pa.array([[key[i] for i in row] for row in candidates], ids),
    })  # fmt: skip
    return table, texts


def test_a_passage_with_the_answer_helps_more_than_another(llm):
    table, texts = asked([[(i + 3) % 10] for i in range(10)])
    out = apply(score_utility, table, ScoreUtility.model_validate(PROMPTS), llm=llm, texts=texts).table
    gold, other = (floats(flat(out[c])[1]) for c in ("utility_positives", "utility_scores"))
    assert (gold > other).sum() >= 9  # all ten with SmolLM2
    assert (gold > 0).sum() >= 9


def test_scores_are_the_difference_of_the_models_own_likelihoods_and_what_was_not_asked_is_null(llm):
    table, texts = asked([[2, 0, 1], [], [1]])
    out = apply(score_utility, table, ScoreUtility.model_validate({**PROMPTS, "max_candidates": 2}), llm=llm, texts=texts).table
    assert [len(r) for r in out["utility_scores"].to_pylist()] == [3, 0, 1]
    assert out["utility_scores"].to_pylist()[0][2] is None
    for row, place in ((0, 0), (0, 1), (2, 0)):
        question, answer, _ = FACTS[row]
        passage = FACTS[[[2, 0, 1], [], [1]][row][place]][2]
        stem = f"Question: {question}\nAnswer:"
        helped, plain = llm.likelihood([f"Passage: {passage}\n{stem}", stem], [f" {answer}"] * 2)
        assert out["utility_scores"].to_pylist()[row][place] == pytest.approx(float(helped.text) - float(plain.text), abs=1e-6)
    assert out["utility_scores"].to_pylist()[0][1] == out["utility_positives"].to_pylist()[0][0]  # the positive among them


def test_a_distinct_prompt_is_asked_once_and_a_row_without_an_answer_is_a_reject(llm):
    table, texts = asked([[1, 2], [2, 0]], ["copper", " "])
    before = llm.counters["llm_requests"]
    doubled = pa.concat_tables([table, table])
    found = apply(score_utility, doubled, ScoreUtility.model_validate(PROMPTS), llm=llm, texts=texts)
    assert found.table.num_rows == 2
    assert found.rejects["reason"].to_pylist() == ["nothing to score"] * 2
    assert llm.counters["llm_requests"] - before <= 8
    assert np.isfinite(floats(flat(found.table["utility_scores"])[1])).all()


def test_prompts_that_measure_nothing_are_refused():
    for said, told in (
        ({"prompt": "answer.md"}, r"prompt: it must show \{passage\}"),
        ({"without": "answer_with_passage.md"}, r"without: it must not show \{passage\}"),
        ({"answer": "query"}, r"it shows \{query\}, which is what is scored"),
    ):
        with pytest.raises(ValidationError, match=told):
            ScoreUtility.model_validate({**PROMPTS, **said})


def test_the_example_has_a_row_of_each_kind():
    one = example()
    out = apply(score_utility, one.table, one.params, **one.used)
    assert [len(out.table), len(out.rejects)] == [2, 1]
