"""A small published set with everything that an exporter may meet, an oracle over its rows, and trainers in their environments."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cluster.store import Store
from flows.cli import main
from flows.fingerprint import fingerprint
from operators.columns import content_ids
from operators.content import indexed
from operators.contract import ids, scores, text
from operators.python_docs import docs
from operators.write_training_set import WriteTrainingSet, write_training_set

ROOT = Path(__file__).parents[1]
TRAINERS = Path(os.environ.get("PITHEAD_TRAINERS", ROOT.parent / "venvs"))
INSTRUCTIONS = ["", "Find the function that is described.", "Name the module: {query} \"quoted\" – ü"]
ODD = ["tab\there, and\nnew lines\r\n at the end ", "a separator\u2028within, \x0b and \u0085", "\"quotes\" 'and' \\backslashes\\ {braces} </s>", "日本語の文。", "é̂ 𝔘nicode 🙂"]


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@cache
def texts(count: int) -> list[str]:
    """Distinct real descriptions, the odd ones first."""
    found = dict.fromkeys([*ODD, *_described()])
    return list(found)[:count]


@cache
def _described() -> list[str]:
    return [said for _, _, said in docs() if 40 < len(said) < 200]


def table_of(rows: int = 60, seed: int = 0, *, negatives=True, told=True, sources=("python/docs", "pkg desc"), most=3):
    """Rows as `write_training_set` makes them: 1 to 3 positives, 0 to 5 negatives, mostly 3, scores, instructions, two sources."""
    rng, (names, known) = np.random.default_rng(seed), indexed(texts(rows * 3))
    made = []
    for i in range(rows):
        good, bad = int(rng.integers(1, most + 1)), int(rng.choice([0, 1, 3, 5], p=[0.1, 0.1, 0.6, 0.2]))
        picked = [names[j] for j in rng.permutation(len(names))[: good + bad]]
        instruction = INSTRUCTIONS[int(rng.integers(len(INSTRUCTIONS)))] if told else ""
        made.append({"query": f"question {i}: {ODD[i % len(ODD)]}", "instruction": instruction, "source": sources[i % len(sources)],
                     "positive_ids": picked[:good], "negative_ids": picked[good:], "positive_scores": rng.normal(5, 1, good).tolist(),
                     "negative_scores": rng.normal(0, 1, bad).tolist()})  # fmt: skip
    kinds = {"positive_ids": ids, "negative_ids": ids, "positive_scores": scores, "negative_scores": scores}
    columns = {name: pa.array([r[name] for r in made], kinds.get(name, text)) for name in made[0]}
    n = len(made)
    table = pa.table({
        **columns, "query_id": content_ids([r["query"] for r in made], [r["instruction"] for r in made]),
        "query_type": pa.array(["keyword"] * n, text), "generator": pa.array(["test"] * n, text), "licence": pa.array(["PSF-2.0"] * n, text),
        "cluster": pa.array([0] * n, pa.int32()), "batch": pa.array(np.arange(n) // 4), "position": pa.array(np.arange(n)),
    })  # fmt: skip
    return write_training_set(table, WriteTrainingSet(negatives=negatives), texts=known)


def publish(folder: Path, table: pa.Table, shards: int = 3, flow: str = "made") -> Path:
    """A folder as a flow publishes it; returns it."""
    store, cuts = Store(str(folder)), np.linspace(0, len(table), shards + 1).astype(int)
    found = []
    for i, (a, b) in enumerate(zip(cuts, cuts[1:], strict=False)):
        name = f"train-{i:05d}-of-{shards:05d}.parquet"
        digest, rows = store.write_table(f"set/{name}", [table.slice(a, b - a)])
        found.append({"file": name, "rows": rows, "sha256": digest})
    content = {"flow": flow, "rows": len(table), "schema": [[f.name, str(f.type)] for f in table.schema], "funnel": [], "shards": found,
               "licences": ["PSF-2.0"], "lineage": []}  # fmt: skip
    store.write_json("set/manifest.json", content)
    assert fingerprint([s["sha256"] for s in found], content["schema"], content["licences"])
    return folder / "set"


def expected(table: pa.Table, positives: str, negatives: int | str, *, least: int = 0, scored: bool = False) -> list[dict]:
    """What rows an export has, by going through them one at a time."""
    rows = [r for r in table.to_pylist() if len(r.get("negative_ids", [])) >= (least if negatives == "all" else negatives)]
    made = []
    for turn in range(max(len(r["positive_ids"]) for r in rows) if positives == "explode" else 1):
        for row in rows:
            if turn < len(row["positive_ids"]):
                one = dict(row)
                for name in ("positives", "positive_ids", "positive_scores"):
                    if positives != "all":
                        one[name] = row[name][turn : turn + 1]
                for name in ("negatives", "negative_ids", "negative_scores"):
                    if name in row and negatives != "all":
                        one[name] = row[name][:negatives]
                made.append(one)
    return made


def exported(capsys, made: Path, trainer: str, out: Path, *sets: str, status: int = 0) -> dict:
    """`pithead export` with these options; its answer as JSON."""
    capsys.readouterr()
    got = main(["export", str(made), "--to", trainer, "--out", str(out), "--json", *(x for s in sets for x in ("--set", s))])
    answer = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert got == status, answer
    return answer


def environment(name: str) -> Path:
    """The Python of a trainer's own environment; skips where it is missing. ``main`` is this one."""
    python = Path(sys.executable) if name == "main" else TRAINERS / name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{name} is not installed: no {python}; tests/exports/README.md says how, PITHEAD_TRAINERS where")
    return python


def loaded(name: str, loader: str, folder: Path, **options) -> dict:
    """What a trainer's own loader reads of an export, in its own environment."""
    python = environment(name)
    home = folder.parent / "home"  # caches of `datasets`: new ones, so that no earlier export is read
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "TOKENIZERS_PARALLELISM": "false",
           "HF_DATASETS_CACHE": str(home / "datasets"), "IR_DATASETS_HOME": str(home / "ir"), "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
    done = subprocess.run([str(python), "-m", f"tests.exports.loaders.{loader}", str(folder), json.dumps(options)], env=env, cwd=folder.parent,
                          capture_output=True, text=True, check=False)  # fmt: skip
    told = [line for line in done.stdout.splitlines() if line.startswith("@@")]
    assert done.returncode == 0 and told, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    answer = json.loads(told[-1][2:])
    if log := os.environ.get("PITHEAD_EXPORTS_LOG"):  # of tests/bench/exports.py
        with open(log, "a", encoding="utf-8") as file:
            test = os.environ["PYTEST_CURRENT_TEST"].split("::")[1].split(" ")[0]
            file.write(json.dumps({"test": test, "trainer": name, "version": answer["version"], "steps": answer["steps"]}) + "\n")
    return answer


