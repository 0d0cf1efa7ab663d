"""What a run tells: a status file that grows old when the run dies, a history, logs for machines; no secret in any."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.store import Store
from flows.cli import main
from flows.watching import HISTORY, LOST, runs
from tests.flows.test_run import write

ROOT = Path(__file__).parents[2]


def told(tmp_path, capsys, *flags):
    status = main(["status", *flags, "--store", str(tmp_path / "s"), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_run_is_followed_while_it_goes_and_known_to_be_lost_when_killed(tmp_path, capsys):
    flow = write(tmp_path)
    command = [sys.executable, "-m", "flows", "run", str(flow), "--store", str(tmp_path / "s"), "--workers", "1", "--buckets", "6",
               "--set", "loud.sleep=1.5"]  # fmt: skip
    running = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    store = Store(str(tmp_path / "s"))
    while not (found := runs(store)) or found[0]["step"] != "loud" or not found[0]["parts"]:
        assert running.poll() is None
        time.sleep(0.2)
    one = found[0]
    assert (one["state"], one["flow"], one["of"], one["pid"]) == ("running", "toy", 6, running.pid)
    assert one["rows_per_second"] > 0 and one["seconds_left"] > 0 and one["rows"] > 0
    assert main(["status", str(flow), "--store", str(tmp_path / "s")]) == 0
    out = capsys.readouterr().out
    assert "toy runs on " in out and ": loud, " in out and " of 6 parts, " in out and "s left of the step" in out, out
    running.kill()
    running.wait()
    assert told(tmp_path, capsys, "toy")[1]["runs"][0]["state"] == "lost"


def test_how_runs_ended_is_their_history(tmp_path, capsys):
    flow, store = write(tmp_path), ["--store", str(tmp_path / "s"), "--workers", "0"]
    assert main(["run", str(flow), *store, "--set", "loud.reject_ending=7 of words", "--set", "loud.max_rejected=0"]) == 1
    assert main(["run", str(flow), *store]) == 0
    capsys.readouterr()
    _, value = told(tmp_path, capsys)
    good, bad = value["runs"]
    assert (good["state"], good["made"], good["rejected"]) == ("done", 5, 180)  # the 20 of `loud` are the first run's
    assert bad["state"] == "failed" and bad["error"].startswith("loud: 20 of 200 rows were rejected")
    assert main(["status", "--store", str(tmp_path / "s"), "--last", "1"]) == 0
    line = capsys.readouterr().out
    assert "done" in line and "failed" not in line
    assert main(["status", "nothing", "--store", str(tmp_path / "s")]) == 2
    assert "no run of nothing is known there" in capsys.readouterr().err


def test_a_run_elsewhere_that_is_silent_is_lost_and_the_oldest_are_forgotten(tmp_path):
    store = Store(str(tmp_path / "s"))
    for silent, state in ((LOST - 20, "running"), (LOST + 20, "lost")):
        at = (datetime.now(UTC) - timedelta(seconds=silent)).isoformat()
        store.write_json("runs/toy/0.json", {"flow": "toy", "state": "running", "started": at, "updated": at, "host": "elsewhere", "pid": 1})
        assert runs(store)[0]["state"] == state
    for i in range(HISTORY + 5):
        store.write_json(f"runs/toy/{i:04}.json", {"flow": "toy"})
    store.write_json("runs/toy/zzzz.json", {"flow": 0})
    assert runs(store) == [] or all("updated" in r for r in runs(store))  # a damaged one is passed over
    assert main(["run", str(write(tmp_path)), "--store", store.uri, "--workers", "0", "--until", "docs"]) == 0
    assert len(store.names("runs/toy")) == HISTORY


@pytest.mark.parametrize("status", [0, 1])
def test_logs_for_machines_are_lines_of_json(tmp_path, status):
    flow = write(tmp_path)
    limit = ["--set", "loud.max_rejected=0"] if status else []
    command = [sys.executable, "-c", "import sys; from flows import progress; progress.Progress.__init__.__defaults__ = (None, 0.0)\n"
               "from flows.cli import main; sys.exit(main(sys.argv[1:]))", "run", str(flow), "--store", str(tmp_path / "s"), "--workers", "0", *limit]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "PITHEAD_LOG": "json"}, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"time", "level", "event"} <= set.intersection(*(set(one) for one in lines))
    loud = [one for one in lines if one.get("step") == "loud"]
    assert [one["parts"] for one in loud] == list(range(1, 9)) and loud[-1]["rows"] == 360 and loud[-1]["seconds_left"] == 0
    if status:
        assert lines[-1]["level"] == "error" and "were rejected" in lines[-1]["faults"][0]
