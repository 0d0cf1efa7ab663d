import pyarrow as pa

from operators.columns import content_id
from operators.contract import apply, text
from operators.list_texts import ListTexts, list_texts
from operators.template import Template
from operators.written_pairs import WrittenPairs, written_pairs


def written(*rows, **params):
    names = ("query", "instruction", "passage", "negative")
    table = pa.table({n: pa.array([r[i] for r in rows], text) for i, n in enumerate(names)})
    outcome = apply(written_pairs, table, WrittenPairs(**params))
    return outcome.table, dict(zip(outcome.rejects["_row"].to_pylist(), outcome.rejects["reason"].to_pylist(), strict=True))


def test_ids_are_those_that_readers_give_to_the_same_texts():
    table, why = written(("why rust", "answer it", "Iron rusts.", "Copper shines."), licence="CC0-1.0")
    assert why == {}
    row = table.to_pylist()[0]
    assert row["query_id"] == content_id("why rust", "answer it")
    assert row["positive_ids"] == [row["passage_id"]] == [content_id("", "Iron rusts.")]
    assert row["negative_ids"] == [content_id("", "Copper shines.")]
    assert (row["source"], row["licence"], row["title"]) == ("written", "CC0-1.0", "")


def test_texts_in_two_roles_are_rejected_whatever_their_case_and_space():
    _, why = written(("Iron  rusts", "t", "iron rusts", "x"), ("q", "t", "Same text", "same  TEXT"), ("q", "t", " ", "x"))
    assert why == {0: "the query is its passage", 1: "the negative is the positive", 2: "empty text"}


def test_what_repeats_a_few_shot_is_rejected_and_short_labels_are_not():
    prompt = Template(text='Task: a\nExample: {"q": "soggy pie bottom", "label": "Chinese"}\n\nTask: {instruction}\nExample:')
    _, why = written(("Soggy pie bottom", "t", "p", "n"), ("noodles", "t", "Chinese", "Thai"), prompts=[prompt])
    assert why == {0: "repeats a few-shot example"}


def test_a_negative_can_be_left_out_or_left_for_a_teacher_to_judge():
    assert "negative_ids" not in written(("q", "t", "p", "n"), negative="")[0].column_names
    table, _ = written(("q", "t", "p", "n"), into="candidate_ids")
    assert table["candidate_ids"].to_pylist() == [[content_id("", "n")]]


def test_listed_texts_have_the_ids_that_the_pairs_name():
    table, _ = written(("q", "t", "p", "n"), ("r", "t", "s", "p"))
    listed = apply(list_texts, table, ListTexts()).table
    named = {i for c in ("positive_ids", "negative_ids") for row in table[c].to_pylist() for i in row}
    assert set(listed["passage_id"].to_pylist()) == named
    assert listed["passage"].to_pylist() == ["p", "n", "s", "p"]
    assert [c for c in listed.column_names if c != "_row"] == ["passage_id", "title", "passage"]
