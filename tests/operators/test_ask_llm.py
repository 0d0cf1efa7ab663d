"""Ask an LLM about each row: what is written where, what is rejected, ids, cuts; with the packaged model at the end."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from flows.flow import load
from operators import columns
from operators.answers import CUT_OFF, NO_JSON, NOT_SCHEMA
from operators.ask_llm import AskLlm, ask_llm, example
from operators.contract import InputError, Outcome, apply, flag, ids, row_id, score, text, texts
from operators.engines import load_model
from operators.engines.llm import Answer, Request, Sampling, unheard
from operators.engines.models import ModelEntry, packaged
from operators.template import Template

PAIR = {
    "type": "object",
    "required": ["user_query", "positive_document", "hard_negative_document"],
    "properties": {k: {"type": "string"} for k in ("user_query", "positive_document", "hard_negative_document")},
}
KEYS = [bytes([i]) * 16 for i in range(4)]


class Rules:
    """A back end that answers by a rule: its faults are told apart without luck."""

    name = "rules"

    def __init__(self, rule: Callable[[Request], Answer | str]) -> None:
        self.rule, self.asked, self.counters, self.seen = rule, [], {}, []  # type: ignore[var-annotated]

    def complete(self, requests: Sequence[Request], sampling: Sampling, finished: Any = unheard) -> list[Answer]:
        self.asked += requests
        self.sampling = sampling
        return [a if isinstance(a, Answer) else Answer(a) for a in map(self.rule, requests)]

    def likelihood(self, prompts: Sequence[str], answers: Sequence[str], finished: Any = unheard) -> list[Answer]:
        return [Answer("0.0")] * len(prompts)

    def cut(self, text: str, tokens: int) -> str:
        self.seen.append(text)
        return " ".join(text.split(" ")[:tokens])


def template(said: dict[str, Any]) -> Template:
    return Template.model_validate({"text": "About {task}", **said})


def table(tasks: Sequence[str]) -> pa.Table:
    return pa.table({"query_id": pa.array(KEYS[: len(tasks)], row_id), "task": pa.array(tasks, text)})


def ask(p: AskLlm, tasks: Sequence[str], answers: Sequence[Answer | str]) -> tuple[Outcome, Rules]:
    llm = Rules(lambda r: answers[KEYS.index(bytes.fromhex(r.row))])
    return apply(ask_llm, table(tasks), p, llm=llm), llm


def pair(query: str) -> str:
    return json.dumps({"user_query": query, "positive_document": "about " + query, "hard_negative_document": "not " + query})


def test_fields_of_an_answer_become_columns_and_faults_become_rejects_with_the_raw_answer() -> None:
    writes = {"user_query": "query", "positive_document": "passage", "hard_negative_document": "negative"}
    p = AskLlm(prompt=template({"answer": "json", "schema": PAIR}), writes=writes, identify={"negative_id": ["", "negative"]})
    answers = ["Sure: " + pair("owls"), "I cannot.", pair("cats").replace("about cats", ""), pair("dogs")[:-1] + ",}"]
    outcome, llm = ask(p, ["a", "b", "c", "d"], answers)
    rows = outcome.table.to_pylist()
    assert [r["query"] for r in rows] == ["owls", "dogs"]
    assert [r["_row"] for r in rows] == [0, 3]
    assert [r["repaired"] for r in rows] == [False, True]
    assert [r["raw"] for r in rows] == [answers[0], answers[3]]
    assert {r["generator"] for r in rows} == {"rules"}
    assert [r["query_id"] for r in rows] == [columns.content_id(q, "") for q in ("owls", "dogs")]
    assert [r["passage_id"] for r in rows] == [columns.content_id("", f"about {q}") for q in ("owls", "dogs")]
    assert [r["negative_id"] for r in rows] == [columns.content_id("", f"not {q}") for q in ("owls", "dogs")]
    assert [r["positive_ids"] for r in rows] == [[r["passage_id"]] for r in rows]
    assert outcome.rejects.to_pylist() == [
        {"_row": 1, "reason": NO_JSON, "value": "I cannot."},
        {"_row": 2, "reason": "empty answer", "value": answers[2]},
    ]
    assert json.loads(llm.sampling.schema) == PAIR


def test_a_back_ends_faults_and_cut_answers_are_rejects() -> None:
    p = AskLlm(prompt=template({"answer": "text"}), writes={"answer": "rewritten"})
    answers = [
        Answer("", "fault", fault="prompt too long"),
        Answer("half a sen", "length"),
        Answer(" \n"),
        Answer("a \ud800 text\n"),
    ]
    outcome, _ = ask(p, ["a", "b", "c", "d"], answers)
    assert outcome.rejects["reason"].to_pylist() == ["prompt too long", CUT_OFF, "empty answer"]
    assert outcome.rejects["value"].to_pylist() == ["", "half a sen", " \n"]
    assert outcome.table["rewritten"].to_pylist() == ["a � text"]
    assert outcome.table["query_id"].to_pylist() == [KEYS[3]]  # no query was written: the row is the same


def test_lines_and_items_become_rows_of_their_own() -> None:
    p = AskLlm(prompt=template({"answer": "lines"}), writes={"answer": "paraphrase"})
    outcome, _ = ask(p, ["a", "b", "c"], ["1. one more\n2. another", "", Answer("- whole line\n- half a li", "length")])
    assert outcome.table["paraphrase"].to_pylist() == ["one more", "another", "whole line"]
    assert outcome.table["item"].to_pylist() == [0, 1, 0]
    assert outcome.table["_row"].to_pylist() == [0, 0, 2]
    assert outcome.rejects["reason"].to_pylist() == ["empty answer"]
    element = {"type": "object", "required": ["q"], "properties": {"q": {"type": "string"}, "s": {"type": "integer"}}}
    whole = {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": element}}}
    p = AskLlm(prompt=template({"schema": whole, "answer": "json", "item": "rows"}), writes={"q": "question", "s": "grade"})
    good = {"rows": [{"q": "x", "s": 1}, {"q": "y", "s": 16777217}]}
    outcome, _ = ask(p, ["a", "b", "c"], [json.dumps(good), '{"rows": [{"q": "x"}]}', '{"rows": []}'])
    assert outcome.table["question"].to_pylist() == ["x", "y"]
    assert outcome.table["grade"].to_pylist() == [1, 16777216]
    assert outcome.table["item"].to_pylist() == [0, 1]
    assert outcome.rejects["reason"].to_pylist() == [NOT_SCHEMA, "empty answer"]


def test_columns_have_the_types_that_the_schema_says() -> None:
    properties = {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "string"}}, "c": {"type": "number"},
                  "d": {"type": "boolean"}, "e": {"type": ["integer", "null"]}}  # fmt: skip
    schema = {"type": "object", "properties": properties}
    p = AskLlm(prompt=template({"schema": schema, "answer": "json"}), writes={k: f"col_{k}" for k in properties})
    written = ask_llm.columns_written(p)
    assert [written[f"col_{k}"] for k in "abcde"] == [text, texts, score, flag, score]
    outcome, _ = ask(p, ["1", "2", "3"], [
        '{"a": "x", "b": ["y", "z"], "c": 0.5, "d": true, "e": 3}', '{"a": "x", "b": [], "c": 0.5, "d": true, "e": 3}',
        '{"a": "x", "b": ["y"], "c": 1e300, "d": true, "e": 3}',
    ])  # fmt: skip
    assert outcome.table.select([f"col_{k}" for k in "abcde"]).to_pylist() == [
        {"col_a": "x", "col_b": ["y", "z"], "col_c": 0.5, "col_d": True, "col_e": 3.0}
    ]
    assert outcome.rejects["reason"].to_pylist() == ["empty answer", NOT_SCHEMA]


def test_a_query_written_about_a_passage_has_it_as_its_positive_and_its_instruction_in_its_id() -> None:
    schema = {
        "type": "object",
        "required": ["task", "query"],
        "properties": {"task": {"type": "string"}, "query": {"type": "string"}},
    }
    prompt = Template.model_validate({"text": "{passage}", "answer": "json", "schema": schema})
    p = AskLlm(
        prompt=prompt, writes={"task": "instruction", "query": "query"}, row="passage_id", constant={"query_type": "gecko"}
    )
    passages = pa.table({"passage_id": pa.array(KEYS[:1], row_id), "passage": pa.array(["Owls."], text)})
    made = apply(ask_llm, passages, p, llm=Rules(lambda r: '{"task": "Find birds", "query": "night birds"}')).table
    assert made["query_id"].to_pylist() == [columns.content_id("night birds", "Find birds")]
    assert made["positive_ids"].to_pylist() == [[KEYS[0]]]
    assert made["query_type"].to_pylist() == ["gecko"]
    assert ask_llm.columns_written(p)["positive_ids"] == ids


def test_what_an_id_is_the_hash_of_is_read_if_it_is_not_written() -> None:
    prompt = Template.model_validate({"text": "{query}", "answer": "line"})
    assert set(ask_llm.columns_read(AskLlm(prompt=prompt, writes={"answer": "query"}))) == {"query_id", "query"}
    shown = Template.model_validate({"text": "{instruction} {query}", "answer": "line"})
    p = AskLlm(prompt=shown, writes={"answer": "query"})
    assert p.identified() == {"query_id": ["query", "instruction"]}
    p = AskLlm(prompt=prompt, writes={"answer": "query"}, identify={"query_id": ["query", "lang"]})
    assert set(ask_llm.columns_read(p)) == {"query_id", "query", "lang"}


def test_columns_are_cut_and_a_completion_sees_them_on_one_line() -> None:
    shown = "one two\nthree four"
    line = AskLlm(prompt=template({"answer": "line"}), writes={"answer": "x"}, max_chars=10)
    assert ask(line, [shown], ["y"])[1].asked[0].prompt == "About one two"
    chat = AskLlm(prompt=template({"answer": "line", "chat": True}), writes={"answer": "x"}, max_chars=15)
    asked = ask(chat, [shown], ["y"])[1].asked[0]
    assert (asked.prompt, asked.chat, asked.shared) == ("About one two\nthree", True, len("About "))
    tokens = line.model_copy(update={"max_chars": 99, "max_column_tokens": 3})
    assert ask(tokens, [shown], ["y"])[1].asked[0].prompt == "About one two three"
    word = AskLlm(prompt=template({"answer": "line", "chat": True}), writes={"answer": "x"}, max_chars=4)
    assert ask(word, ["猫头鹰靠听觉寻找猎物"], ["y"])[1].asked[0].prompt == "About 猫头鹰靠"


def test_columns_are_cut_by_the_models_tokens_unless_that_is_taken_off_and_what_many_rows_show_once() -> None:
    p = AskLlm(prompt=template({"answer": "line"}), writes={"answer": "x"})
    shown = " ".join(["word"] * 3000)
    _, llm = ask(p, [shown, shown, "short"], ["y"] * 3)
    assert [len(r.prompt.split()) for r in llm.asked] == [1025, 1025, 2]
    assert llm.seen == [shown, "short"]
    chat = AskLlm(prompt=template({"answer": "line", "chat": True}), writes={"answer": "x"}, max_column_tokens=None)
    _, llm = ask(chat, [shown], ["y"])
    assert llm.asked[0].prompt == f"About {shown}" and llm.seen == []


def test_a_list_is_shown_one_a_line() -> None:
    p = AskLlm(prompt=template({"chat": True, "answer": "line"}), writes={"answer": "label"}, lists=["task"], max_chars=14)
    given = pa.table({"query_id": pa.array(KEYS[:1], row_id), "task": pa.array([["a b", "c\nd", "too much"]], texts)})
    llm = Rules(lambda r: "topic")
    assert apply(ask_llm, given, p, llm=llm).table["label"].to_pylist() == ["topic"]
    assert llm.asked[0].prompt == "About - a b\n- c d"


def test_a_rows_seed_is_its_own() -> None:
    p = AskLlm(prompt=template({"answer": "line"}), writes={"answer": "x"}, seed=3)
    _, whole = ask(p, ["a", "b"], ["y", "y"])
    _, other = ask(p.model_copy(update={"seed": 4}), ["a", "b"], ["y", "y"])
    assert [r.row for r in whole.asked] == [k.hex() for k in KEYS[:2]]
    assert len({r.seed for r in [*whole.asked, *other.asked]}) == 4


LINE = Template(text="{a}", answer="line")
REFUSED = [
    ({"prompt": LINE, "writes": {"query": "query"}}, "the answer has no such field; write one column's name"),
    ({"prompt": template({"schema": PAIR, "answer": "json"}), "writes": {"query": "query"}}, "it has user_query, positive_document"),
    ({"prompt": LINE, "writes": "raw"}, "'raw' is taken"),
    ({"prompt": LINE, "writes": "query_id"}, "'query_id' is taken"),
    ({"prompt": LINE, "writes": "x", "constant": {"x": "1"}}, "'x' is taken"),
    ({"prompt": LINE, "writes": "x", "lists": ["b"]}, r"no placeholder \{b\}"),
    ({"prompt": LINE, "writes": "x", "identify": {"x": ["x"]}}, "an id is a column of its own"),
    ({"prompt": template({"answer": "json", "schema": {"type": "object", "properties": {"a": {"enum": [1]}}}}), "writes": {"a": "x"}},
     "the schema must say its type"),
]  # fmt: skip


@pytest.mark.parametrize(("params", "said"), REFUSED)
def test_what_cannot_be_written_is_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AskLlm.model_validate(params)


FLOW = """flow: f
steps:
  tasks: {{op: list_attributes, with: {{rows: 2, attributes: {{language: [German, English]}}}}}}
  asked: {{op: ask_llm, from: tasks, using: {{llm: {model}}}, with: {{prompt: ask.md, writes: query, row: task_id, max_tokens: {tokens}}}}}
"""


@pytest.mark.parametrize(
    ("prompt", "model", "tokens", "said"),
    [
        ("---\nchat: true\n---\nIn {language}.", "bare", 20, "has no chat template; name a chat model"),
        ("In {language}. " + "word " * 300, "smollm2", 3900, "take 4202 tokens or more, the window"),
        ("In {tongue}.", "smollm2", 20, "reads 'tongue', which tasks lacks"),
    ],
)
def test_what_cannot_be_asked_is_known_before_a_request(prompt: str, model: str, tokens: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "ask.md").write_text(prompt)
    (tmp_path / "flow.yaml").write_text(FLOW.format(model=model, tokens=tokens))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text("{}")
    (bare / "tokenizer_config.json").write_text("{}")
    (tmp_path / "models.yaml").write_text(f"bare: {{kind: llm, backend: transformers, model: {bare}}}\n")
    with pytest.raises(InputError, match=said):
        load(tmp_path / "flow.yaml")


def test_a_flow_writes_one_column_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "ask.md").write_text("In {language}.\nQuery:")
    (tmp_path / "flow.yaml").write_text(FLOW.format(model="smollm2", tokens=20))
    step = load(tmp_path / "flow.yaml").steps[1]
    assert {"query", "query_id", "raw", "generator", "repaired", "language", "task_id"} <= set(step.columns)
    assert step.op.calls is not None
    assert step.op.calls(step.params, step.models) == {"": 1}


def test_the_packaged_model_answers_the_same_in_any_cut() -> None:
    case = example()
    whole = apply(ask_llm, case.table, case.params, **case.used)
    parts = [apply(ask_llm, case.table.slice(i, 1), case.params, **case.used) for i in range(3)]
    assert pa.concat_tables([p.table for p in parts]).drop_columns(["_row"]).equals(whole.table.drop_columns(["_row"]))
    assert len(whole.table) + len(whole.rejects) == 3
    assert all(whole.table["query"].to_pylist())


def test_the_packaged_model_writes_json_in_a_chat_or_is_rejected_with_what_it_wrote() -> None:
    schema = {"type": "object", "required": ["user_query"], "properties": {"user_query": {"type": "string"}}}
    body = 'Write a JSON object like {"user_query": "how do bees fly"} for this text, and nothing else:\n{task}'
    prompt = Template.model_validate(
        {"text": body, "chat": True, "schema": schema, "answer": "json", "system": "You write JSON."}
    )
    p = AskLlm(prompt=prompt, writes={"user_query": "query"}, max_tokens=40, temperature=0)
    llm = load_model("llm", packaged("llm"))
    outcome = apply(ask_llm, table(["Rsync copies only what changed.", "Ice carves valleys."]), p, llm=llm)
    assert len(outcome.table) + len(outcome.rejects) == 2
    for row in outcome.table.to_pylist():
        assert row["query"] in row["raw"]
    assert set(outcome.rejects["reason"].to_pylist()) <= {NO_JSON, NOT_SCHEMA, CUT_OFF, "empty answer"}
    assert all(outcome.rejects["value"].to_pylist())


def test_a_chat_prompt_goes_to_an_endpoint_without_a_look_at_its_files() -> None:
    p = AskLlm(prompt=template({"answer": "line", "chat": True}), writes={"answer": "x"})
    remote = ModelEntry(kind="llm", backend="openai", model="any/name", dtype="", max_tokens=4096)
    assert ask_llm.check is not None
    assert list(ask_llm.check(p, {"llm": remote})) == []
    assert len(ask_llm.check(p, {"llm": remote.model_copy(update={"max_tokens": 100})})) == 1
