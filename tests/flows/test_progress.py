"""Progress: plain lines off a terminal, with rates, an estimate, and what a model was asked."""

import io

from cluster.journal import Kept
from cluster.work import Report
from flows.progress import Progress


def _report(**counters: int) -> Report:
    return Report("p", "done", {"rows": 10, "counters": counters})


def test_a_line_tells_parts_rates_cost_and_what_is_left() -> None:
    out = io.StringIO()
    progress = Progress(out, interval=0)
    progress("queries", 2, 6, None)
    progress.started -= 2  # two seconds ago
    progress("queries", 3, 6, _report(llm_requests=40, llm_tokens_out=800, llm_replayed=5, llm_cost_millionths=250_000, llm_replayed_cost_millionths=20_000))
    said = out.getvalue()
    assert "queries: 3 of 6 parts, 5 rows/s, 20 requests/s, 400 tokens/s, 5 answers replayed that had cost 0.02, " in said
    assert "0.25 spent of about 1, about 6 s left" in said


def test_a_step_without_a_model_says_nothing_of_requests_and_a_new_step_begins_anew() -> None:
    out = io.StringIO()
    progress = Progress(out, interval=0)
    progress("a", 0, 2, None)
    progress("a", 1, 2, _report(llm_requests=4))
    progress("b", 0, 1, None)
    progress("b", 1, 1, _report())
    first, last = out.getvalue().splitlines()
    assert "requests/s" in first and "requests" not in last and last.startswith("b: 1 of 1 parts")
    assert "left" not in last


def test_a_long_part_tells_its_answers_and_what_is_left_by_them() -> None:
    out = io.StringIO()
    progress = Progress(out, interval=0)
    progress("queries", 1, 3, None)
    progress.started -= 4  # four seconds ago
    progress("queries", 1, 3, Kept(0, 0, 4000))
    progress("queries", 1, 3, Kept(1000, 20_000, 4000))
    progress("queries", 2, 3, _report(llm_requests=900, llm_tokens_out=18_000, llm_replayed=2000))
    first, second, third = out.getvalue().splitlines()
    assert first == "queries: 1 of 3 parts, 0 answers so far, 0 requests/s, 0 tokens/s"
    assert second.startswith("queries: 1 of 3 parts, 1,000 answers so far, 2")
    assert "requests/s" in second and "tokens/s" in second and second.endswith("about 12 s left")
    assert "2,000 answers replayed" in third and third.endswith("about 4 s left")
