"""A run that stopped goes on from what it committed, whatever has moved or gone in between."""

import json
import subprocess
import sys

import pytest

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench, StepFailed
from flows.config import CONFIGS, ROOT
from flows.flow import load
from flows.plan import plan
from flows.run import run
from tests.flows.test_run import FLOW, go, table, write

READ = 'flow: moved\nsteps:\n  docs: {op: "tests.toy_ops:read_lines", with: {path: in}}\n'


class Stopped(Exception):
    """The run is killed here."""


class Stopping(LocalEngine):
    """Does so many units of a kind, then the run is killed."""

    def __init__(self, kind: str, after: int) -> None:
        super().__init__(0)
        self.kind, self.left = kind, after

    def run(self, work, needs):
        for one in work:
            if one.kind == self.kind and self.left == 0:
                raise Stopped
            self.left -= one.kind == self.kind
            yield from super().run([one], needs)


def stop(path, store, kind, after, buckets=4, changes=()):
    with pytest.raises(Stopped):
        run(load(path, changes), Bench(store, Stopping(kind, after), buckets))


def say(tmp_path, **said):
    for name, lines in said.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "x.txt").write_text("\n".join(lines))


@pytest.mark.parametrize("after", [1, 2])
def test_files_that_change_places_between_two_runs_are_each_read_once(tmp_path, after):
    said = {name: [f"{name} says {i}" for i in range(20)] for name in "abc"}
    say(tmp_path, **said)
    path, store = write(tmp_path, READ), Store(str(tmp_path / "s"))
    stop(path, store, "scan", after)
    for old, new in ("at", "ba", "cb", "tc"):  # a → c, b → a, c → b
        (tmp_path / "in" / old).rename(tmp_path / "in" / new)
    go(path, store)
    assert sorted(table(path, store, "docs")["text"].to_pylist()) == sorted(line for lines in said.values() for line in lines)


def test_equal_files_are_each_read(tmp_path):
    say(tmp_path, a=["the same"], b=["the same"])
    path, store = write(tmp_path, READ), Store(str(tmp_path / "s"))
    stop(path, store, "scan", 1)
    go(path, store)
    assert table(path, store, "docs")["text"].to_pylist() == ["the same"] * 2


CUT = """
flow: cut
steps:
  docs: {op: "tests.toy_ops:count_docs", with: {path: none, rows: 100}}
  STEP
"""


@pytest.mark.parametrize(("kind", "step"), [
    ("bucket", 'made: {op: "tests.toy_ops:first_of_key", from: docs}'),
    ("merge", 'made: {op: "tests.toy_ops:longest", from: docs, against: docs}'),
])  # fmt: skip
def test_an_input_that_is_cut_anew_between_two_runs_gives_each_row_once(tmp_path, kind, step):
    path, store, fresh = write(tmp_path, CUT.replace("STEP", step)), Store(str(tmp_path / "s")), Store(str(tmp_path / "fresh"))
    stop(path, store, kind, 1)
    store.remove(plan(load(path), store)[0].task.home)
    go(path, store, buckets=2, until="docs")
    go(path, store)
    go(path, fresh)
    assert table(path, store, "made").sort_by("doc_id").equals(table(path, fresh, "made"))


class Meanwhile(LocalEngine):
    """Before the first unit of a kind, something else happens to the store."""

    def __init__(self, kind, what, workers=0):
        super().__init__(workers)
        self.kind, self.what = kind, what

    def run(self, work, needs):
        if work[0].kind == self.kind and (what := self.what):
            self.what = None
            what()
        yield from super().run(work, needs)


def meanwhile(path, store, kind, what, workers=0):
    engine = Meanwhile(kind, what, workers)
    try:
        return run(load(path), Bench(store, engine, 4))
    finally:
        engine.close()


@pytest.mark.parametrize("kind", ["gather", "bucket", "merge"])
@pytest.mark.parametrize("buckets", [4, 5])
def test_a_step_that_another_run_finished_first_is_taken_as_it_is(tmp_path, kind, buckets):
    path, store, fresh = write(tmp_path), Store(str(tmp_path / "s")), Store(str(tmp_path / "fresh"))
    meanwhile(path, store, kind, lambda: go(path, store, buckets=buckets), workers=2)
    go(path, fresh)
    assert table(path, store, "near").equals(table(path, fresh, "near"))
    assert not list((tmp_path / "s").glob("steps/*/exchange")) and not list((tmp_path / "s").glob("steps/*/partial"))


@pytest.mark.parametrize(("kind", "folder"), [("gather", "exchange"), ("bucket", "exchange"), ("merge", "partial")])
def test_passing_files_that_are_gone_are_made_again(tmp_path, kind, folder):
    path, store, fresh = write(tmp_path), Store(str(tmp_path / "s")), Store(str(tmp_path / "fresh"))

    def lose():
        for found in [*(tmp_path / "s").glob(f"steps/*/{folder}/*")]:
            found.unlink()

    meanwhile(path, store, kind, lose, workers=2)
    go(path, fresh)
    assert table(path, store, "near").equals(table(path, fresh, "near"))


def test_workers_of_a_step_that_was_given_up_answer_to_no_later_one(tmp_path):
    """Two sleeping parts are under way when a third fails; the next step's parts have the same names."""
    path = write(tmp_path, FLOW.replace("times: 2", "exit_on: doc number 5 of words, sleep: 9"))
    store, engine = Store(str(tmp_path / "s")), LocalEngine(3)
    try:
        with pytest.raises(StepFailed, match="SystemExit"):
            run(load(path), Bench(store, engine, 4))
        assert not any(worker.held for worker in engine.pool)
        assert run(load(path, ["loud.exit_on=nothing", "loud.sleep=0"]), Bench(store, engine, 4)).made == 5
    finally:
        engine.close()


@pytest.mark.slow
def test_two_runs_of_one_flow_on_one_store_both_end_with_the_same_bytes(tmp_path):
    docs = [{"title": f"Title {i}", "text": f"The body of document {i} is some words long, so that it can be a passage that is kept."} for i in range(1000)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(d) + "\n" for d in docs))
    text = (CONFIGS / "flows" / "structural.yaml").read_text().replace('path: "python-docs:"', "path: a.jsonl")
    path = write(tmp_path, text.replace("clusters: 10", "clusters: 1"))

    def start(store, sample=()):
        command = [sys.executable, "-m", "flows", "run", str(path), "--store", str(tmp_path / store), "--buckets", "16", "--json", *sample]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def bytes_of(process, store):
        out, err = process.communicate()
        assert process.returncode == 0, out + err
        return {p.name: p.read_bytes() for p in (tmp_path / store / json.loads(out)["published"]).iterdir()}

    both = [start("s"), start("s")]
    one, other = (bytes_of(process, "s") for process in both)
    assert one == other == bytes_of(start("alone"), "alone")
    both = [start("s", ("--sample", "200")), start("s", ("--sample", "200"))]
    one, other = (bytes_of(process, "s") for process in both)
    assert one == other


@pytest.mark.parametrize("damage", ["cut off", "zeros", "gone"])
@pytest.mark.parametrize("kind", ["parts", "exchange"])
def test_a_damaged_file_is_told_when_it_is_read_and_made_again_by_the_same_command(tmp_path, kind, damage):
    path, one, other = write(tmp_path), Store(str(tmp_path / "one")), Store(str(tmp_path / "other"))
    go(path, one)
    if kind == "parts":
        go(path, other, until="loud")
    else:
        stop(path, other, "bucket", 1)
    file = sorted((tmp_path / "other").glob(f"steps/{'shout' if kind == 'parts' else 'first_of_key'}-*/{kind}/*.parquet"))[-1]
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if damage == "cut off" else bytes(file.stat().st_size))
    if kind == "parts":  # what is passing is made again at once
        with pytest.raises(StepFailed, match=rf"{file.name}: its bytes are not those .* run again to go on"):
            go(path, other)
    go(path, other)
    for step in ("loud", "unique"):
        assert table(path, other, step).equals(table(path, one, step))
