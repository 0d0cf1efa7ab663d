"""The ledger: what is kept is not asked again, whoever asks, and equal requests are asked once."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from operators.engines import load_model, packaged
from operators.engines.endpoint import load_endpoint
from operators.engines.ledger import Ledger
from operators.engines.llm import LLM, Answer, Request, Sampling
from operators.engines.models import ModelEntry, Serving
from tests.operators.engines.openai_server import OpenAIServer

SAMPLING = Sampling(max_tokens=6, temperature=0.8, stop=("\n",))
ASKED = [Request("Iron rusts in", 1, "aa"), Request("Owls hunt at", 2, "bb"), Request("Iron rusts in", 1, "aa")]


class Kept(dict[str, Answer]):
    """A journal in memory."""

    def put(self, key: str, row: str, answer: Answer) -> None:
        self[key] = answer


@pytest.fixture(scope="module")
def llm() -> LLM:
    return load_model("llm", packaged("llm"))  # type: ignore[no-any-return]


def _ask(
    llm: LLM, journal: Kept, asked: Sequence[Request] = ASKED, sampling: Sampling = SAMPLING, who: str = "model"
) -> tuple[list[Answer], dict[str, int]]:
    ledger = Ledger(llm, who, journal, (1.0, 2.0))
    return ledger.complete(asked, sampling), ledger.counters


def test_what_is_kept_is_replayed_and_equal_requests_are_asked_once(llm: LLM) -> None:
    journal = Kept()
    first, cost = _ask(llm, journal)
    again, nothing = _ask(llm, journal)
    assert first == again == llm.complete(ASKED, SAMPLING)
    assert (cost["llm_requests"], cost["llm_replayed"]) == (2, 1)
    assert (nothing["llm_requests"], nothing["llm_replayed"], nothing["llm_tokens_out"]) == (0, 3, 0)
    assert cost["llm_cost_millionths"] == cost["llm_tokens_in"] + 2 * cost["llm_tokens_out"] > 0


@pytest.mark.parametrize("change", ["prompt", "seed", "row", "sampling", "model"])
def test_whatever_decides_an_answer_is_part_of_its_key(llm: LLM, change: str) -> None:
    journal = Kept()
    _ask(llm, journal, ASKED[:1])
    said = {"prompt": ("Iron rusts on", 1, "aa"), "seed": ("Iron rusts in", 9, "aa"), "row": ("Iron rusts in", 1, "ab")}
    other = {name: Request(*values) for name, values in said.items()}
    sampling = Sampling(max_tokens=7, temperature=0.8, stop=("\n",)) if change == "sampling" else SAMPLING
    _, counters = _ask(llm, journal, [other.get(change, ASKED[0])], sampling, "other" if change == "model" else "model")
    assert counters["llm_requests"] == 1


def test_an_answer_is_kept_before_it_is_told_and_a_full_disk_stops_the_part(llm: LLM) -> None:
    journal, heard = Kept(), []
    Ledger(llm, "m", journal).complete(ASKED, SAMPLING, lambda i, a: heard.append((i, a, len(journal))))
    assert sorted(n for _, _, n in heard) == [1, 2]

    class Full(Kept):
        def put(self, key: str, row: str, answer: Answer) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        _ask(llm, Full())


class Faulty(OpenAIServer):
    """What an endpoint says of seven rows: an answer, and each kind of none."""

    def __init__(self) -> None:
        acts = {"long": "context", "refused": "unsafe", "odd": "400", "ill": "500"}
        super().__init__(rules={f"row {name}": act for name, act in acts.items()})


def remote(server: OpenAIServer, **serving: Any) -> LLM:
    said = Serving(endpoint=server.url, timeout=5, patience=20, **serving)
    return load_endpoint(ModelEntry(kind="llm", backend="openai", model="m", dtype="", serving=said))


@pytest.mark.parametrize("how", ["complete", "likelihood"])
def test_only_what_was_paid_for_is_kept(how: str) -> None:
    prompts = ["row fine", "row long", "row refused", "row odd", "row ill"]

    def ask(ledger: Ledger) -> list[str]:
        if how == "likelihood":
            return [a.fault for a in ledger.likelihood(prompts, [" then"] * 5)]
        return [a.fault for a in ledger.complete([Request(p) for p in prompts], SAMPLING)]

    journal = Kept()
    with Faulty() as server:
        assert ask(Ledger(remote(server), "m", journal)) == ["", "prompt too long", "refused", "refused by the endpoint", "no answer"]
        assert [a.fault for a in journal.values()] in (["", "refused"], ["refused", ""])
    with OpenAIServer() as mended:
        ledger = Ledger(remote(mended), "m", journal)
        assert ask(ledger) == ["", "", "refused", "", ""]
        assert (ledger.counters["llm_requests"], ledger.counters["llm_replayed"]) == (3, 2)


@pytest.mark.parametrize("how", ["complete", "likelihood"])
def test_a_full_disk_stops_the_asking_and_what_is_under_way_is_kept_where_there_is_room(how: str) -> None:
    class Tight(Kept):
        def put(self, key: str, row: str, answer: Answer) -> None:
            if len(self) >= 5 and not self.full:
                self.full = True
                raise OSError(28, "No space left on device")
            super().put(key, row, answer)

        full = False

    prompts = [f"row {i:03d}" for i in range(300)]
    with OpenAIServer(latency=0.02) as server:
        journal, llm = Tight(), remote(server, concurrency=4)
        ledger = Ledger(llm, "m", journal)
        given = ([Request(p) for p in prompts], SAMPLING) if how == "complete" else (prompts, [" x"] * 300)
        with pytest.raises(OSError, match="No space left"):
            getattr(ledger, how)(*given)
        asked = server.asked.total()
        assert asked <= 24
        assert len(journal) == asked - 1
        time.sleep(0.1)
        assert server.asked.total() == asked


def test_what_is_told_may_fail_and_is_kept_by_then() -> None:
    def deaf(i: int, answer: Answer) -> None:
        raise ValueError("not heard")

    with OpenAIServer(latency=0.02) as server:
        journal = Kept()
        with pytest.raises(ValueError, match="not heard"):
            Ledger(remote(server, concurrency=4), "m", journal).complete([Request(f"row {i}") for i in range(99)], SAMPLING, deaf)
        assert 1 <= len(journal) == server.asked.total() <= 12


def test_likelihoods_are_kept_to_the_bit_and_cost_what_they_read(llm: LLM) -> None:
    journal = Kept()
    prompts, answers = ["Iron rusts in", "Owls hunt at", "Iron rusts in", "word " * 4200], [" rain", " night", " rain", " x"]
    first, again = Ledger(llm, "m", journal, (3.0, 0.0)), Ledger(llm, "m", journal, (3.0, 0.0))
    heard: dict[int, int] = {}
    told = first.likelihood(prompts, answers, lambda i, a: heard.update({i: len(journal)}))
    assert told == again.likelihood(prompts, answers)
    assert [a.fault for a in told] == ["", "", "", "prompt too long"]
    assert heard == {0: 1, 1: 2, 3: 2}  # each is kept before it is told
    assert all(float(np.float32(a.text)) == float(a.text) < 0 for a in told[:3])
    assert first.counters["llm_cost_millionths"] == 3 * first.counters["llm_tokens_in"] == 3 * sum(a.tokens_in for a in told[:2]) > 0
    assert (first.counters["llm_requests"], again.counters["llm_requests"], again.counters["llm_replayed"]) == (3, 1, 3)


def test_what_replayed_answers_had_cost_is_counted_once_a_request(llm: LLM) -> None:
    journal = Kept()
    _, cost = _ask(llm, journal)
    _, again = _ask(llm, journal)
    assert (cost["llm_replayed_cost_millionths"], again["llm_cost_millionths"]) == (0, 0)
    assert again["llm_replayed_cost_millionths"] == cost["llm_cost_millionths"] > 0


def test_texts_that_are_cut_are_counted(llm: LLM) -> None:
    ledger = Ledger(llm, "m", Kept())
    assert "Owls hunt at night".startswith(ledger.cut("Owls hunt at night", 2)) and ledger.cut("Owls", 5) == "Owls"
    assert ledger.counters["llm_texts_cut"] == 1
