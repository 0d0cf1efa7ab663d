"""Nothing that comes from outside runs, reads or writes anything: a corpus, its names, a flow, a models file."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from operators.exporters.registry import TRAINERS

ROOT = Path(__file__).parents[2]
FLOW = """
flow: hostile
steps:
  corpus:  {op: read_corpus, with: {path: CORPUS}}
  pairs:   {op: structural_pairs, from: corpus, max_rejected: 1}
  queries: {op: drop_duplicates, from: pairs, with: {key: query_id}, max_rejected: 1}
  unique:  {op: drop_duplicates, from: pairs, with: {key: passage_id}, keep: [passage_id, title, passage], max_rejected: 1}
  texts:   {op: index_texts, from: unique}
  asked:   {op: embed, from: queries, using: {encoder: static}, with: {column: query}}
  centroids: {op: fit_clusters, from: asked, with: {clusters: 1}}
  clustered: {op: assign_clusters, from: asked, using: {centroids: centroids}}
  batches: {op: compose_batches, from: clustered, using: {texts: texts}, with: {batch_size: 4, remainder: short, negatives: false}}
  batched: {op: assign_batches, from: clustered, using: {batches: batches}, max_rejected: 1}
  set:     {op: write_training_set, from: batched, using: {texts: texts}, with: {negatives: false, scores: false}}
"""
NASTY = [
    "../../evil", "/etc/passwd", "..\\..\\evil", "a\x00b", "$(touch CANARY)", "`touch CANARY`", "{{ ''.__class__ }}", "{query.__class__}", "%(x)s",
    "__import__('os').system('touch CANARY')", "!!python/object/apply:os.system ['touch CANARY']", "<script>alert(1)</script>", "'; DROP TABLE x; --",
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A corpus whose every field is hostile, in a project below ``outer``."""
    home = tmp_path / "outer" / "project"
    home.mkdir(parents=True)
    said = [one.replace("CANARY", str(tmp_path / "canary")) for one in NASTY]
    rows = [{"_id": one, "title": f"{one} title {i}", "source": one, "licence": one, "lang": one,
             "text": f"{one} is what this text number {i} says, {one} and then some more words follow"} for i, one in enumerate(said)]  # fmt: skip
    (home / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (home / "flow.yaml").write_text(FLOW.replace("CORPUS", "corpus.jsonl"))
    return home


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


def test_a_hostile_corpus_becomes_a_set_and_exports_and_writes_nowhere_else(project, tmp_path):
    before = files(tmp_path)
    assert main(["run", str(project / "flow.yaml"), "--store", str(project / "store"), "--json"]) == 0
    for trainer in TRAINERS:
        out = project / "out" / trainer
        main(["export", str(project / "flow.yaml"), "--store", str(project / "store"), "--to", trainer, "--out", str(out)])
    assert {p for p in files(tmp_path) - before if not p.startswith(("outer/project/store", "outer/project/out"))} == set()
    assert not (tmp_path / "canary").exists()
    assert {t for t in TRAINERS if (project / "out" / t).exists()} == {"sentence-transformers", "BEIR", "datasets", "WebDataset", "MosaicML"}


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def test_a_parquet_file_with_a_pickled_type_and_pandas_metadata_runs_nothing(tmp_path):
    evil = pickle.dumps(Evil(tmp_path / "canary"))
    hint = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": evil}
    fields = [pa.field("_id", pa.string()), pa.field("title", pa.string()), pa.field("text", pa.string(), metadata=hint), pa.field("more", pa.binary())]
    titles = [f"How to read file number {i}" for i in range(9)]
    told = pa.table([pa.array(list("abcdefghi")), pa.array(titles), pa.array([f"{t}: " + "in many words of its own, " * 12 for t in titles]), pa.array([evil] * 9)],
                    schema=pa.schema(fields, metadata={b"pandas": json.dumps({"index_columns": [evil.hex()]}).encode()}))  # fmt: skip
    pq.write_table(told, tmp_path / "corpus.parquet")
    (tmp_path / "flow.yaml").write_text(FLOW.replace("CORPUS", "corpus.parquet"))
    pickle.loads(evil)  # the trap is armed
    assert (tmp_path / "canary").exists()
    (tmp_path / "canary").unlink()
    assert main(["run", str(tmp_path / "flow.yaml"), "--store", str(tmp_path / "store"), "--json"]) == 0
    assert not (tmp_path / "canary").exists()


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize("file", ["flow.yaml", "models.yaml"])
@pytest.mark.parametrize(("hostile", "said"), [
    ("x: !!python/object/apply:os.system ['touch CANARY']\n", "could not determine a constructor"),
    ("x: !!python/object/new:pathlib.Path ['CANARY']\n", "could not determine a constructor"),
    (BOMB, ""),
], ids=["apply", "new", "bomb"])  # fmt: skip
def test_yaml_makes_no_objects(project, tmp_path, file, hostile, said):
    (project / file).write_text(hostile.replace("CANARY", str(tmp_path / "canary")))
    command = [sys.executable, "-m", "flows", "run", str(project / "flow.yaml"), "--store", str(project / "store")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr) < 5000
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "..", "x\n"])
def test_no_name_of_a_flow_or_step_leaves_the_store(project, tmp_path, name):
    (project / "flow.yaml").write_text(FLOW.replace("CORPUS", "corpus.jsonl").replace("flow: hostile", f"flow: {json.dumps(name)}"))
    before = files(tmp_path)
    assert main(["run", str(project / "flow.yaml"), "--store", str(project / "store")]) == 2
    assert files(tmp_path) == before
