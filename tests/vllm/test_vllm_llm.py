"""The vLLM back end on a real engine: vLLM's CPU build with SmolLM2."""

import json
import threading
import time

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.contract import InputError
from operators.engines.llm import Answer, Request, Sampling
from operators.engines.models import ModelEntry
from operators.engines.vllm_llm import AHEAD, VllmLLM, load_vllm
from tests.vllm.conftest import SEQUENCES

GREEDY = Sampling(max_tokens=8, temperature=0)
SCHEMA = {
    "type": "object", "properties": {"query": {"type": "string", "maxLength": 40}, "hard": {"type": "boolean"}},
    "required": ["query", "hard"], "additionalProperties": False,
}  # fmt: skip
TOO_LONG = Request("owls hunt at night " * 400)


def counting(number: int) -> Request:
    return Request(f"Numbers in order: {number}, {number + 1}, {number + 2},")


def test_every_request_has_its_own_answer_in_order_told_once(llm: VllmLLM) -> None:
    told: list[tuple[int, Answer]] = []
    before = dict(llm.counters)
    numbers = list(np.random.default_rng(0).permutation(40))
    answers = llm.complete([counting(int(n)) for n in numbers], GREEDY, lambda i, a: told.append((i, a)))
    assert sorted(i for i, _ in told) == list(range(40))
    assert all(answers[i] == a for i, a in told)
    right = sum(a.text.strip().startswith(str(n + 3)) for n, a in zip(numbers, answers, strict=True))
    assert right >= 36  # the model counts: an answer in another's place would show
    assert llm.counters["llm_requests"] - before["llm_requests"] == 40
    assert llm.counters["llm_tokens_out"] - before["llm_tokens_out"] == sum(a.tokens_out for a in answers) == 320
    assert llm.counters["llm_tokens_in"] - before["llm_tokens_in"] == sum(a.tokens_in for a in answers) > 400
    assert {a.finish for a in answers} == {"length"}
    assert llm.complete([], GREEDY) == []


def test_a_prompt_too_long_is_its_own_fault_and_the_others_go_on(llm: VllmLLM) -> None:
    before, told = llm.counters["llm_requests"], []
    answers = llm.complete([counting(1), TOO_LONG, counting(2)], GREEDY, lambda i, a: told.append(i))
    assert [a.fault for a in answers] == ["", "prompt too long", ""]
    assert answers[1].finish == "fault"
    assert sorted(told) == [0, 1, 2]
    assert llm.counters["llm_requests"] - before == 2


def test_a_prompt_may_fill_the_window_to_the_last_token(llm: VllmLLM) -> None:
    words = " ".join(["owl"] * 3000)
    full = llm.cut(words, 1024 - 8)
    answers = llm.complete([Request(full), Request(llm.cut(words, 1024 - 7))], GREEDY)
    assert answers[0].tokens_in + answers[0].tokens_out <= 1024
    assert [a.fault for a in answers] == ["", "prompt too long"]
    assert answers[0].tokens_in == 1016


def test_an_empty_prompt_is_answered(llm: VllmLLM) -> None:
    (answer,) = llm.complete([Request("")], GREEDY)
    assert answer.fault == ""
    assert answer.tokens_in == 1


def test_answers_follow_the_schema(llm: VllmLLM) -> None:
    sampling = Sampling(max_tokens=64, temperature=0.8, schema=json.dumps(SCHEMA))
    asked = [Request(f"A search query about {thing}, as JSON:", seed=i) for i, thing in enumerate(["owls", "rust", "snow"] * 4)]
    answers = llm.complete(asked, sampling)
    whole = [json.loads(a.text) for a in answers if a.finish == "stop"]
    for value in whole:
        jsonschema.validate(value, SCHEMA)
    assert len(whole) >= 10
    assert len({v["query"] for v in whole}) > 3


@pytest.mark.parametrize(
    "schema",
    ["{", '{"type": "banana"}', '{"type": "array", "items": {"type": "string"}, "uniqueItems": true}', '{"$ref": "#/$defs/gone"}'],
)
def test_a_schema_that_cannot_be_enforced_is_refused_before_a_request_is_spent(llm: VllmLLM, schema: str) -> None:
    before, told = dict(llm.counters), []
    with pytest.raises(InputError, match="cannot enforce the JSON schema"):
        llm.complete([counting(1)], Sampling(schema=schema), lambda i, a: told.append(i))
    assert (llm.counters, told) == (before, [])


def test_a_seed_decides_an_answer_that_is_asked_alone(llm: VllmLLM) -> None:
    sampling = Sampling(max_tokens=12, temperature=1.0, top_p=1.0)
    texts = [llm.complete([Request("Once upon a time", seed=s)], sampling)[0].text for s in (7, 7, 8, 2**63 - 1)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_equal_seeds_in_one_call_answer_alike_and_others_differ(llm: VllmLLM) -> None:
    sampling = Sampling(max_tokens=12, temperature=1.0)
    texts = [a.text for a in llm.complete([Request("Once upon a time", seed=s) for s in range(8)], sampling)]
    assert len(set(texts)) >= 7


def test_seeded_prompts_of_more_tokens_than_a_step_reads_are_answered(llm: VllmLLM) -> None:
    asked = [Request(f"Passage {n}: " + "owls hunt at night and sleep by day; " * 60, seed=n) for n in range(12)]
    answers = llm.complete(asked, Sampling(max_tokens=4, temperature=0.8))  # vLLM's default ends the engine on a CPU
    assert sum(a.tokens_in for a in answers) > 4096
    assert {a.fault for a in answers} == {""}


def test_an_answer_ends_before_the_first_stop_string(llm: VllmLLM) -> None:
    sampling = Sampling(max_tokens=40, temperature=0, stop=("14", "\n\n\n"))
    (answer,) = llm.complete([Request("Numbers in order: 9, 10, 11,")], sampling)
    assert answer.finish == "stop"
    assert answer.text.strip() == "12, 13,"


def test_a_chat_is_asked_in_the_models_template(llm: VllmLLM) -> None:
    sampling = Sampling(max_tokens=24, temperature=0)
    plain, chat, told = llm.complete(
        [
            Request("What is the capital of France?"),
            Request("What is the capital of France?", chat=True),
            Request("What is the capital of France?", chat=True, system="You are a pirate."),
        ],
        sampling,
    )
    user, pirate = {"role": "user", "content": "What is the capital of France?"}, {"role": "system", "content": "You are a pirate."}
    for answer, turns in ((chat, [user]), (told, [pirate, user])):
        whole = llm._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert answer.tokens_in == len(llm._tokenizer(whole)["input_ids"])
    assert plain.tokens_in < chat.tokens_in != told.tokens_in


def test_a_model_without_a_chat_template_is_named(llm: VllmLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm._tokenizer, "chat_template", None)
    with pytest.raises(InputError, match="has no chat template; name a chat model"):
        llm.complete([Request("Hello", chat=True)], GREEDY)


def test_two_threads_feed_one_engine_and_no_more_than_agreed_is_under_way(llm: VllmLLM) -> None:
    told: list[tuple[float, str]] = []
    most = [0]
    results: dict[str, list[Answer]] = {}

    def part(name: str, start: int) -> None:
        def finished(_: int, __: Answer) -> None:
            told.append((time.monotonic(), name))
            most[0] = max(most[0], llm._engine.get_num_unfinished_requests())

        asked = [counting(start + n) for n in range(60)]
        results[name] = llm.complete(asked, Sampling(max_tokens=16 if name == "a" else 6, temperature=0), finished)

    threads = [threading.Thread(target=part, args=(n, s)) for n, s in (("a", 100), ("b", 500))]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    for name, start in (("a", 100), ("b", 500)):
        right = sum(a.text.strip().startswith(str(start + n + 3)) for n, a in enumerate(results[name]))
        assert right >= 54
    first_of_b, last_of_a = min(t for t, n in told if n == "b"), max(t for t, n in told if n == "a")
    assert first_of_b < last_of_a  # b feeds in while a drains
    assert SEQUENCES < most[0] <= AHEAD * SEQUENCES


def test_an_answer_is_told_before_the_others_are_there(llm: VllmLLM) -> None:
    at: dict[int, float] = {}
    asked = [counting(n) for n in range(4 * SEQUENCES)]
    llm.complete(asked, GREEDY, lambda i, _: at.setdefault(i, time.monotonic()))
    times = sorted(at.values())
    assert times[0] < times[-1] - 0.1


def test_a_listener_that_fails_ends_the_call_and_takes_its_requests_back(llm: VllmLLM) -> None:
    def full(_: int, __: Answer) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        llm.complete([counting(n) for n in range(60)], Sampling(max_tokens=60, temperature=0), full)
    deadline = time.monotonic() + 10
    while llm._engine.get_num_unfinished_requests() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert llm._engine.get_num_unfinished_requests() == 0
    assert llm.complete([counting(1)], GREEDY)[0].fault == ""


def test_a_shared_start_is_read_once(llm: VllmLLM) -> None:
    shared = "Write a query that the passage answers. Passages are of many kinds. " * 40
    before = dict(llm.counters)
    llm.complete([Request(f"{shared}Passage {n}: owls.") for n in range(20)], GREEDY)
    read, cached = (llm.counters[k] - before[k] for k in ("llm_tokens_in", "llm_tokens_cached"))
    assert cached > 0.7 * read


def test_likelihoods_are_those_of_the_models_own_logits(llm: VllmLLM, folder) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pairs = [
        ("The capital of France is", " Paris."), ("The capital of France is", " purple bicycles!"), ("Owls hunt", " at night"),
        ("A long passage. " * 60 + "Query:", " what is a long passage"),
    ]  # fmt: skip
    told: dict[int, Answer] = {}
    got = llm.likelihood([p for p, _ in pairs] + ["x " * 1200, ""], [a for _, a in pairs] + [" y", " z"], told.__setitem__)
    assert [told[i] for i in range(6)] == got
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)
    for score, (prompt, answer) in zip(got, pairs, strict=False):
        before, after = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (prompt, answer))
        with torch.inference_mode():
            logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1].log_softmax(-1)
        # bfloat16 has logits of 16 an eighth apart, and processors differ in it by 0.06; one place off differs by 1 and more.
        assert abs(float(logits[torch.arange(len(after)), after].mean()) - float(score.text)) < 0.2
        assert float(np.float32(score.text)) == float(score.text)
        assert score.tokens_in == len(before) + len(after)
    assert float(got[0].text) > float(got[1].text) + 2
    assert [a.fault for a in got] == [""] * 4 + ["prompt too long", "nothing to score"]


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("Owls hunt atnigh; 12\n\tfällt🦉é日本"), max_size=60), st.integers(0, 40))
def test_a_cut_text_is_its_first_tokens_without_a_broken_letter(llm: VllmLLM, text: str, tokens: int) -> None:
    ids = llm._tokenizer(text, add_special_tokens=False)["input_ids"]
    cut = llm.cut(text, tokens)
    assert llm._tokenizer.decode(ids[:tokens], clean_up_tokenization_spaces=False).rstrip("\ufffd") == cut
    assert len(llm._tokenizer(cut, add_special_tokens=False)["input_ids"]) <= tokens


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"options": {"max_num_seqz": 4}}, "max_num_seqz .* is no argument of vLLM's engine"),
        ({"options": {"trust_remote_code": True}}, "trust_remote_code .* is set by the entry's own keys"),
        ({"options": {"max_num_seqs": 0}}, "vLLM cannot run"),
    ],
)
def test_an_option_that_vllm_has_not_is_named(entry: ModelEntry, change: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_vllm(entry.model_copy(update={"serving": entry.serving.model_copy(update=change)}))


def test_a_window_wider_than_the_models_is_refused(entry: ModelEntry) -> None:
    with pytest.raises(InputError, match="vLLM cannot run .*100000"):
        load_vllm(entry.model_copy(update={"max_tokens": 100000}))
