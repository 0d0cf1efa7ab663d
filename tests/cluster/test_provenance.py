"""run.json says by which libraries and which commit a step was made; nothing of what the step is depends on it."""

import importlib.metadata
import subprocess

import pytest

from cluster.store import Store
from cluster.versions import ROOT, versions
from tests.flows.test_run import go, write


def test_a_step_names_the_libraries_and_the_commit_that_made_it(tmp_path):
    store = Store(str(tmp_path / "s"))
    home = go(write(tmp_path), store, until="docs").funnel[0]["home"]
    made = store.read_json(f"{home}/run.json")["versions"]
    assert {name: made[name] for name in ("pyarrow", "torch", "ray")} == {n: importlib.metadata.version(n) for n in ("pyarrow", "torch", "ray")}
    assert "pithead" in made and "versions" not in store.read_json(f"{home}/manifest.json")


def test_the_commit_is_that_of_the_checkout():
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert versions()["commit"].removesuffix("-dirty") == head


def test_versions_are_looked_up_once_a_process():
    assert versions() is versions()
