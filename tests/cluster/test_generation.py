"""Generation through an endpoint: kept answers are replayed, parts overlap, faults stop a step and lose nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.journal import Kept
from cluster.local_engine import LocalEngine
from cluster.ray_engine import RayEngine
from cluster.store import Store
from cluster.task import Bench
from cluster.work import Report
from flows.cli import main
from flows.faults import FlowError
from flows.flow import load
from flows.plan import plan
from flows.run import run
from tests.operators.engines.openai_server import OpenAIServer

ROOT = Path(__file__).parents[2]
FLOW = """
flow: asked
steps:
  corpus:   {op: read_corpus, with: {path: corpus.jsonl}}
  passages: {op: split_passages, from: corpus, with: {min_words: 1}}
  unique:   {op: drop_duplicates, from: passages, with: {key: passage_id}}
  queries:  {op: generate_queries, from: unique, using: {llm: remote}, with: {per_passage: 2}}
"""
MODELS = (
    "remote: {kind: llm, backend: openai, model: m, max_tokens: 4096,"
    " serving: {endpoint: URL, api_key_env: PITHEAD_TEST_KEY, patience: 2, PARTS}}\n"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PITHEAD_TEST_KEY", "sk-very-secret")
    docs = [{"text": f"document number {i} speaks of owls and of iron"} for i in range(120)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in docs))
    (tmp_path / "flow.yaml").write_text(FLOW)
    return tmp_path


def serve(project: Path, url: str, parts: str = "parts_at_once: 1") -> None:
    (project / "models.yaml").write_text(MODELS.replace("URL", url).replace("PARTS", parts))


def go(project: Path, engine: LocalEngine | RayEngine, buckets: int = 8) -> list[tuple[str, str]]:
    """The parts of the queries, by name and checksum."""
    store = Store(str(project / "store"))
    try:
        run(load(project / "flow.yaml"), Bench(store, engine, buckets))
    finally:
        engine.close()
    home = plan(load(project / "flow.yaml"), store)[-1].task.home
    return [(p["part"], p["sha256"]) for p in store.read_json(f"{home}/manifest.json")["parts"]]


def test_a_run_that_was_killed_pays_only_for_what_was_under_way(project: Path) -> None:
    with OpenAIServer(latency=0.2) as server:
        serve(project, server.url, "concurrency: 4")
        command = [sys.executable, "-m", "flows", "run", str(project / "flow.yaml"), "--store", str(project / "store"), "--buckets", "4"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while sum(server.answered.values()) < 60:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
        kept = sum(f.read_bytes().count(b"\n") for f in project.glob("store/ledger/*/*/*/*.jsonl"))
        under_way = sum(server.answered.values()) - kept
        assert kept > 50 and under_way <= 8
        go(project, LocalEngine(2), 4)
        assert len(server.answered) == 240
        assert sum(server.answered.values()) == 240 + under_way


def test_a_rebuild_replays_the_ledger_to_the_byte_whatever_the_cut(project: Path) -> None:
    with OpenAIServer() as server:
        serve(project, server.url)
        parts = go(project, LocalEngine(2))
        asked = sum(server.asked.values())
        shutil.rmtree(project / "store" / "steps")
        assert go(project, LocalEngine(0)) == parts
        shutil.rmtree(project / "store" / "steps")
        go(project, LocalEngine(2), 5)
        assert sum(server.asked.values()) == asked == 240


def test_a_worker_holds_several_parts_so_that_the_endpoint_stays_busy(project: Path) -> None:
    peaks = {}
    for parts in (1, 3):
        with OpenAIServer(latency=0.2) as server:
            serve(project, server.url, f"parts_at_once: {parts}")
            go(project, LocalEngine(1))
            peaks[parts] = server.peak
        shutil.rmtree(project / "store")
    assert peaks[1] <= 50 < peaks[3]  # a part has about 30 requests


def test_ray_gives_the_same_bytes_with_parts_at_once(project: Path) -> None:
    with OpenAIServer(latency=0.4) as server:
        serve(project, server.url, "parts_at_once: 3")
        local = go(project, LocalEngine(1))
        shutil.rmtree(project / "store")
        server.peak = 0
        assert go(project, RayEngine(1)) == local
        assert server.peak > 50


@pytest.mark.parametrize(
    ("models", "rules", "words"),
    [
        ("m", {"owls": "401"}, "PITHEAD_TEST_KEY"),
        ("m", {"owls": "404"}, "m"),
        ("other", None, "other"),
    ],
)
def test_what_concerns_every_request_stops_the_step_in_one_sentence(
    project: Path, capfd: pytest.CaptureFixture[str], models: str, rules: dict[str, str] | None, words: str
) -> None:
    with OpenAIServer(rules=rules, models=models) as server:
        serve(project, server.url)
        status = main(["run", str(project / "flow.yaml"), "--store", str(project / "store"), "--workers", "1"])
    said = "".join(capfd.readouterr())
    assert status == 2
    assert words in said and "queries" in said
    assert "Traceback" not in said and "sk-very-secret" not in said


def test_an_endpoint_that_is_away_stops_the_step_and_the_finished_parts_stay(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with OpenAIServer(plan="ok*100 die:60") as server:
        serve(project, server.url, "concurrency: 8")
        command = ["run", str(project / "flow.yaml"), "--store", str(project / "store"), "--workers", "0"]
        assert main(command) == 2
        said = "".join(capfd.readouterr())
        assert server.url in said and "Traceback" not in said
    with OpenAIServer() as back:
        serve(project, back.url)
        assert main(command) == 0
        assert 0 < sum(back.asked.values()) <= 240 - 90


TWO = FLOW + """  rewritten: {op: ask_llm, from: queries, using: {llm: second}, with: {prompt: rewrite.md, writes: rewrite}}
  judged:    {op: ask_llm, from: rewritten, using: {llm: third}, with: {prompt: rewrite.md, writes: judgement}}
"""


def test_endpoints_of_later_steps_are_checked_before_the_first_one_is_paid(project: Path) -> None:
    (project / "flow.yaml").write_text(TWO)
    (project / "rewrite.md").write_text("---\nanswer: line\n---\nSay {query}\n")
    with OpenAIServer() as gone:
        pass
    with OpenAIServer() as server, OpenAIServer(models="other") as wrong:
        serve(project, server.url)
        whole = (project / "models.yaml").read_text()
        for name, url in (("second", gone.url), ("third", wrong.url)):
            whole += MODELS.replace("remote", name).replace("URL", url).replace("PARTS", "parts_at_once: 1").replace("4096", "2048")
        (project / "models.yaml").write_text(whole)
        store = Store(str(project / "store"))
        flow, bench = load(project / "flow.yaml"), Bench(store, LocalEngine(0))
        with pytest.raises(FlowError) as caught:
            run(flow, bench)
        first, second = caught.value.faults
        assert "steps.rewritten.using.llm: " in first and "cannot be reached" in first
        assert "steps.judged.using.llm: " in second and "it has other" in second
        assert (server.listed, server.asked.total(), store.names("steps")) == (1, 0, [])
        run(flow, bench, until="queries")
        assert server.asked.total() == 240


def test_a_run_whose_answers_are_kept_needs_no_endpoint(project: Path) -> None:
    with OpenAIServer() as server:
        serve(project, server.url)
        parts = go(project, LocalEngine(0))
    shutil.rmtree(project / "store" / "steps")
    assert go(project, LocalEngine(1)) == parts


def test_no_secret_stands_in_any_file_of_a_run(project: Path) -> None:
    with OpenAIServer() as server:
        serve(project, server.url)
        go(project, LocalEngine(1))
    files = [f for f in (project / "store").rglob("*") if f.is_file()]
    assert len(files) > 20
    assert not [f for f in files if b"sk-very-secret" in f.read_bytes()]


@pytest.mark.parametrize("engine", [lambda: LocalEngine(0), lambda: LocalEngine(2), lambda: RayEngine(1)], ids=["driver", "workers", "ray"])
def test_a_long_part_says_how_many_answers_it_has_kept(project: Path, engine: Callable[[], LocalEngine | RayEngine]) -> None:
    heard: list[Kept] = []

    def hear(step: str, done: int, of: int, news: Report | Kept | None) -> None:
        if isinstance(news, Kept):
            assert (step, of) == ("queries", 1)
            heard.append(news)

    with OpenAIServer(latency=0.2) as server:
        serve(project, server.url, "concurrency: 8")
        working = engine()
        try:
            run(load(project / "flow.yaml"), Bench(Store(str(project / "store")), working, 1, hear, every=0.2))
        finally:
            working.close()
    counts = [k.answers for k in heard]
    assert counts == sorted(counts) and 0 < counts[-1] <= 240
    assert len(set(counts)) > 3
    assert {k.of for k in heard} == {240}
    assert all(k.tokens_out > 0 for k in heard if k.answers)
