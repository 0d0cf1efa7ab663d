"""Prompt files: front matter, placeholders, shots; every fault is one sentence that names the file."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from flows.fingerprint import fingerprint
from operators.contract import InputError
from operators.engines.models import ModelEntry, packaged
from operators.template import Template, has_chat_template

FILE = """---
chat: true
system: You are {persona}.
schema: {type: object, required: [query], properties: {query: {type: string}, negative: {type: string}}}
---
Write a query in {language} about {title} as {"query": "…"}.
"""
SHOTS = "Write a query.\n\n" + "".join(f"Text: t{i}\nQuery: q{i}\n\n" for i in range(6)) + "Text: {passage}\nQuery:"


class Asks(BaseModel):
    prompt: Template


def read(folder: Path, text: str) -> Template:
    (folder / "p.md").write_text(text, encoding="utf-8")
    return Asks.model_validate({"prompt": "p.md"}, context={"roots": [str(folder)]}).prompt


def test_a_file_says_how_to_ask_and_what_comes_back(tmp_path: Path) -> None:
    prompt = read(tmp_path, FILE)
    assert prompt.chat
    assert prompt.answer == "json"
    assert prompt.columns == ["persona", "language", "title"]
    assert list(prompt.fields) == ["query", "negative"]
    system, text, shared = prompt.asked({"persona": "a {title}", "language": "German", "title": "{language}"}, 1)
    assert system == "You are a {title}."
    assert text == 'Write a query in German about {language} as {"query": "…"}.'
    assert shared == 0  # the system's turn stands before it, and is the row's own


def test_the_recipe_holds_what_the_file_says_and_gives_the_same_prompt_again(tmp_path: Path) -> None:
    prompt = read(tmp_path, FILE)
    assert Template.model_validate_json(prompt.model_dump_json()) == prompt
    turned = read(
        tmp_path,
        FILE.replace("{query: {type: string}, negative: {type: string}}", "{negative: {type: string}, query: {type: string}}"),
    )
    assert fingerprint(prompt) != fingerprint(turned)  # an engine writes the fields in this order


def test_a_file_without_front_matter_is_a_text_to_go_on_from() -> None:
    prompt = Template.model_validate("question.md")
    assert (prompt.chat, prompt.answer, prompt.ends) == (False, "text", ("\n\n",))
    text, shared = prompt.asked({"passage": "Owls."}, 1)[1:]
    assert text.endswith("Text: Owls.\nQuestion:")
    assert text[:shared].endswith("Text: ")


@given(st.dictionaries(st.sampled_from(["a", "b_c"]), st.text(), min_size=2, max_size=2))
def test_braces_in_a_column_mean_nothing(values: dict[str, str]) -> None:
    prompt = Template(text="{a}|{b_c}|{a}{B}{}{ a}")
    assert prompt.asked(values, 0)[1] == f"{values['a']}|{values['b_c']}|{values['a']}" + "{B}{}{ a}"


@given(st.integers(0, 6), st.integers(0, 2**32))
def test_shots_are_drawn_by_the_seed_and_keep_what_is_no_shot(count: int, seed: int) -> None:
    prompt = Template(text=SHOTS, shots=count, answer="line")
    asked = prompt.asked({"passage": "P"}, seed)
    assert asked == prompt.asked({"passage": "P"}, seed)
    blocks = asked[1].split("\n\n")
    assert blocks[0] == "Write a query."
    assert blocks[-1] == "Text: P\nQuery:"
    drawn = blocks[1:-1]
    assert len(drawn) == count
    assert drawn == sorted(drawn)
    assert asked[1][: asked[2]] + "P\nQuery:" == asked[1]


def test_every_shot_is_drawn_about_as_often() -> None:
    prompt = Template(text=SHOTS, shots=3)
    drawn = [prompt.asked({"passage": ""}, seed)[1] for seed in range(600)]
    assert all(abs(sum(f"q{i}\n" in text for text in drawn) - 300) < 60 for i in range(6))


def test_what_ends_an_answer_follows_from_the_prompt() -> None:
    assert Template(text=SHOTS, answer="line").ends == ("\n",)
    assert Template(text=SHOTS, answer="lines").ends == ("\n\n",)
    assert Template(text="Tell me.", answer="text").ends == ()
    assert Template(text="Tell me.", answer="line", chat=True).ends == ()
    assert Template(text=SHOTS, answer="line", stop=("\n", "Text:")).ends == ("\n", "Text:")


def schema(inner: str) -> str:
    return f"---\nschema: {inner}\n---\nAsk."


BAD = {
    "a key that there is not": ("---\nchatt: true\n---\nAsk.", "'chatt'; there may be chat, system"),
    "front matter that never ends": ("---\nchat: true\nAsk.", "never ends"),
    "no YAML": ("---\nchat: [\n---\nAsk.", "no YAML"),
    "no mapping": ("---\n- chat\n---\nAsk.", "'no keys'"),
    "another answer": ("---\nanswer: yaml\n---\nAsk.", "answer: Input should be 'line', 'text', 'lines' or 'json'"),
    "no body": ("---\nchat: true\n---\n", "text: String should have at least 1 character"),
    "a system turn in no chat": ("---\nsystem: You are.\n---\nAsk.", "add `chat: true`"),
    "JSON without a schema": ("---\nanswer: json\n---\nAsk.", "give both or neither"),
    "a schema of lines": ("---\nanswer: lines\nschema: {type: object, properties: {}}\n---\nAsk.", "give both or neither"),
    "a schema of a list": (schema("{type: array}"), "must be of an object"),
    "no schema": (schema("{type: object, properties: {a: {type: text}}}"), "is no JSON schema"),
    "a reference": (schema("{type: object, properties: {a: {$ref: 'http://x/y'}}}"), "$ref"),
    "an item that is none": ("---\nitem: b\nschema: {type: object, properties: {a: {type: string}}}\n---\nAsk.", "item 'b'"),
    "too many shots": ("---\nshots: 7\n---\n" + SHOTS, "7 are drawn of 6"),
    "shots where there are none": ("---\nshots: 1\n---\nAsk about {title}.", "1 are drawn of 0"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_fault_of_a_file_is_one_sentence_that_names_it(what: str, tmp_path: Path) -> None:
    text, said = BAD[what]
    with pytest.raises(ValidationError) as error:
        read(tmp_path, text)
    message = error.value.errors()[0]["msg"]
    assert said in message
    assert str(tmp_path / "p.md") in message
    assert "\n" not in message


def test_a_file_that_is_not_there_or_not_utf8_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no prompt file 'q.md'"):
        Asks.model_validate({"prompt": "q.md"}, context={"roots": [str(tmp_path)]})
    (tmp_path / "q.md").write_bytes(b"\xff\xfe caf\xe9")
    with pytest.raises(ValidationError, match="is not UTF-8"):
        Asks.model_validate({"prompt": "q.md"}, context={"roots": [str(tmp_path)]})


def test_fields_of_an_item_are_those_of_its_element() -> None:
    element = {"type": "object", "properties": {"query": {"type": "string"}}}
    whole = {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": element}, "tasks": {"type": "array", "items": {"type": "string"}}},
    }
    rows = Template.model_validate({"text": "Ask.", "answer": "json", "schema": whole, "item": "rows"})
    assert (list(rows.fields), rows.many) == (["query"], True)
    tasks = Template.model_validate({"text": "Ask.", "answer": "json", "schema": whole, "item": "tasks"})
    assert list(tasks.fields) == ["answer"]


def entry(model: Path | str, backend: str = "transformers") -> ModelEntry:
    return ModelEntry(kind="llm", backend=backend, model=str(model), dtype="" if backend == "openai" else "float32")


def test_whether_a_model_is_a_chat_model_is_read_off_its_files(tmp_path: Path) -> None:
    assert has_chat_template(packaged("llm"))
    assert has_chat_template(entry("some/model", "openai"))
    base = tmp_path / "base"
    base.mkdir()
    (base / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    assert not has_chat_template(entry(base))
    (base / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert has_chat_template(entry(base))
    (base / "tokenizer_config.json").write_text("{}")
    (base / "chat_template.jinja").write_text("{{ messages }}")
    assert has_chat_template(entry(base))
    (tmp_path / "bare.gguf").write_bytes(b"GGUF" + bytes(100))
    assert not has_chat_template(entry(tmp_path / "bare.gguf", "transformers-gguf"))
    (base / "chat_template.jinja").unlink()
    (base / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        has_chat_template(entry(base))
