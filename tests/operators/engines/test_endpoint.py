"""The endpoint back end against a real HTTP server that misbehaves on schedule."""

import asyncio
import json
import threading
import time
from collections import Counter
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import InputError
from operators.engines import http_pool
from operators.engines.endpoint import BYTES_A_TOKEN, EndpointLLM, load_endpoint, unusable
from operators.engines.endpoint_check import endpoint_fault
from operators.engines.endpoint_reading import answer_begins, clearer, server_words, sort_error
from operators.engines.http_gate import Gate, Trend
from operators.engines.http_pool import Reply
from operators.engines.llm import Answer, Request, Sampling
from operators.engines.models import ModelEntry, Serving
from tests.operators.engines.openai_server import OpenAIServer

KEY = "sk-very-secret-0123456789"
PLAIN = Sampling()
PROMPTS = [f"tell me about thing {i}" for i in range(24)]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PITHEAD_TEST_KEY", KEY)


def entry(url: str, model: str = "m", **serving: Any) -> ModelEntry:
    given_ = {"api_key_env": "PITHEAD_TEST_KEY", "concurrency": 8, "timeout": 5, "patience": 20, **serving}
    return ModelEntry(kind="llm", backend="openai", model=model, dtype="", serving=Serving(endpoint=url, **given_))


def load(server: OpenAIServer, **serving: Any) -> EndpointLLM:
    llm = load_endpoint(entry(server.url, **serving))
    assert isinstance(llm, EndpointLLM)
    return llm


def checked(server: OpenAIServer, **serving: Any) -> None:
    """Load and ask: the first request finds what is wrong."""
    ask(load(server, **serving), PROMPTS[:1])


def ask(llm: EndpointLLM, prompts: list[str], sampling: Sampling = PLAIN, **request: Any) -> tuple[list[Answer], Counter[int]]:
    """Answers, and how often `finished` heard of each; what it heard is what is returned."""
    heard: dict[int, Answer] = {}
    counts: Counter[int] = Counter()

    def finished(i: int, answer: Answer) -> None:
        heard[i] = answer
        counts[i] += 1

    answers = llm.complete([Request(p, **request) for p in prompts], sampling, finished)
    assert [heard[i] for i in range(len(prompts))] == answers
    return answers, counts


def right(prompts: list[str]) -> list[str]:
    return [p[-40:][::-1] for p in prompts]


def test_answers_come_in_order_with_their_finish_and_tokens_and_each_is_told_once() -> None:
    with OpenAIServer() as server:
        llm = load(server)
        answers, counts = ask(llm, PROMPTS, Sampling(max_tokens=5))
        assert [a.text for a in answers] == right(PROMPTS)
        assert {(a.finish, a.tokens_in, a.tokens_out, a.fault) for a in answers} == {("stop", 5, 5, "")}
        assert counts == Counter(range(24))
        assert ask(llm, PROMPTS[:1], Sampling(max_tokens=4))[0][0].finish == "length"
        assert llm.counters == {"llm_requests": 25, "llm_tokens_in": 125, "llm_tokens_out": 125, "llm_retries": 0, "llm_truncated": 0}
        assert max(server.asked.values()) == 1
        assert llm.name == "m"
        assert llm.complete([], Sampling()) == []


def test_what_is_sent_follows_the_protocol_and_the_key_is_in_its_header_alone() -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False}
    with OpenAIServer() as server:
        llm = load(server)
        llm.complete([Request("hi there", 2**40 + 5, chat=True, system="be brief")], Sampling(7, 0.5, 0.9, ("\n",), json.dumps(schema)))
        llm.complete([Request("go on")], Sampling(7, 0))
    assert server.bodies[0] == {
        "path": "/v1/chat/completions", "model": "m", "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "stop": ["\n"], "seed": 5,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi there"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}},
    }  # fmt: skip
    assert server.bodies[1] == {
        "path": "/v1/completions", "model": "m", "max_tokens": 7, "temperature": 0, "top_p": 0.95, "seed": 0, "prompt": "go on",
    }  # fmt: skip
    assert KEY not in json.dumps(server.bodies)
    assert all([line for line in head.split("\r\n") if KEY in line] == [f"Authorization: Bearer {KEY}"] for head in server.headers)


def test_an_answer_ends_before_a_stop_even_where_the_server_leaves_it_on() -> None:
    with OpenAIServer() as server:
        assert ask(load(server), ["edcba"], Sampling(stop=("d", "c")))[0][0].text == "ab"


@pytest.mark.parametrize(
    "plan", ["429:0.1 429:0.1", "429date:1", "500 503 408", "cut close cut", "truncated empty html garbage abort", "hang hang"]
)
def test_a_passing_trouble_is_tried_again_and_no_finished_request_is_asked_twice(plan: str) -> None:
    with OpenAIServer(plan) as server:
        llm = load(server, timeout=0.5)
        answers, counts = ask(llm, PROMPTS)
        assert [a.text for a in answers] == right(PROMPTS)
        assert counts == Counter(range(24))
        troubles = len(plan.split())
        assert llm.counters["llm_retries"] == troubles == sum(server.asked.values()) - 24
        assert set(server.answered.values()) == {1}
        assert len(server.answered) == 24


def test_a_server_that_dies_and_comes_back_is_waited_for() -> None:
    with OpenAIServer("ok*9 die:1", latency=0.02) as server:
        answers, counts = ask(load(server), PROMPTS)
        assert [a.text for a in answers] == right(PROMPTS)
        assert counts == Counter(range(24))
        assert set(server.answered.values()) == {1}


def test_retry_after_is_respected_by_everybody() -> None:
    with OpenAIServer("ok*8 429:0.8", latency=0.01) as server:
        ask(load(server), PROMPTS)
        gaps = np.diff(sorted(server.times))
        assert 0.7 < gaps.max() < 2  # those under way at the 429 came before it
        late = sorted(server.times)[int(gaps.argmax()) + 1 :]
        assert len(late) >= 8


def test_retry_after_is_seconds_or_a_date() -> None:
    def wait(said: str) -> float:
        return Reply(429, "", b"", {"Retry-After": said}).wait

    assert wait("7") == 7
    assert wait("0.5") == 0.5
    assert 58 < wait(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert wait("") == wait("soon") == wait("-3") == wait("²") == wait(formatdate(0, usegmt=True)) == 0


def test_several_threads_share_the_limit_and_each_gets_its_own_answers() -> None:
    prompts = [[f"thread {t} asks {i}" for i in range(40)] for t in range(5)]
    out: dict[int, list[str]] = {}
    with OpenAIServer(latency=0.01) as server:
        llm = load(server, concurrency=6)
        threads = [threading.Thread(target=lambda t=t: out.update({t: [a.text for a in ask(llm, prompts[t])[0]]})) for t in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert out == {t: right(prompts[t]) for t in range(5)}
        assert server.peak == 6
        assert llm.counters["llm_requests"] == 200


def test_crowding_halves_the_limit_and_success_raises_it_again() -> None:
    with OpenAIServer("429:0.05 ok*100", latency=0.01) as server:
        llm = load(server, concurrency=32)
        seen: list[float] = []
        llm.complete([Request(f"{i}") for i in range(300)], Sampling(), lambda _i, _a: seen.append(llm.pool.gate.limit))
        assert min(seen) <= 20  # 16, and what has come in between
        assert seen[-1] > min(seen) + 3
        assert server.peak <= 32


def test_the_limit_shrinks_once_for_what_was_sent_before_it_shrank() -> None:
    async def run() -> list[float]:
        gate = Gate(64)
        sent = time.monotonic()
        for _ in range(64):
            gate.shrink(sent)
        once = gate.limit
        for _ in range(20):
            gate.shrink(time.monotonic() + 1)
        low = gate.limit
        for _ in range(10_000):
            gate.grow()
        return [once, low, gate.limit]

    assert asyncio.run(run()) == [32, 1, 64]


@pytest.mark.parametrize(
    ("act", "fault", "text"),
    [("context", "prompt too long", "maximum context length"), ("unsafe", "refused", "filtered"), ("filter", "refused", ""),
     ("refusal", "refused", "I cannot help"), ("400", "refused by the endpoint", "Unsupported character")],
)  # fmt: skip
@pytest.mark.parametrize("chat", [True, False])
def test_a_row_that_is_refused_is_that_rows_fault(act: str, fault: str, text: str, chat: bool) -> None:
    if act == "refusal" and not chat:
        return  # completions have no such field
    with OpenAIServer(rules={"thing 7": act}) as server:
        answers, counts = ask(load(server), PROMPTS, chat=chat)
        assert (answers[7].fault, answers[7].finish) == (fault, "fault")
        assert text in answers[7].text
        assert KEY not in answers[7].text
        assert [a.text for a in answers if not a.fault] == right(PROMPTS[:7] + PROMPTS[8:])
        assert counts == Counter(range(24))


@pytest.mark.parametrize("act", ["garbage", "500"])
def test_a_row_that_never_has_an_answer_is_given_up_though_it_is_the_last(act: str) -> None:
    with OpenAIServer(rules={"thing 23": act}) as server:
        answers, _ = ask(load(server), PROMPTS)
        assert [a.fault for a in answers] == [""] * 23 + ["no answer"]
        assert KEY not in answers[23].text
        assert answers[23].text
        assert {n for body, n in server.answered.items() if "Hello" not in body} == {1}
        assert sum(n for body, n in server.asked.items() if "thing 23" in body) <= 12


@pytest.mark.parametrize(
    ("act", "words"),
    [("401", "refuses the key .* set PITHEAD_TEST_KEY"), ("403", "refuses the key .* PITHEAD_TEST_KEY"), ("429spent", "account is spent"),
     ("404", r"model 'm': the endpoint http://127.* does not know this model"), ("400model", "does not know this model"),
     ("400", "refuses every request with these settings: Unsupported character"), ("moved", "sends us on to another address")],
)  # fmt: skip
def test_what_the_user_must_mend_stops_at_once_and_never_names_the_key(act: str, words: str) -> None:
    with OpenAIServer(f"{act}*500") as server:
        llm = load(server)
        with pytest.raises(InputError, match=words) as caught:
            ask(llm, PROMPTS)
        assert KEY not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert sum(server.asked.values()) <= 16  # what is under way at a limit of 8, and for 400 a harmless prompt each


def test_a_stop_midway_waits_for_what_is_under_way_and_sends_nothing_new() -> None:
    with OpenAIServer("slow:0.4*7 401 ok*50") as server:
        heard: list[int] = []
        with pytest.raises(InputError, match="refuses the key"):
            load(server).complete([Request(p) for p in PROMPTS], Sampling(), lambda i, _: heard.append(i))
        assert len(set(heard)) == len(heard) == 7 == sum(server.answered.values())
        assert len(server.bodies) == 8


def test_a_schema_that_the_endpoint_cannot_enforce_is_said() -> None:
    with OpenAIServer("schema*9") as server:
        with pytest.raises(InputError, match="a schema that the endpoint cannot enforce .*additionalProperties"):
            ask(load(server), PROMPTS[:2], Sampling(schema='{"type": "object"}'))
        with pytest.raises(InputError, match="a schema that the endpoint cannot enforce: it is no JSON"):
            ask(load(server), PROMPTS[:2], Sampling(schema="{"))


def test_a_server_that_wants_the_limit_by_its_new_name_gets_it() -> None:
    with OpenAIServer("rename*30") as server:
        llm = load(server, concurrency=1)
        assert [a.text for a in ask(llm, PROMPTS[:4])[0]] == right(PROMPTS[:4])
        assert [b for b in server.bodies if "max_tokens" in b] == server.bodies[:1]


def test_an_endpoint_that_stays_away_stops_the_step_with_what_is_finished_told() -> None:
    with OpenAIServer("ok*12 die:60", latency=0.02) as server:
        llm = load(server, patience=1.5, concurrency=4)
        heard: list[int] = []
        start = time.monotonic()
        with pytest.raises(InputError, match=r"has answered nobody for serving.patience = 1.5 s: it .*run again") as caught:
            llm.complete([Request(p) for p in PROMPTS], Sampling(), lambda i, _: heard.append(i))
        assert 1.4 < time.monotonic() - start < 6
        assert len(heard) == sum(server.answered.values()) >= 9
        assert KEY not in str(caught.value)


def test_an_endpoint_that_fails_for_everybody_or_asks_for_too_much_patience_stops_the_step() -> None:
    with OpenAIServer("500*999") as server, pytest.raises(InputError, match=r"nobody for .* = 1 s: it answers with HTTP 500"):
        ask(load(server, patience=1), PROMPTS)
    with OpenAIServer("429:3600*999") as server, pytest.raises(InputError, match=r"nobody for .* = 1 s: .* asks to wait 3600 s"):
        ask(load(server, patience=1, concurrency=1), PROMPTS)


def test_one_wait_above_patience_does_not_stop_what_was_answered_a_moment_ago() -> None:
    with OpenAIServer("ok*8 429:3600") as server:
        answers, _ = ask(load(server, patience=1), PROMPTS)
        assert [a.text for a in answers] == right(PROMPTS)


@pytest.mark.parametrize("act", ["deep:100000", "deep:500", "endless", "garbage"])
def test_a_reply_that_cannot_be_read_is_tried_again(act: str) -> None:
    with OpenAIServer(act) as server:
        llm = load(server)
        assert [a.text for a in ask(llm, PROMPTS)[0]] == right(PROMPTS)
        assert llm.counters["llm_retries"] == 1
    with OpenAIServer("ok", rules={"poison": act}) as server:
        assert ask(load(server, patience=3), ["fine", "poison"])[0][1].fault == "no answer"


def test_a_row_that_hangs_for_longer_than_patience_is_given_up_where_a_harmless_one_is_answered() -> None:
    with OpenAIServer(rules={"poison": "hang"}) as server:
        answers, _ = ask(load(server, timeout=0.6, patience=1), ["fine", "poison"])
        assert [a.fault for a in answers] == ["", "no answer"]


def test_random_failures_of_half_of_all_tries_lose_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pool, "LONGEST_WAIT", 0.02)
    fails = [k for k in range(9) for _ in range(max(128 >> k, 1))]  # so many rows fail k times: halves of halves
    np.random.default_rng(0).shuffle(fails)
    prompts = [f"row {i:03d}" for i in range(len(fails))]
    rules = {p: f"500*{k} ok" if k else "ok" for p, k in zip(prompts, fails, strict=True)}
    with OpenAIServer(rules={**rules, "Hello": "500 ok " * 200}) as server:
        answers, _ = ask(load(server), prompts)
        assert [a.fault for a in answers] == [""] * len(prompts)
        assert server.asked.total() > 400


def test_a_row_that_is_poisoned_is_given_up_though_others_fail_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pool, "LONGEST_WAIT", 0.02)
    rules = {f"row {i:03d}": "500 ok" for i in range(0, 90, 3)} | {"row 050": "500"}
    with OpenAIServer(rules=rules, latency=0.01) as server:
        answers, _ = ask(load(server), [f"row {i:03d}" for i in range(90)])
        assert [i for i, a in enumerate(answers) if a.fault] == [50]
        assert sum(n for body, n in server.asked.items() if "row 050" in body) < 30


def test_the_trend_counts_others_alone_and_knows_nothing_at_first() -> None:
    trend = Trend()
    assert trend.rate(but=False) == 0.5
    trend.hear(failed=True)
    assert (trend.rate(but=True), trend.rate(but=False)) == (0.5, 2 / 3)
    for _ in range(1000):
        trend.hear(failed=False)
    assert trend.rate(but=False) < 0.01


def test_the_key_is_no_part_of_an_answer_however_it_is_escaped() -> None:
    assert clearer("")("a") == "a"
    assert clearer('sk-"1')(r'say sk-"1, \u0073k-\"1, \\u0073\u006b-\"1.') == "say [key], [key], [key]."
    with OpenAIServer("leak leak400") as server:
        for answer in ask(load(server, concurrency=1), ["tell me abc", "tell me abd"])[0]:
            assert "[key]" in answer.text
            assert KEY not in answer.text
    body = json.dumps({"error": {"message": "x" * 1990 + KEY}}).encode()
    assert KEY[:8] not in server_words(body, clearer(KEY))


def test_half_a_character_is_replaced_when_an_answer_is_read() -> None:
    with OpenAIServer("half") as server:
        assert ask(load(server), PROMPTS[:1])[0][0].text == "half \ufffd here"


def test_what_finished_raises_ends_the_batch_and_the_back_end_still_serves() -> None:
    def full(_: int, __: Answer) -> None:
        raise OSError("disk full")

    with OpenAIServer(latency=0.01) as server:
        llm = load(server)
        with pytest.raises(OSError, match="disk full"):
            llm.complete([Request(p) for p in PROMPTS * 40], Sampling(), full)
        time.sleep(0.1)
        sent = sum(server.asked.values())
        time.sleep(0.2)
        assert sum(server.asked.values()) == sent
        assert [a.text for a in ask(llm, PROMPTS)[0]] == right(PROMPTS)


def test_what_is_under_way_when_finished_raises_is_heard() -> None:
    heard: list[int] = []

    def full(i: int, _: Answer) -> None:
        heard.append(i)
        raise OSError("disk full")

    with OpenAIServer("ok slow:0.3*7 ok*99") as server:
        with pytest.raises(OSError, match="disk full"):
            load(server).complete([Request(p) for p in PROMPTS], Sampling(), full)
        assert len(heard) == len(set(heard)) == sum(server.answered.values()) == sum(server.asked.values()) < len(PROMPTS)


def test_a_load_asks_nothing_and_the_first_request_waits_for_the_server() -> None:
    with OpenAIServer() as server:
        llm = load(server)
        assert llm.complete([], Sampling()) == [] and llm.likelihood([], []) == []
        assert server.listed == 0
        server.loop.call_soon_threadsafe(lambda: setattr(server, "dying", server.loop.create_task(server.die(1))))
        time.sleep(0.2)
        assert [a.text for a in ask(llm, PROMPTS)[0]] == right(PROMPTS)
        ask(llm, PROMPTS)
        assert server.listed == 1


def test_the_first_request_finds_an_unreachable_endpoint_a_wrong_key_and_an_unknown_model() -> None:
    with OpenAIServer() as server:
        gone = server.url
    with pytest.raises(InputError, match="cannot be reached: .*mend serving.endpoint"):
        ask(load_endpoint(entry(gone, patience=0.2)), PROMPTS[:1])
    assert "cannot be reached" in str(unusable(entry(gone, patience=0.2)))
    for models, words in [("401", "refuses the key"), ("other more", "it has more, other"), ("html", "no list of models"), ("307", "another address")]:
        with OpenAIServer(models=models) as server, pytest.raises(InputError, match=words) as caught:
            checked(server)
        assert KEY not in str(caught.value)
        assert server.bodies == []
    for models in (None, "405", "403", "500", " ".join(f"m{i}" for i in range(30))):  # a hosted catalogue has aliases
        with OpenAIServer(models=models) as server:
            assert ask(load(server), PROMPTS[:1])[0][0].text


def test_what_is_wrong_with_an_entry_is_found_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    good = "http://127.0.0.1:8000/v1"
    assert endpoint_fault(entry(good)) is None
    assert endpoint_fault(entry("https://api.example.org/v1", api_key_env="")) is None
    for url, words in [("", "no serving.endpoint"), ("127.0.0.1:8000", "no http"), ("ftp://x/v1", "no http"), ("http://", "no http"),
                       ("http://[::1/v1", "no address"), ("http://x:99999/v1", "no address"), ("https://me:pass123@x/v1", "no password"),
                       ("https://x/v1?api-key=pass123", "no password")]:  # fmt: skip
        fault = endpoint_fault(entry(url))
        assert fault is not None
        assert words in fault
        assert "pass123" not in fault
    monkeypatch.setenv("PITHEAD_TEST_KEY", f"{KEY}\nmore")
    fault = endpoint_fault(entry(good))
    assert fault is not None
    assert "cannot be a key" in fault
    assert KEY not in fault
    monkeypatch.delenv("PITHEAD_TEST_KEY")
    with pytest.raises(InputError, match="the environment has no PITHEAD_TEST_KEY"):
        load_endpoint(entry(good))


def test_likelihood_is_the_mean_over_the_answers_tokens_alone() -> None:
    with OpenAIServer(rules={"huge": "context"}) as server:
        llm = load(server)
        heard: dict[int, Answer] = {}
        found = llm.likelihood(["some words:", "", "one", "huge", "x"], [" abc defghi", "a", " ab", " b", ""], heard.__setitem__)
        assert [found[i].text for i in (0, 2)] == [repr(float(np.float32(v))) for v in (-0.45, -0.2)]
        assert [a.fault for a in found] == ["", "nothing to score", "", "prompt too long", "nothing to score"]
        assert [heard[i] for i in range(5)] == found
        assert {(b["path"], b["echo"], b["logprobs"], b["max_tokens"]) for b in server.bodies} == {("/v1/completions", True, 1, 0)}
        assert llm.counters["llm_tokens_in"] == sum(a.tokens_in for a in found) == 6
        server.logprobs = False
        with pytest.raises(InputError, match="gives no log-probabilities of a prompt"):
            load(server).likelihood(["a"], [" b"])


@pytest.mark.parametrize(("act", "fault"), [("500", "no answer"), ("400", "refused by the endpoint"), ("unsafe", "refused")])
def test_a_pair_that_never_has_a_likelihood_is_given_up_and_the_others_are_scored(act: str, fault: str) -> None:
    with OpenAIServer(rules={"poison": act}) as server:
        found = load(server, concurrency=1).likelihood(["a poison pill", "a b", "c d"], [" x", " yy", " z"])
        assert [a.fault for a in found] == [fault, "", ""]
        assert sum(n for body, n in server.asked.items() if "poison" in body) <= 13
    with OpenAIServer("400*9") as server, pytest.raises(InputError, match="gives no log-probabilities .*Unsupported character"):
        load(server).likelihood(["a"], [" b"])


@given(st.lists(st.text("ab é", min_size=1, max_size=4), min_size=2, max_size=12), st.data(), st.booleans(), st.booleans())
def test_the_first_token_of_an_answer_is_found_in_any_cut(pieces: list[str], data: st.DataObject, special: bool, broken: bool) -> None:
    text = "".join(pieces)
    border = data.draw(st.integers(1, len(text) - 1))
    tokens = ["<s>"] * special + pieces
    ends = np.cumsum([len(p) for p in pieces])
    expected = special + int(np.flatnonzero(ends > border)[0])
    offsets = [sum(map(len, tokens[:i])) for i in range(len(tokens))]
    if broken:  # pieces of a character have no text of their own
        tokens = [t.replace("é", "\ufffd") for t in tokens]
    assert answer_begins(tokens, offsets, text[:border], text[border:]) == expected


@given(st.text(max_size=60), st.integers(1, 20))
def test_a_cut_without_a_tokenizer_is_a_start_of_bounded_bytes(text: str, tokens: int) -> None:
    llm = EndpointLLM.__new__(EndpointLLM)
    llm.name, llm.counters, llm._turn = "no-such-folder", {"llm_truncated": 0}, threading.Lock()
    kept = llm.cut(text, tokens)
    assert text.startswith(kept)
    assert len(kept.encode()) <= BYTES_A_TOKEN * tokens
    assert llm.counters["llm_truncated"] == (kept != text)
    rest = text[len(kept) :]
    assert not rest or len((kept + rest[0]).encode()) > BYTES_A_TOKEN * tokens


@pytest.mark.parametrize(
    ("status", "words", "schema", "whose"),
    [(400, "the request exceeds the available context size", False, "too long"), (400, "The input (9 tokens) is longer than the model's limit", False, "too long"),
     (400, "prompt is too long: 9 tokens > 8 maximum", True, "too long"), (413, "", False, "too long"), (400, "exceeds the maximum number of tokens allowed", False, "too long"),
     (403, "your input was flagged", False, "unsafe"), (403, "forbidden", False, "key"), (400, "Grammar error: bad schema", True, "schema"), (422, "grammar", False, "prompt"),
     (402, "", False, "unpaid"), (429, "slow down", False, "again"), (425, "", False, "again"), (599, "", False, "again"), (418, "", False, "unknown")],
)  # fmt: skip
def test_an_error_is_sorted_by_whose_affair_it_is(status: int, words: str, schema: bool, whose: str) -> None:
    assert sort_error(status, words, schema) == whose


@given(st.binary(max_size=80) | st.recursive(st.none() | st.integers() | st.text(), lambda s: st.dictionaries(st.sampled_from(["error", "message", "detail"]), s) | st.lists(s)).map(lambda v: json.dumps(v).encode()))
def test_any_body_of_an_error_is_read_as_one_line(body: bytes) -> None:
    assert len(server_words(body).splitlines()) <= 1
