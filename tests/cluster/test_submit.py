"""A Ray cluster of three node processes, its token on: jobs sent and followed, parts placed, a node that is taken away."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster import submit as sending
from cluster.store import Store
from cluster.submit import staged
from flows.config import CONFIGS, find_flow
from flows.flow import load
from flows.init import init
from flows.project import paths_from, project_of
from operators.contract import InputError
from tests.flows.test_main_flow import write_corpus
from tests.flows.test_run import FLOW, table, write

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).parent / "ray")
GCS, JOBS = "127.0.0.1:6391", "http://127.0.0.1:8291"
PORTS = ("--port=6391", "--dashboard-port=8291", "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1", "--num-cpus=3")
TOKEN = "a-token-of-this-test-only-a-token-of-this-test-only"


@pytest.fixture(scope="module")
def cluster():
    """The environment for a head, a worker with a `large` and two `bay`, and a spot node with two `bay`."""
    pytest.importorskip("aiohttp")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "PYTHONPATH": str(ROOT), "PATH": path}
    join = [f"--address={GCS}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    flags = [["--head", *PORTS], [*join, '--resources={"large": 1, "bay": 2}'],
             [*join, '--resources={"bay": 2}', "--labels=ray.io/market-type=spot"]]  # fmt: skip
    started: list[subprocess.Popen] = []

    def start(i):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([RAY, "start", "--block", *flags[i]], env=env, **quiet)

    def ready(count):
        """Whether so many nodes are there; one that took more than Ray's 30 s to start has ended, and is started again."""
        for _ in range(60):
            started[:] = [one if one.poll() is None else start(i) for i, one in enumerate(started)]
            done = subprocess.run([sys.executable, "-c", COUNT], env=env, capture_output=True, text=True)
            if done.stdout.strip() == str(count):
                return True
            time.sleep(1)
        return False

    try:
        for i in range(3):
            started.append(start(i))
            assert ready(i + 1)
        yield env, started[2]
    finally:
        for one in reversed(started):  # and nobody else's Ray
            end(one)


COUNT = f"import ray; ray.init('{GCS}', log_to_driver=False, logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()))"


def end(process):
    """Kill a node's processes and all below them."""
    if process.poll() is None:
        for pid in (*below(process.pid), process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()


def below(pid):
    """The processes below one, deepest first."""
    try:
        found = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*(g for c in found for g in below(c)), *found]


def command(tmp_path, *flags, flow=None):
    return [sys.executable, "-m", "flows", "submit", flow or str(tmp_path / "flow.yaml"), "--address", JOBS, "--wait",
            "--store", str(tmp_path / "s"), "--buckets", "2", *flags]  # fmt: skip


def submit(cluster, tmp_path, *flags, flow=None, cwd=ROOT, **more):
    env = {**cluster[0], **more}
    return subprocess.run(command(tmp_path, *flags, flow=flow), cwd=cwd, env=env, capture_output=True, text=True, timeout=500)


def nodes(store: Path, operator: str) -> set[str]:
    """The nodes on which parts of an operator were tried."""
    return {json.loads(p.read_text())["node"] for p in store.glob(f"steps/{operator}-*/attempts/*/*.json")}


def known(cluster):
    """The ids of the nodes by what they have: `head`, `large`, `spot`."""
    code = "import ray, json; ray.init('" + GCS + "', log_to_driver=False, logging_level='ERROR'); print(json.dumps(ray.nodes()))"
    told = json.loads(subprocess.run([sys.executable, "-c", code], env=cluster[0], capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    return {"large" if "large" in n["Resources"] else "spot" if n["Labels"].get("ray.io/market-type") == "spot" else "head": n["NodeID"]
            for n in told if n["Alive"]}  # fmt: skip


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_outlives_its_client_and_its_parts_stand_where_the_file_says(cluster, tmp_path):
    init(str(tmp_path / "p"))
    (tmp_path / "data").mkdir()
    (tmp_path / "p" / "corpus.jsonl").rename(tmp_path / "data" / "corpus.jsonl")
    (tmp_path / "p" / "where.yaml").write_text("engine: ray\nsteps: {strip_footer: {resources: {large: 0.5}}}\n")
    flags = ["--set", "corpus.path=../data/corpus.jsonl", "--cluster", "where.yaml"]
    client = subprocess.Popen(command(tmp_path, *flags, flow="flow.yaml"), cwd=tmp_path / "p", env=cluster[0],
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    job = client.stdout.readline().split()[-1]
    client.kill()  # before the job has done anything
    client.communicate()
    done = submit(cluster, tmp_path, "--follow", job, flow="flow.yaml", cwd=tmp_path / "p")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "set: " in done.stdout
    assert nodes(tmp_path / "s", "strip_footer") == {known(cluster)["large"]}
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.ray
def test_who_has_no_token_or_asks_for_what_is_not_there_is_told(cluster, tmp_path):
    write(tmp_path)
    other = submit(cluster, tmp_path, RAY_AUTH_TOKEN="another-token-another-token-another")
    assert other.returncode == 2 and other.stderr.startswith(f"submit: no Ray cluster lets us in at {JOBS}: "), other.stderr
    (tmp_path / "gpu.yaml").write_text(f"engine: ray\naddress: {GCS}\nsteps: {{loud: {{gpus: 1}}}}\n")
    run = [sys.executable, "-m", "flows", "run", str(tmp_path / "flow.yaml"), "--store", str(tmp_path / "s"), "--cluster", str(tmp_path / "gpu.yaml")]
    done = subprocess.run(run, env=cluster[0], capture_output=True, text=True)
    assert done.returncode == 2 and "loud: none of the 3 nodes of the Ray cluster has 1 GPU; mend" in done.stderr, done.stderr


def test_what_is_sent_is_the_package_and_the_project_without_stores_and_secrets(tmp_path):
    home = tmp_path / "p"
    init(str(home))
    for name in ("store/steps/a.parquet", "other/steps/a", "other/datasets/a", "venv/pyvenv.cfg", ".env", ".git/config", "keys/server.pem", "hf_token"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("x")
    (home / "flows").mkdir()
    (home / "flow.yaml").rename(home / "flows" / "flow.yaml")
    assert project_of(home / "flows" / "flow.yaml") == home
    with staged(home, home / "store") as folder:
        sent = {p.relative_to(folder / "project").as_posix() for p in (folder / "project").rglob("*") if p.is_file()}
        assert (folder / "flows" / "cli.py").exists() and (folder / "configs" / "models.yaml").exists()
        quick = subprocess.run([sys.executable, "-m", "flows", "plan", "project/flows/flow.yaml"], cwd=folder, capture_output=True)
        assert quick.returncode == 0, quick.stderr
    assert {n for n in sent if not n.startswith("prompts/")} == \
        {"flows/flow.yaml", "corpus.jsonl", "models.yaml", "my_ops/__init__.py", "my_ops/strip_footer.py"}  # fmt: skip
    assert not folder.exists()


def test_a_head_that_has_no_agent_for_jobs_yet_is_asked_again(monkeypatch):
    class Head:
        asked = 0

        def submit_job(self, **given):
            self.asked += 1
            if self.asked < 3:
                raise RuntimeError("Request failed with status code 500: No available agent to submit job, please try again later..")
            return "job"

    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert sending.submit(Head(), ["run", "x"], Path(), "python", "any") == "job"
    with pytest.raises(InputError, match="the cluster takes no job yet, its head has no agent for jobs; submit again later"):
        sending._sent(Head(), "x", {}, patience=-1)


def test_a_project_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "LIMIT", 100)
    init(str(tmp_path / "p"))
    with pytest.raises(InputError, match="too much to send; keep data and weights outside"), staged(tmp_path / "p", None):
        pass


def test_files_outside_the_project_are_named_as_they_are_here(tmp_path, monkeypatch):
    init(str(tmp_path / "p"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text('{"text": "a"}\n')
    path = tmp_path / "p" / "flow.yaml"
    assert list(paths_from(load(path), path.parent)) == []
    assert list(paths_from(load(path, ["corpus.path=data.jsonl"]), path.parent)) == [f'steps.corpus.with.path="{tmp_path / "data.jsonl"}"']
    assert project_of(find_flow("quickstart")) is None and list(paths_from(load(find_flow("quickstart")), None)) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_submitted_quickstart_publishes_and_a_failing_one_gives_its_status(cluster, tmp_path):
    corpus = write_corpus(tmp_path / "corpus.jsonl", 24)
    flow = (CONFIGS / "flows" / "quickstart.yaml").read_text()
    flow = flow.replace('path: "python-docs:"', f"path: {corpus}").replace("share: 0.0", "share: 0.9")
    (tmp_path / "flow.yaml").write_text(flow)
    flags = [x for c in ("clean.max_rejected=1", "consistent.max_rejected=1", "negatives.max_rejected=1", "centroids.clusters=1",
                         "queries.per_passage=1") for x in ("--set", c)]  # fmt: skip
    done = submit(cluster, tmp_path, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "set: " in done.stdout
    latest = (tmp_path / "s" / "datasets" / "quickstart" / "latest").read_text().strip()
    manifest = json.loads((tmp_path / "s" / "datasets" / "quickstart" / latest / "manifest.json").read_text())
    assert manifest["rows"] > 0
    assert all(TOKEN.encode() not in p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file())
    failed = submit(cluster, tmp_path, *flags, "--set", "passages.max_rejected=0", "--set", "passages.min_words=60")
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "more than max_rejected 0 allows" in failed.stdout


@pytest.mark.ray
@pytest.mark.slow
def test_a_spot_node_is_taken_away_and_its_parts_go_elsewhere(cluster, tmp_path):
    path, store = write(tmp_path, FLOW.replace("rows: 200", "rows: 2000")), Store(str(tmp_path / "s"))
    (tmp_path / "bays.yaml").write_text(f"engine: ray\naddress: {GCS}\nworkers: 4\nsteps: {{loud: {{resources: {{bay: 1}}}}}}\n")
    slow = ["--set", "loud.sleep=2"]
    run = subprocess.Popen(
        [sys.executable, "-m", "flows", "run", str(path), *slow, "--store", store.uri, "--buckets", "8", "--until", "loud",
         "--cluster", str(tmp_path / "bays.yaml")], cwd=ROOT, env=cluster[0], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    spot = known(cluster)["spot"]
    while spot not in nodes(Path(store.uri), "shout") and run.poll() is None:
        time.sleep(0.1)
    end(cluster[1])
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said
    assert table(path, store, "loud", ["loud.sleep=2"]).num_rows == 3600
    home = next(Path(store.uri).glob("steps/shout-*"))
    commits = [p.name.rsplit(".", 2)[0] for p in (home / "commits").iterdir()]
    assert len(commits) == len(set(commits)) == 8  # no finished part was made twice
    tried = {p.parent.name: 0 for p in home.glob("attempts/*/*")}
    for attempt in home.glob("attempts/*/*"):
        tried[attempt.parent.name] += 1
    assert max(tried.values()) >= 2, "no part was under way on the node"
