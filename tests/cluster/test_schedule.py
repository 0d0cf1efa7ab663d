"""A schedule: at its times, never two at once, what was missed by policy, a failing run told of. The clock is the test's."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from cluster.lease import Taken, alone
from cluster.schedule import TOLD, Scheduler
from cluster.store import Store
from flows.cli import main
from flows.scheduling import told
from tests.flows.test_run import write

ROOT = Path(__file__).parents[2]
START = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SAYS = [sys.executable, "-c", "print('hello')"]


class Clock:
    """A time that only the test moves."""

    def __init__(self, at: datetime = START) -> None:
        self.at, self.events = at, []
        self.while_running = timedelta(0)

    def __call__(self) -> datetime:
        return self.at

    def wait(self, until: datetime, over: threading.Event) -> None:
        self.at = until

    def tell(self, event: dict) -> None:
        self.events.append(event)
        if event["event"] == "started":
            self.at += self.while_running


def scheduler(tmp_path, clock, command=SAYS, cron="0 3 * * *", **more):
    return Scheduler("toy", command, cron, Store(str(tmp_path / "s")), tmp_path / "logs", clock=clock, wait=clock.wait, tell=clock.tell, **more)


def test_runs_come_at_their_times_and_none_at_the_start(tmp_path):
    clock = Clock()
    assert scheduler(tmp_path, clock).serve(3) == 0
    started = [e["scheduled"] for e in clock.events if e["event"] == "started"]
    assert started == [f"2026-11-{day}T03:00:00+00:00" for day in (27, 28, 29)]
    assert (tmp_path / "logs" / "toy-20261127T030000Z.log").read_text() == "hello\n"
    assert len(Store(str(tmp_path / "s")).read_json("schedules/toy.json")["runs"]) == 3


@pytest.mark.parametrize(("missed", "first", "gone"), [("once", "2026-12-01T03:00:00+00:00", 4), ("skip", "2026-12-02T03:00:00+00:00", 0)])
def test_what_was_missed_while_nobody_was_there_is_made_up_for_once_or_skipped(tmp_path, missed, first, gone):
    scheduler(tmp_path, Clock()).serve(1)  # the 27th
    later = Clock(datetime(2026, 12, 1, 9, 30, tzinfo=UTC))  # the 28th to the 1st have passed
    scheduler(tmp_path, later, missed=missed).serve(2)
    started = [e for e in later.events if e["event"] == "started"]
    assert started[0]["scheduled"] == first and started[0]["missed"] == max(gone - 1, 0)
    assert [e["missed"] for e in later.events if e["event"] == "skipped"] == ([4] if missed == "skip" else [])
    assert started[1]["scheduled"] == ("2026-12-02T03:00:00+00:00" if missed == "once" else "2026-12-03T03:00:00+00:00")


@pytest.mark.parametrize(("missed", "second"), [("once", "2026-11-29T03:00:00+00:00"), ("skip", "2026-11-30T03:00:00+00:00")])
def test_a_run_longer_than_the_times_between_is_never_overtaken(tmp_path, missed, second):
    clock = Clock()
    clock.while_running = timedelta(days=2, hours=5)
    scheduler(tmp_path, clock, missed=missed).serve(2)
    assert [e["scheduled"] for e in clock.events if e["event"] == "started"] == ["2026-11-27T03:00:00+00:00", second]


def test_hours_of_a_zone_follow_its_summer_time(tmp_path):
    from zoneinfo import ZoneInfo

    clock = Clock(datetime(2026, 3, 27, 12, tzinfo=UTC))  # Berlin's clocks go on at two o'clock of the 29th
    scheduler(tmp_path, clock, cron="0 4 * * *", zone=ZoneInfo("Europe/Berlin")).serve(2)
    assert [e["scheduled"][11:16] for e in clock.events if e["event"] == "started"] == ["03:00", "02:00"]


def test_a_million_missed_seconds_are_one_run(tmp_path):
    Store(str(tmp_path / "s")).write_json("schedules/toy.json", {"last": (START - timedelta(days=12)).isoformat()})
    clock = Clock()
    scheduler(tmp_path, clock, cron="* * * * * *").serve(1)
    assert [e["scheduled"] for e in clock.events if e["event"] == "started"] == [START.isoformat()]


@pytest.fixture
def hook():
    heard = []

    class Hears(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hears)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/key-in-the-path", heard
    server.shutdown()


def test_a_failing_run_is_told_with_status_and_log_and_no_secret(tmp_path, hook):
    url, heard = hook
    clock = Clock()
    fails = [sys.executable, "-c", "import sys; print('api_key=hush'); sys.exit(2)"]
    assert scheduler(tmp_path, clock, fails, webhook=url).serve(1) == 2
    failed = clock.events[-1]
    assert (failed["event"], failed["status"], failed["tail"]) == ("failed", 2, ["api_key=hush"])
    assert told(failed).splitlines()[-1] == "  api_key=hush"
    (said,) = heard
    assert sorted(said) == sorted(TOLD) and said["status"] == 2 and "hush" not in json.dumps(said)
    assert scheduler(tmp_path, clock, webhook=url).serve(1) == 0 and len(heard) == 1  # a good run is nobody's trouble
    assert scheduler(tmp_path, clock, fails, webhook="http://127.0.0.1:9/key").serve(1) == 2
    assert clock.events[-1]["event"] == "webhook failed" and "key" not in json.dumps(clock.events[-1])


def test_a_store_has_one_holder_and_who_died_holds_nothing(tmp_path):
    for store, lock in ((Store(str(tmp_path / "s")), True), (Store("memory://leases"), False)):
        with alone(store, "refresh-a", settle=0):
            with pytest.raises(Taken, match=rf"refresh-a: another one is under way on .* \(process {os.getpid()}, since"), alone(store, "refresh-a", settle=0):
                pass
            with alone(store, "refresh-b", settle=0):
                pass
        with alone(store, "refresh-a", settle=0):
            pass
        if not lock:
            store.write_json("leases/refresh-a.json", {"host": "gone", "pid": 1, "since": "then", "ends": time.time() - 1})
            with alone(store, "refresh-a", length=0.2, settle=0):
                time.sleep(0.5)
                with pytest.raises(Taken), alone(store, "refresh-a", settle=0):  # it was renewed
                    pass


def test_a_second_refresh_is_refused_while_one_is_under_way(tmp_path, capsys):
    flow, store = write(tmp_path), str(tmp_path / "s")
    with alone(Store(store), "refresh-toy"):
        assert main(["refresh", str(flow), "--store", store, "--workers", "0"]) == 3
        assert "refresh-toy: another one is under way" in capsys.readouterr().err
    assert main(["refresh", str(flow), "--store", store, "--workers", "0"]) == 0


def test_the_command_serves_by_the_second_alone_and_ends_when_it_is_told(tmp_path):
    flow = write(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "flows", "schedule", str(flow), "--store", str(tmp_path / "s"), "--logs", str(tmp_path / "logs"),
               "--cron", "* * * * * *", "--workers", "0", "--json"]  # fmt: skip
    serving = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    events = []
    while not any(e["event"] == "done" for e in events):
        events.append(json.loads(serving.stdout.readline()))
    other = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert other.returncode == 3 and "schedule-toy: another one is under way" in other.stdout
    serving.send_signal(signal.SIGTERM)
    rest, _ = serving.communicate(timeout=60)
    assert "6 steps were to run" in min((tmp_path / "logs").glob("*.log")).read_text()
    assert all(json.loads(line)["event"] in ("started", "done", "failed", "waiting") for line in rest.splitlines())
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in p.read_bytes()]


@pytest.mark.parametrize(("flags", "said"), [
    (["--cron", "0 3 * *"], "--cron '0 3 * *': "), (["--cron", "61 3 * * *"], "bad minute"),
    (["--cron", "0 0 31 2 *"], "bad day-of-month"),
    (["--cron", "0 3 * * *", "--timezone", "Mars/Base"], "--timezone Mars/Base: no such zone"),
    (["--cron", "0 3 * * *", "--webhook", "env:NO_SUCH"], "the environment has no NO_SUCH"),
    (["--cron", "0 3 * * *", "--webhook", "file:///etc/passwd"], "it is no http:// or https:// address"),
    (["--cron", "0 3 * * * *", "--kubernetes", "--cluster", "kuberay", "--store", "s3://b/s"], "Kubernetes knows five fields"),
    (["--cron", "0 3 * * *", "--kubernetes"], "the cluster file has no `kubernetes:`"),
])  # fmt: skip
def test_a_schedule_that_cannot_be_is_one_sentence(tmp_path, capsys, flags, said):
    assert main(["schedule", str(write(tmp_path)), *flags]) == 2
    assert said in capsys.readouterr().err


def test_kubernetes_gets_a_scheduled_object_of_the_engine(tmp_path, capsys):
    flow = write(tmp_path)
    command = ["schedule", str(flow), "--cron", "0 3 * * *", "--kubernetes", "--timezone", "Europe/Berlin", "--store", "s3://b/s"]
    assert main([*command, "--cluster", "kuberay"]) == 0
    made = yaml.safe_load(capsys.readouterr().out)
    assert (made["apiVersion"], made["kind"]) == ("ray.io/v1", "RayCronJob")
    assert (made["spec"]["schedule"], made["spec"]["timeZone"]) == ("0 3 * * *", "Europe/Berlin")
    assert made["spec"]["jobTemplate"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    (tmp_path / "pod.yaml").write_text("engine: local\nkubernetes: {image: 'x/pithead:1', claims: {corpus: /corpus}}\n")
    assert main([*command, "--cluster", str(tmp_path / "pod.yaml"), "--missed", "skip"]) == 0
    made = yaml.safe_load(capsys.readouterr().out)
    assert (made["kind"], made["spec"]["concurrencyPolicy"], made["spec"]["startingDeadlineSeconds"]) == ("CronJob", "Forbid", 60)
    pod = made["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"][:4] == ["python", "-m", "flows", "refresh"]
    assert pod["containers"][0]["volumeMounts"] == [{"name": "corpus", "mountPath": "/corpus"}]
