import pyarrow as pa

from operators.contract import apply, text
from operators.drop_few_shots import REPEATS, DropFewShots, drop_few_shots
from operators.template import Template

PROMPT = Template(
    text='Task: a\nExample: {"q": "soggy pie bottom", "p": "Bake the shell blind, with beans on paper, before it is filled.", "label": "the landlord"}'
    "\n\nTask: {instruction}\nExample:"
)


def dropped(queries, passages=None):
    rows = {"query": pa.array(queries, text), "own": pa.array(range(len(queries)))}
    rows |= {"passage": pa.array(passages, text)} if passages else {}
    outcome = apply(drop_few_shots, pa.table(rows), DropFewShots(prompts=[PROMPT], passages=["passage"] if passages else []))
    assert outcome.table["own"].to_pylist() == [i for i in range(len(queries)) if i not in outcome.rejects["_row"].to_pylist()]
    return dict(zip(outcome.rejects["_row"].to_pylist(), outcome.rejects["reason"].to_pylist(), strict=True))


def test_a_query_of_the_prompt_is_dropped_whatever_its_case_and_space_and_all_columns_of_others_stay():
    assert dropped(["Soggy  pie bottom", "soggy pie", "how to blind bake"]) == {0: REPEATS}


def test_a_label_of_the_prompt_is_no_repeat_and_a_passage_of_it_is():
    assert dropped(["x", "y"], ["the landlord", "Bake the shell blind, with beans on paper, before it is filled."]) == {1: REPEATS}
