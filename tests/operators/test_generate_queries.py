"""Generate queries: several types a passage, the raw answer kept, the same in any cut."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.journal import FileJournal
from cluster.store import Store
from operators import columns
from operators.contract import apply
from operators.engines.endpoint import load_endpoint
from operators.engines.ledger import Ledger
from operators.engines.models import ModelEntry, Serving
from operators.generate_queries import GenerateQueries, cut_at_word, drawn_types, example, first_line, generate_queries
from operators.prompt import TYPES, Prompt, default_prompts
from tests.operators.engines.openai_server import OpenAIServer
from tests.operators.engines.test_ledger import Kept


def test_every_cut_gives_the_same_queries_and_each_names_its_passage() -> None:
    case = example()
    whole = apply(generate_queries, case.table, case.params, **case.used).table
    parts = [apply(generate_queries, case.table.slice(i, 1), case.params, **case.used).table for i in (0, 1, 2)]
    assert pa.concat_tables(parts).drop_columns(["_row"]).equals(whole.drop_columns(["_row"]))
    assert whole["_row"].to_pylist() == [0, 0, 1, 1, 2, 2]
    assert whole["positive_ids"].to_pylist() == [[k] for k in whole["passage_id"].to_pylist()]
    assert whole["query_id"].to_pylist() == [columns.content_id(q, "") for q in whole["query"].to_pylist()]
    assert set(whole["generator"].to_pylist()) == {"SmolLM2-135M-Instruct.Q4_1"}
    assert [first_line(r) for r in whole["raw"].to_pylist()] == whole["query"].to_pylist()
    assert any(whole["query"].to_pylist())


def test_types_are_drawn_evenly_over_passages() -> None:
    p = GenerateQueries(per_passage=2)
    drawn = [drawn_types(i.to_bytes(16, "big"), p) for i in range(1000)]
    assert all(len(set(types)) == 2 for types in drawn)
    counts = Counter(t for types in drawn for t in types)
    assert set(counts) == set(TYPES)
    assert all(abs(n - 400) < 80 for n in counts.values())


@given(st.binary(min_size=16, max_size=16), st.integers(5, 9))
def test_with_room_for_all_every_type_is_asked(key: bytes, per_passage: int) -> None:
    assert set(drawn_types(key, GenerateQueries(per_passage=per_passage))) == set(TYPES)


@given(st.text(max_size=80), st.integers(1, 30))
def test_a_passage_is_cut_at_a_word(passage: str, most: int) -> None:
    cut = cut_at_word(passage, most)
    assert len(cut) <= most
    assert " ".join(passage.split()).startswith(cut)
    assert "\n" not in cut


def test_quotes_that_wrap_an_answer_are_stripped() -> None:
    assert first_line(' "how owls hunt"') == "how owls hunt"
    assert first_line("\n  „what“\nnext") == "„what“"
    assert first_line('the "owl" hunts') == 'the "owl" hunts'
    assert first_line(" \n ") == ""


@pytest.mark.parametrize("name", TYPES)
def test_every_shipped_prompt_has_few_shots_that_it_can_name(name: str) -> None:
    prompt = default_prompts()[name]
    assert len(prompt.examples) == 4
    assert all(e in prompt.prefix for e in prompt.examples)
    assert "Text:" in prompt.markers
    assert prompt.render("{x} {passage}").endswith("Text: {x} {passage}\n" + prompt.label)


def test_a_prompt_is_a_file_in_yaml_and_its_text_in_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("Say {passage}\n")
    given_ = {"prompts": {"mine": "mine.md"}}
    p = GenerateQueries.model_validate(given_, context={"roots": [tmp_path]})
    assert p.model_dump()["prompts"] == {"mine": {"text": "Say {passage}", "chat": False, "system": ""}}
    assert GenerateQueries.model_validate_json(p.model_dump_json()) == p
    absolute = GenerateQueries.model_validate({"prompts": {"mine": str(tmp_path / "mine.md")}})
    assert absolute == p


def test_few_shots_are_drawn_by_the_seed_and_keep_their_order() -> None:
    prompt = default_prompts()["question"]
    drawn = [prompt.drawn(3, seed) for seed in range(40)]
    assert all(len(d.examples) == 3 and d.examples == [e for e in prompt.examples if e in d.examples] for d in drawn)
    assert len({d.text for d in drawn}) == 4 and drawn[5] == prompt.drawn(3, 5)
    assert prompt.drawn(9, 1) == prompt and prompt.drawn(0, 1).examples == []
    assert prompt.drawn(0, 1).render("x") == "Text: x\nQuestion:"


def test_a_prompt_may_be_a_chat(tmp_path: Path) -> None:
    (tmp_path / "chat.md").write_text("---\nchat: true\nsystem: You write queries.\n---\nFor {passage}\n")
    (tmp_path / "bad.md").write_text("---\nchat: [\n---\nFor {passage}\n")
    prompt = Prompt.model_validate(str(tmp_path / "chat.md"))
    assert (prompt.chat, prompt.system, prompt.text) == (True, "You write queries.", "For {passage}")
    with pytest.raises(ValidationError, match=r"bad.md: what stands between the lines of --- is no YAML"):
        Prompt.model_validate(str(tmp_path / "bad.md"))


def test_an_answer_that_was_cut_off_and_a_prompt_too_long_are_named() -> None:
    case = example()
    short = case.params.model_copy(update={"max_tokens": 2})
    faults = apply(generate_queries, case.table, short, **case.used).table["fault"].to_pylist()
    assert "answer cut off" in faults
    long = case.table.set_column(1, "passage", pa.array(["word " * 5000] * 3))
    wide = case.params.model_copy(update={"max_passage_tokens": None})
    assert set(apply(generate_queries, long.slice(0, 1), wide, **case.used).table["fault"].to_pylist()) == {"prompt too long"}
    ledger = Ledger(case.used["llm"], "m", Kept())
    assert case.params.per_passage == 2
    cut = apply(generate_queries, long.slice(0, 1), case.params, llm=ledger).table  # 1,024 tokens are the default
    assert "prompt too long" not in cut["fault"].to_pylist()
    assert ledger.counters["llm_texts_cut"] == 1, "a passage is cut once, not once a query"


def test_half_a_character_of_an_endpoint_is_written_kept_and_replayed_the_same(tmp_path: Path) -> None:
    case, made = example(), []
    with OpenAIServer("half*6") as server:
        entry = ModelEntry(kind="llm", backend="openai", model="m", dtype="", serving=Serving(endpoint=server.url))
        for attempt in ("r1-0", "r2-0"):
            journal = FileJournal(Store(str(tmp_path)), "ledger/m/generate_queries", "00000-of-00001", attempt)
            made.append(apply(generate_queries, case.table, case.params, llm=Ledger(load_endpoint(entry), "m", journal)).table)
        assert server.asked.total() == 6
    assert made[0].equals(made[1])
    assert made[0]["query"].to_pylist() == ["half \ufffd here"] * 6


def test_a_prompt_without_its_placeholder_or_its_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("Say something")
    with pytest.raises(ValidationError, match="must hold {passage} exactly once"):
        Prompt.model_validate(str(tmp_path / "mine.md"))
    with pytest.raises(ValidationError, match=r"there is no prompt file 'absent.md' in .*prompts"):
        Prompt.model_validate("absent.md")
