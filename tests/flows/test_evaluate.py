"""`pithead evaluate` on a tiny collection with the static student: the table, resume, contamination, bad input."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.store import Store
from flows.cli import main
from flows.collection import collection_of
from flows.watching import runs
from operators.contract import InputError

ANIMALS = ["owl", "bat", "fox", "hare", "crow", "seal", "newt", "wren"]
DOCS = [f"The {a} lives in the {p}. At night the {a} hunts, and by day it sleeps near the {p}." for a in ANIMALS for p in ("wood", "marsh")]


def write(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection as a BEIR folder and as parquet, and a published set of the same documents."""
    home = tmp_path_factory.mktemp("evaluate")
    queries = [{"_id": a, "text": f"where does the {a} sleep"} for a in ANIMALS]
    corpus = [{"_id": f"d{i}", "title": "", "text": t} for i, t in enumerate(DOCS)]
    qrels = [(a, f"d{2 * i + j}") for i, a in enumerate(ANIMALS) for j in (0, 1)]
    (home / "beir" / "qrels").mkdir(parents=True)
    write(home / "beir" / "corpus.jsonl", corpus)
    write(home / "beir" / "queries.jsonl", queries)
    lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t1" for q, d in qrels)]
    (home / "beir" / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    (home / "parquet").mkdir()
    for name, rows in (("corpus", corpus), ("queries", queries)):
        pq.write_table(pa.Table.from_pylist(rows), home / "parquet" / f"{name}.parquet")
    judged = [{"query_id": q, "corpus_id": d, "score": 1} for q, d in qrels]
    pq.write_table(pa.Table.from_pylist(judged), home / "parquet" / "qrels.parquet")
    write(home / "titled.jsonl", [{"_id": f"d{i}", "title": f"{t.split()[1]} of the {t.split()[5]}", "text": t} for i, t in enumerate(DOCS)])
    sets = ["--set", f"corpus.path={home}/titled.jsonl", "--set", "batches.batch_size=4", "--set", "centroids.clusters=2"]
    assert main(["run", "structural", "--store", str(home / "store"), "--workers", "0", "--buckets", "2", "--json", *sets]) == 0
    return home


def run(home: Path, capsys: pytest.CaptureFixture[str], *args: str, on: str = "beir", found: str = "structural") -> tuple[int, dict]:
    capsys.readouterr()
    where = ",".join(str(home / one) for one in on.split(","))
    base = ["evaluate", found, "--on", where, "--store", str(home / "store"), "--workers", "0", "--buckets", "2", "--json"]
    status = main([*base, *args])
    return status, json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_every_arm_on_every_collection_and_a_second_run_does_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "told.json"
    status, value = run(home, capsys, "--seeds", "2", "--out", str(out), "--set", "epochs=2", on="beir,parquet")
    assert status == 0
    rows = {(r["collection"], r["arm"]): r for r in value["rows"]}
    assert sorted(rows) == [(c, a) for c in ("beir", "parquet") for a in ("base", "bm25", "trained")]
    for arm in ("base", "bm25", "trained"):  # the same documents, laid out in two ways
        keys = ("ndcg10", "mrr10", "recall100", "queries", "seeds", "gain", "p")
        assert [rows["beir", arm].get(k) for k in keys] == [rows["parquet", arm].get(k) for k in keys]
    assert rows["beir", "bm25"]["recall100"] == 1.0 and rows["beir", "trained"]["seeds"] == 2
    assert {"gain", "low", "high", "p", "p_corrected", "detectable"} <= set(rows["beir", "trained"])
    assert json.loads(out.read_text())["rows"] == value["rows"]
    again = run(home, capsys, "--seeds", "2", "--set", "epochs=2", on="beir,parquet")[1]
    assert again["made"] == 0 and again["rows"] == value["rows"]
    assert [(r["state"], r["made"]) for r in runs(Store(str(home / "store")), "evaluate")] == [("done", 0), ("done", value["made"])]


def test_people_see_a_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["evaluate", "structural", "--on", str(home / "beir"), "--store", str(home / "store"), "--workers", "0", "--buckets", "2"]
    assert main([*args, "--seeds", "1"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].split() == [
        "collection", "arm", "nDCG@10", "gain", "low", "high", "p", "seeds", "MRR@10", "recall@100", "least"
    ]  # fmt: skip
    assert "queries: 8 of beir" in said


def test_a_set_that_repeats_judged_queries_is_refused_unless_told_otherwise(home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = [{"query": f"Where does the {a} sleep?", "positive": DOCS[2 * i]} for i, a in enumerate(ANIMALS[:2])]
    pairs = [*asked, *({"query": f"what hunts in the {p} of {a}s", "positive": DOCS[2 * i + j]} for i, a in enumerate(ANIMALS) for j, p in enumerate(("wood", "marsh")))]
    write(tmp_path / "pairs.jsonl", pairs)
    flow = f"""
flow: leaking
steps:
  pairs:   {{op: read_pairs, with: {{path: {tmp_path}/pairs.jsonl}}}}
  texts:   {{op: index_texts, from: pairs}}
  asked:   {{op: embed, from: pairs, keep: [query_id, query, query_type, instruction, generator, source, licence, positive_ids], using: {{encoder: static}}, with: {{column: query}}}}
  centroids: {{op: fit_clusters, from: asked, with: {{clusters: 1}}}}
  clustered: {{op: assign_clusters, from: asked, using: {{centroids: centroids}}}}
  batches: {{op: compose_batches, from: clustered, using: {{texts: texts}}, with: {{batch_size: 4, remainder: short, negatives: false}}}}
  batched: {{op: assign_batches, from: clustered, using: {{batches: batches}}}}
  set:     {{op: write_training_set, from: batched, using: {{texts: texts}}, with: {{negatives: false, scores: false}}}}
"""
    (tmp_path / "leaking.yaml").write_text(flow)
    assert main(["run", str(tmp_path / "leaking.yaml"), "--store", str(home / "store"), "--workers", "0", "--buckets", "2", "--json"]) == 0
    status, value = run(home, capsys, "--seeds", "1", found="leaking")
    assert status == 2 and "its queries repeat judged ones (2 of beir's 8)" in value["faults"][0]
    assert run(home, capsys, "--seeds", "1", "--contaminated", "drop", found="leaking")[0] == 0
    kept = run(home, capsys, "--seeds", "1", "--contaminated", "keep", found="leaking")
    assert kept[0] == 0 and kept[1]["contaminated"]["beir"]["found"] == 2


@pytest.mark.parametrize(("args", "fault"), [
    (["--student", "minilmm"], "'minilm'"), (["--student", "smollm2"], "has no encoder of this name"), (["--seeds", "0"], "--seeds: give a number above 0"),
    (["--set", "lossy=1"], "--set.lossy: no such key; did you mean 'loss'?"), (["--set", "seed=1"], "say --seeds"),
    (["--set", "batch_size=4"], "batch_size does nothing"), (["--set", "negatives"], "needs key=value"),
])  # fmt: skip
def test_what_cannot_be_is_one_sentence(home: Path, capsys: pytest.CaptureFixture[str], args: list[str], fault: str) -> None:
    status, value = run(home, capsys, *args)
    assert status == 2 and len(value["faults"]) == 1 and fault in value["faults"][0]


def test_a_collection_that_is_none_is_said(home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for on, fault in (("nowhere", "no such folder"), ("store", "has no corpus.parquet"), ("beir,beir", "different names")):
        status, value = run(home, capsys, on=on)
        assert status == 2 and fault in value["faults"][0]
    assert "no flow that published one" in run(home, capsys, found="unheard")[1]["faults"][0]


def test_another_file_of_judgements_is_named_by_its_path(home: Path) -> None:
    folder = home / "beir"
    (folder / "qrels" / "dev.tsv").write_text((folder / "qrels" / "test.tsv").read_text())
    assert collection_of(str(folder / "qrels" / "dev.tsv")).qrels.name == "dev.tsv"
    assert collection_of(str(folder)).qrels.name == "test.tsv"
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "test.off")
    with pytest.raises(InputError, match=r"qrels has no test.tsv but dev.tsv, test.off; name one"):
        collection_of(str(folder))
    (folder / "qrels" / "test.off").rename(folder / "qrels" / "test.tsv")


def test_japanese_is_cut_into_bigrams(tmp_path: Path) -> None:
    pq.write_table(pa.table({"_id": ["1"], "title": [""], "text": ["日本の漫画家、アニメーター"]}), tmp_path / "corpus.parquet")
    for name in ("queries", "qrels"):
        pq.write_table(pa.table({"_id": ["1"], "text": ["漫画家"]}), tmp_path / f"{name}.parquet")
    assert collection_of(str(tmp_path)).analyser == "cjk"
