"""Submit a flow to a Ray cluster of two node processes, its token on, and wait for its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.config import CONFIGS
from tests.flows.test_main_flow import write_corpus

pytestmark = [pytest.mark.ray, pytest.mark.slow]
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


def submit(cluster, tmp_path, *flags):
    address, env = cluster
    command = [sys.executable, "-m", "flows", "submit", str(tmp_path / "flow.yaml"), "--address", address, "--wait",
               "--store", str(tmp_path / "s"), "--buckets", "2", *flags]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500)


def test_a_submitted_quickstart_publishes_and_a_failing_one_gives_its_status(cluster, tmp_path):
    corpus = write_corpus(tmp_path / "corpus.jsonl", 24)
    flow = (CONFIGS / "flows" / "quickstart.yaml").read_text()
    flow = flow.replace("path: ., format: python_docs", f"path: {corpus}, format: jsonl").replace("share: 0.0", "share: 0.9")
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
