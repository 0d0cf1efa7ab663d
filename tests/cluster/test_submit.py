"""Submit a flow to a Ray cluster of two node processes, its token on, and wait for its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import submit as sending
from cluster.submit import staged
from flows.config import CONFIGS, find_flow
from flows.flow import load
from flows.init import init
from flows.project import paths_from, project_of
from operators.contract import InputError
from tests.flows.test_main_flow import write_corpus

ROOT = Path(__file__).parents[2]
PORTS = ("--port=6391", "--dashboard-port=8291", "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1", "--num-cpus=3")


@pytest.fixture(scope="module")
def cluster():
    """The address of a head and a worker node, each a process of its own."""
    pytest.importorskip("aiohttp")
    ray = str(Path(sys.executable).parent / "ray")
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-this-test-only", "PYTHONPATH": str(ROOT)}
    subprocess.run([ray, "start", "--head", *PORTS], env=env, check=True, capture_output=True)
    worker = [ray, "start", "--address=127.0.0.1:6391", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    subprocess.run(worker, env=env, check=True, capture_output=True)
    yield "http://127.0.0.1:8291", env
    subprocess.run([ray, "stop", "--force"], env=env, capture_output=True)


def submit(cluster, tmp_path, *flags, flow=None, cwd=ROOT):
    address, env = cluster
    command = [sys.executable, "-m", "flows", "submit", flow or str(tmp_path / "flow.yaml"), "--address", address, "--wait",
               "--store", str(tmp_path / "s"), "--buckets", "2", *flags]  # fmt: skip
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=500)


@pytest.mark.ray
@pytest.mark.slow
def test_a_project_is_sent_with_its_operators_and_a_relative_flow_is_found(cluster, tmp_path):
    init(str(tmp_path / "p"))
    (tmp_path / "data").mkdir()
    (tmp_path / "p" / "corpus.jsonl").rename(tmp_path / "data" / "corpus.jsonl")
    done = submit(cluster, tmp_path, "--set", "corpus.path=../data/corpus.jsonl", flow="flow.yaml", cwd=tmp_path / "p")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "strip" in done.stdout or "clean" in done.stdout
    homes = [n.name for n in (tmp_path / "s" / "steps").iterdir()]
    assert any(n.startswith("strip_footer-") for n in homes)


def test_what_is_sent_is_the_package_and_the_project_without_stores_and_secrets(tmp_path):
    home = tmp_path / "p"
    init(str(home))
    for name in ("store/steps/a.parquet", "other/steps/a", "other/datasets/a", "venv/pyvenv.cfg", ".env", ".git/config"):
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
    assert "a-token-of-this-test-only" not in json.dumps(manifest)
    failed = submit(cluster, tmp_path, *flags, "--set", "passages.max_rejected=0", "--set", "passages.min_words=60")
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "more than max_rejected 0 allows" in failed.stdout
