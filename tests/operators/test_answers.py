"""Parsers of answers: any JSON comes back out of prose, nothing raises, nothing runs, nothing hangs."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.answers import (
    CUT_OFF,
    LIMIT,
    NO_JSON,
    NOT_SCHEMA,
    TOO_DEEP,
    TOO_LONG,
    parse_json,
    parse_line,
    parse_lines,
    parse_text,
    unquoted,
)


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


TEXT = {"type": "string"}
SCHEMAS = {
    "pair": of(user_query=TEXT, positive_document=TEXT, hard_negative_document=TEXT),
    "label": of(input_text=TEXT, label=TEXT, misleading_label=TEXT),
    "tasks": of(tasks={"type": "array", "items": TEXT, "minItems": 1}),
    "score": of(score={"type": "number", "minimum": 0, "maximum": 5}),
    "flag": of(answerable={"type": "boolean"}, reason={"type": ["string", "null"]}),
    "rows": of(examples={"type": "array", "items": of(query=TEXT, label={"type": "integer"})}),
}
MALFORMED = [
    json.loads(line) for line in (Path(__file__).parent / "malformed_answers.jsonl").read_text(encoding="utf-8").splitlines()
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PROSE = st.text(st.characters(exclude_characters='[]{}<>`"~', exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize("case", MALFORMED, ids=lambda c: f"{c['about']}: {c['answer'][:30]!r}")
def test_a_malformed_answer_gives_what_is_written_beside_it(case: dict[str, Any], tmp_path: Path) -> None:
    found = parse_json(case["answer"], SCHEMAS[case["schema"]])
    assert found == (case["expect"], case["repaired"], case.get("fault", ""))
    assert not Path("/tmp/pithead_was_here").exists()


def test_there_are_two_hundred_malformed_answers_and_each_is_another() -> None:
    assert len({case["answer"] for case in MALFORMED}) == len(MALFORMED) >= 200
    ends = Counter("fault" if c["expect"] is None else "repaired" if c["repaired"] else "as it is" for c in MALFORMED)
    assert min(ends.values()) > 50


@given(st.dictionaries(st.text(), JSON, max_size=5), PROSE, PROSE, st.sampled_from(["", "```json\n", "```\n"]), st.booleans())
def test_an_object_comes_back_out_of_prose_and_fences(value: Any, before: str, after: str, fence: str, ascii: bool) -> None:
    answer = f"{before}\n{fence}{json.dumps(value, ensure_ascii=ascii)}{chr(10) + '```' if fence else ''}\n{after}"
    assert parse_json(answer, {"type": "object"}) == (value, False, "")


@given(JSON, st.sampled_from(["{}", " {}\n", "```json\n{}\n```", "```\n{}\n```"]), st.sampled_from([None, 2]))
def test_any_value_comes_back_out_of_a_fence(value: Any, around: str, indent: int | None) -> None:
    found = parse_json(around.replace("{}", json.dumps(value, indent=indent)), {})
    assert found == (value, False, "")


@given(st.text() | st.text("{}[]\"':,\\/*#`<>()aN1-.\n“”\ud800 ", max_size=60), st.booleans())
def test_no_text_raises_and_what_comes_out_can_be_stored(answer: str, cut: bool) -> None:
    for schema in ({}, {"type": "object"}, SCHEMAS["tasks"]):
        value, repaired, fault = parse_json(answer, schema, cut)
        assert fault in ("", NO_JSON, NOT_SCHEMA, CUT_OFF, TOO_DEEP)
        assert not (cut and repaired)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    for said in (parse_line(answer), parse_text(answer), *parse_lines(answer)):
        said.encode()
    assert "\n" not in parse_line(answer)
    assert all(line and "\n" not in line for line in parse_lines(answer))


@pytest.mark.parametrize("unit", ["[", '{"a":', "[a ", "{x}", '{"a": "b" ', '"', "\\", "'a' ", "/*", '{"a": "', '"x" //\n', '["\'', ':"a":', "(-.", " ", "1", "```"])  # fmt: skip
@pytest.mark.parametrize("size", [4_000, 900_000])
def test_a_hostile_answer_takes_seconds_at_most(unit: str, size: int) -> None:
    start = time.perf_counter()
    for head in ("", "{", '{"a":['):
        parse_json(head + unit * (size // len(unit)) + "]}", {"type": "object", "required": ["z"]})
    answer = unit * (size // len(unit))
    assert len(parse_lines(answer)) + len(parse_line(answer)) + len(parse_text(answer)) >= 0
    assert time.perf_counter() - start < 40


def test_fifty_megabytes_and_ten_thousand_brackets_are_faults() -> None:
    start = time.perf_counter()
    assert parse_json("[1]" * 17_000_000, {}) == (None, False, TOO_LONG)
    assert parse_json("[" * 10_000 + "]" * 10_000, {}) == (None, False, TOO_DEEP)
    assert parse_json('{"a": ' + "9" * (LIMIT // 2) + "}", {})[2] == NOT_SCHEMA
    assert time.perf_counter() - start < 5


def test_of_an_answer_cut_by_the_engine_only_what_was_whole_counts() -> None:
    whole = '{"score": 3} and then some more words that were never fin'
    assert parse_json(whole, SCHEMAS["score"], cut=True) == ({"score": 3}, False, "")
    assert parse_json('{"tasks": ["a b", "c d"]', SCHEMAS["tasks"], cut=True) == (None, False, CUT_OFF)
    assert parse_json("{'score': 3}", SCHEMAS["score"], cut=True) == (None, False, CUT_OFF)


@pytest.mark.parametrize(
    "answer", ["{'label': 'it's } gone by now'}", "{'label': 'one word ' 'and three more'}", '{"label": u"all of it"}']
)
def test_a_repair_never_drops_words(answer: str) -> None:
    assert parse_json(answer, of(label=TEXT)) == (None, False, NOT_SCHEMA)


def test_no_schema_is_fetched() -> None:
    with pytest.raises(Exception, match="Unresolvable|unresolvable"):
        parse_json('{"a": 1}', {"$ref": "http://127.0.0.1:9/schema.json"})


LISTS = {
    "numbered": "Here are three:\n\n1. first one\n2) second one\n3. \"third one\"\n\nGood luck!",
    "bold numbers": "**1.** first one\n**2.** second one\n**3.** third one",
    "bulleted": "Sure!\n- first one\n* second one\n• third one\nLet me know.",
    "plain": "first one\n\n“second one”\n`third one`\n",
    "announced": "Queries:\nfirst one\nsecond one\nthird one",
    "in a fence": "```\n1. first one\n2. second one\n3. third one\n```",
    "in JSON": 'The list: ["first one", "second one", "third one"]',
    "in Python": "```python\ntasks = [\n    'first one',\n    'second one',\n    'third one',\n]\n```",
    "going on": "1. first\n   one\n2. second\n   - one\n3. third one",
    "after thoughts": "<think>1. no\n2. no</think>\n1. first one\n2. second one\n3. third one",
    "indented": "  1. first one\n  2. second one\n  3. third one",
    "Chinese numbers": "1、first one\n2、 second one\n3、 third one".replace("、f", "、 f"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_gives_its_items_however_it_is_written(kind: str) -> None:
    assert parse_lines(LISTS[kind]) == ["first one", "second one", "third one"]


@given(st.lists(st.from_regex(r"[a-z]{2,8}( [a-z]{1,8}){1,4}\??", fullmatch=True), min_size=2, max_size=8), st.data())
def test_lines_come_back_out_of_any_list(lines: list[str], data: Any) -> None:
    mark = data.draw(st.sampled_from(["{i}. ", "{i}) ", "- ", "* ", "• ", "", "({i}) "]))
    quote = data.draw(st.sampled_from(["", '"', "**", "'"]))
    answer = "\n".join(f"{mark.format(i=i + 1)}{quote}{line}{quote}" for i, line in enumerate(lines))
    assert parse_lines(answer) == lines


def test_a_quote_that_closed_a_string_is_no_part_of_it() -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    for said, meant in (("{'q': 'it's fine'}", "it's fine"), ("{'q': 'mind the dogs' bed'}", "mind the dogs' bed"), ("{'q': 'plain'}", "plain")):
        assert parse_json(said, schema)[0] == {"q": meant}


def test_a_list_in_brackets_counts_only_where_it_stands_for_itself() -> None:
    assert parse_lines('1. Use ["x"] in code\n2. other task') == ['Use ["x"] in code', "other task"]
    assert parse_lines("Classify ['a'] things\nsecond") == ["Classify ['a'] things", "second"]
    for said in ('["one", "two"]', 'Here they are: ["one", "two"]', 'tasks = ["one", "two"]', 'Tasks:\n["one",\n "two"]\nGood luck!'):
        assert parse_lines(said) == ["one", "two"]


def test_stars_around_an_item_go_with_its_number() -> None:
    assert parse_lines("**1. Bold task**\n**2. Another**: with words\n3. **Whole** thing") == ["Bold task", "Another: with words", "**Whole** thing"]


def test_a_line_is_the_first_that_says_something() -> None:
    assert parse_line("\n  how owls hunt\nmore") == "how owls hunt"
    assert parse_line('Sure, here is a query:\n\n"how owls hunt"\n') == "how owls hunt"
    assert parse_line("```\nhow owls hunt\n```") == "how owls hunt"
    assert parse_line("- **how owls hunt**") == "how owls hunt"
    assert parse_line("1. how owls hunt\n2. why") == "how owls hunt"
    assert parse_line("1. FC Köln Tabelle") == "1. FC Köln Tabelle"
    assert parse_line("state of the art - a survey") == "state of the art - a survey"
    assert parse_line("why:") == "why:"
    assert parse_line("<think>hm</think>\nwhy") == "why"
    assert parse_line("hm\n</think> why") == parse_line("hm</think>\nwhy") == "why"
    assert parse_line("the tag </think> of models") == "the tag </think> of models"
    assert parse_line("<think>hm") == parse_line("") == ""


def test_only_quotes_that_wrap_the_whole_line_go() -> None:
    assert unquoted('"a" and "b"') == '"a" and "b"'
    assert unquoted("'it's'") == "it's"
    assert unquoted("“„a b”") == "„a b"
    assert unquoted("«a b»") == "a b"
    assert unquoted('"') == '"'


def test_a_text_keeps_its_lines_and_loses_its_fence() -> None:
    assert parse_text("```text\na\n\n  b\n```") == "a\n\n  b"
    assert parse_text("a\n```\nb\n```") == "a\n```\nb\n```"
