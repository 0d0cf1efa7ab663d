"""What is shipped: a wheel that finds its configs and prompts, a project that runs, extras that resolve."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import pytest
import yaml

from flows.cli import main
from flows.config import CONFIGS
from flows.schema import schema

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The unpacked wheel."""
    home = tmp_path_factory.mktemp("wheel")
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(home), str(ROOT)], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    with zipfile.ZipFile(next(home.glob("*.whl"))) as wheel:
        wheel.extractall(home / "site")
    return home / "site"


def test_a_wheel_finds_its_flows_models_and_prompts(site, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-m", "flows", "plan", "quickstart", "--json"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [s["step"] for s in json.loads(done.stdout)["steps"]][-1] == "set"


def test_a_wheel_holds_the_report_s_page(site):
    assert {p.name for p in (site / "flows" / "reporting").glob("page.*")} == {"page.py", "page.html", "page.css", "page.js"}


def test_a_new_project_runs_with_its_own_operator(tmp_path, capsys):
    home = tmp_path / "project"
    assert main(["init", str(home)]) == 0
    assert main(["run", str(home / "flow.yaml"), "--store", str(tmp_path / "s"), "--workers", "0"]) == 0
    assert "set: " in capsys.readouterr().out
    assert main(["show", str(home / "flow.yaml"), "set", "--store", str(tmp_path / "s"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 2
    assert main(["show", str(home / "flow.yaml"), "clean", "--store", str(tmp_path / "s"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert len(rows) == 2
    assert all("All rights reserved" not in r["text"] for r in rows)
    assert main(["init", str(home)]) == 2


@pytest.mark.parametrize("flow", sorted((CONFIGS / "flows").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_flows_fit_the_schema(flow):
    jsonschema.validate(yaml.safe_load(flow.read_text()), schema())


def test_the_schema_refuses_an_unknown_param():
    bad = {"flow": "x", "steps": {"a": {"op": "embed", "from": "b", "with": {"colum": "query"}}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, schema())


@pytest.mark.parametrize("extra", ["vllm", "eval", "pdf", "html"])
def test_an_extra_resolves_with_all_that_the_package_needs(extra):
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "-q", "--extra", extra, "--python-version", "3.11", "pyproject.toml"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    named = {"vllm": "vllm==", "eval": "ir-measures==", "pdf": "pypdfium2==", "html": "trafilatura=="}[extra]
    assert f"\n{named}" in f"\n{done.stdout}"
