"""The ledger: what is kept is not asked again, whoever asks, and equal requests are asked once."""

from collections.abc import Sequence

import numpy as np
import pytest

from operators.engines import load_model, packaged
from operators.engines.ledger import Ledger
from operators.engines.llm import LLM, Answer, Request, Sampling

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


def test_a_prompt_that_is_too_long_stays_so_and_no_answer_is_asked_for_again(llm: LLM) -> None:
    journal = Kept()
    long = [Request("word " * 4200)]
    assert _ask(llm, journal, long)[0][0].fault == "prompt too long" == _ask(llm, journal, long)[0][0].fault
    assert _ask(llm, journal, long)[1]["llm_requests"] == 0

    class Silent:
        name, counters = "silent", {"llm_requests": 0}  # noqa: RUF012

        def complete(self, requests: Sequence[Request], sampling: Sampling, finished: object) -> list[Answer]:
            finished(0, Answer("", "fault", fault="no answer"))  # type: ignore[operator]
            return [Answer("", "fault", fault="no answer")]

    journal.clear()
    assert _ask(Silent(), journal, ASKED[:1])[0][0].fault == "no answer" and not journal  # type: ignore[arg-type]


def test_likelihoods_are_kept_to_the_bit(llm: LLM) -> None:
    journal = Kept()
    first, again = Ledger(llm, "m", journal), Ledger(llm, "m", journal)
    told = first.likelihood(["Iron rusts in", "Owls hunt at"], [" rain", " night"])
    assert np.array_equal(told, again.likelihood(["Iron rusts in", "Owls hunt at"], [" rain", " night"]))
    assert (first.counters["llm_requests"], again.counters["llm_requests"], again.counters["llm_replayed"]) == (2, 0, 2)
    assert told.dtype == np.float32 and (told < 0).all()


def test_texts_that_are_cut_are_counted(llm: LLM) -> None:
    ledger = Ledger(llm, "m", Kept())
    assert "Owls hunt at night".startswith(ledger.cut("Owls hunt at night", 2)) and ledger.cut("Owls", 5) == "Owls"
    assert ledger.counters["llm_texts_cut"] == 1
