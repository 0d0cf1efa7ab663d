"""A unit of work always ends in a report: a store that cannot be used, an operator that exits, a part that took its process down."""

import shutil
from dataclasses import replace

import pytest

from cluster import cross_phases, crossing
from cluster.local_engine import LocalEngine, Worker
from cluster.store import Store
from cluster.task import RUN, Bench, StepFailed
from cluster.work import ATTEMPTS, execute
from cluster.working import work_for
from flows.flow import load
from flows.plan import plan
from operators.contract import InputError
from tests.flows.test_run import FLOW, go, write


def home_of(path, store, step):
    return next(p.task.home for p in plan(load(path), store) if p.step.name == step)


@pytest.mark.timeout(60)  # without a reply the run would wait for ever
@pytest.mark.parametrize("workers", [0, 2])
def test_a_store_in_which_no_attempt_can_be_written_is_said_and_mended(tmp_path, workers):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    go(path, store, until="docs")
    attempts = tmp_path / "s" / home_of(path, store, "loud") / "attempts"
    attempts.parent.mkdir()
    attempts.write_text("a file where a folder should be")
    with pytest.raises(InputError, match=r"loud: store .*/s: it cannot be used"):
        go(path, store, workers=workers)
    attempts.unlink()
    assert go(path, store, workers=workers).made == 5


@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [0, 2])
def test_an_operator_that_exits_is_an_error_and_not_silence(tmp_path, workers):
    path = write(tmp_path, FLOW.replace("times: 2", "exit_on: doc number 5 of words"))
    with pytest.raises(StepFailed, match=r"loud: part 0000\d-of-00004 .*SystemExit at toy_ops.py:\d+: 3"):
        go(path, Store(str(tmp_path / "s")), workers=workers)


@pytest.mark.timeout(60)
def test_a_worker_replies_to_work_that_it_cannot_read():
    worker = Worker()
    try:
        worker.held["p"] = None
        worker.process.stdin.write(b'{"name": "p", "of": "another version"}\n')
        worker.process.stdin.flush()
        (report,) = worker.hear()
        assert (report.name, report.status) == ("p", "error") and "TypeError" in report.message
    finally:
        worker.close()


def test_a_part_whose_process_died_behind_its_commit_is_not_made_again(tmp_path):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    go(path, store, until="docs")
    task = next(p.task for p in plan(load(path), store) if p.step.name == "loud")
    part = store.read_json(f"{plan(load(path), store)[0].task.home}/manifest.json")["parts"][0]
    work = work_for(task, Bench(store, LocalEngine(), 4), "map", part["part"], [part["file"]], rows=part["rows"])
    first, again = execute(work), execute(work)
    assert first.status == "done" and again.record == first.record
    assert len(store.names(f"{task.home}/commits")) == len(store.names(f"{task.home}/parts")) == 1


def test_a_part_that_took_its_process_down_so_often_is_not_tried_again(tmp_path):
    """As on Ray, where nobody but the attempts' files counts."""
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    go(path, store, until="docs")
    planned = {p.step.name: p.task for p in plan(load(path), store)}
    part = store.read_json(f"{planned['docs'].home}/manifest.json")["parts"][0]
    work = work_for(planned["loud"], Bench(store, LocalEngine(), 4), "map", part["part"], [part["file"]])
    folder = f"{work.home}/attempts/{work.name}"
    for i in range(ATTEMPTS):
        store.write_json(f"{folder}/{RUN}-{i}.json", {"host": "", "node": ""})
    report = execute(work)
    assert (report.status, report.message) == ("died", f"its process died {ATTEMPTS} times")
    assert not store.names(f"{work.home}/commits") and len(store.names(folder)) == ATTEMPTS
    assert execute(replace(work, run="another")).status == "done", "another run counts its own"
    shutil.rmtree(tmp_path / "s" / folder)
    assert execute(work).status == "done"


@pytest.mark.parametrize("rows", [1, 7, 50, 1 << 16])
def test_how_a_right_side_is_cut_into_ranges_and_lots_changes_no_byte(tmp_path, monkeypatch, rows):
    path, found = write(tmp_path), []
    for name, size in (("whole", 1 << 20), ("cut", rows)):
        monkeypatch.setattr(crossing, "RANGE", size)
        monkeypatch.setattr(cross_phases, "RANGE", max(size, 40))  # ranges of several lots, lots of several parts
        store = Store(str(tmp_path / name))
        go(path, store, workers=0)
        home = tmp_path / name / home_of(path, store, "near")
        found.append({p.name.split(".")[0]: p.read_bytes() for p in sorted(home.glob("parts/*.parquet"))})
    assert found[0] == found[1] and len(found[0]) == 4
