"""The shipped flows with real models over real text: same bytes everywhere, and a set that trains."""

import json
import os
from pathlib import Path

import pytest

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench
from flows.cli import main
from flows.config import find_flow
from flows.flow import load
from flows.run import run
from flows.verify import verify
from operators import python_docs


def write_pairs(path: Path, count: int = 48) -> Path:
    docs = [(t, d.split(". ", 1)) for _, t, d in python_docs.docs() if ". " in d][:: 3000 // count][:count]
    path.write_text("".join(json.dumps({"query": first, "positive": rest, "title": t}) + "\n" for t, (first, rest) in docs))
    return path


def write_corpus(path: Path, count: int = 60) -> Path:
    docs = list(python_docs.docs())[:: 3000 // count][:count]
    path.write_text("".join(json.dumps({"_id": n, "title": t, "text": d}) + "\n" for n, t, d in docs))
    return path


def mined(tmp_path, name, engine, buckets, changes=()):
    store = Store(str(tmp_path / name))
    pairs = tmp_path / "pairs.jsonl"
    sets = [f"pairs.path={pairs}", "centroids.clusters=3", "batches.batch_size=8", "negatives.max_rejected=1", *changes]
    try:
        ran = run(load(find_flow("mine"), sets), Bench(store, engine, buckets))
    finally:
        engine.close()
    folder = store.local / ran.published
    return {p.name: p.read_bytes() for p in folder.iterdir()}, ran, store


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("mine")
    write_pairs(tmp_path / "pairs.jsonl")
    return tmp_path, *mined(tmp_path, "one", LocalEngine(1), 4)


@pytest.mark.parametrize(("workers", "buckets"), [(0, 4), (4, 16)])
def test_workers_and_buckets_change_no_byte_of_the_set(one, workers, buckets):
    tmp_path, files, *_ = one
    assert mined(tmp_path, f"w{workers}b{buckets}", LocalEngine(workers), buckets)[0] == files


@pytest.mark.ray
def test_ray_changes_no_byte_of_the_set(one):
    from cluster.ray_engine import RayEngine

    tmp_path, files, *_ = one
    assert mined(tmp_path, "ray", RayEngine(2), 8)[0] == files


def test_another_weight_of_the_risk_calls_no_model(one):
    tmp_path, *_ = one
    ran = mined(tmp_path, "one", LocalEngine(1), 4, ["negatives.risk_weight=0.2"])[1]
    assert [f["step"] for f in ran.funnel if not f["stored"]][0] == "negatives"
    asked = [f["counters"] for f in ran.funnel if not f["stored"]]
    assert not any(count for told in asked for name, count in told.items() if name.startswith(("encoder_", "teacher_", "llm_")))


def test_negatives_keep_their_promises(one):
    import pyarrow.parquet as pq

    tmp_path, files, ran, store = one
    rows = pq.read_table(store.local / ran.published / "train-00000-of-00001.parquet").to_pylist()
    assert len(rows) > 12
    for row in rows:
        assert not set(row["negatives"]) & set(row["positives"])
        assert len(set(row["negatives"])) == len(row["negatives"]) >= 1
        assert len(row["negative_scores"]) == len(row["negatives"])
        assert all(-1 <= s < 1 for s in row["negative_scores"])  # the teacher's, a cosine, as the positive's


def test_one_changed_document_embeds_and_scores_only_what_it_touches(one, tmp_path):
    home, _, ran, store = one
    lines = (home / "pairs.jsonl").read_text().splitlines()
    changed = json.loads(lines[0]) | {"positive": "A positive that nobody wrote before, about tea and its leaves."}
    (tmp_path / "pairs.jsonl").write_text("\n".join([json.dumps(changed), *lines[1:]]) + "\n")
    again = run(load(find_flow("mine"), [f"pairs.path={tmp_path / 'pairs.jsonl'}", "centroids.clusters=3",
                                         "batches.batch_size=8", "negatives.max_rejected=1"]),
                Bench(store, LocalEngine(0), 4), until="scored")  # fmt: skip
    counts = {f["step"]: f["counters"].get("encoder_texts") for f in again.funnel}
    assert counts["vectors"] == 1


def test_a_flipped_byte_is_found_and_mended(one):
    tmp_path, files, ran, store = one
    part = next(p for p in sorted((store.local / "steps").rglob("parts/*.parquet")) if "score_teacher" in str(p))
    body = bytearray(part.read_bytes())
    body[len(body) // 2] ^= 1
    part.write_bytes(body)
    flow = load(find_flow("mine"), [f"pairs.path={tmp_path / 'pairs.jsonl'}"])
    assert len(verify(flow, store)) == 1
    assert mined(tmp_path, "one", LocalEngine(1), 4)[0] == files
    assert verify(flow, store) == []


def test_the_set_loads_with_datasets_and_trains_an_epoch(one):
    import datasets
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    from operators.engines.models import packaged, place

    tmp_path, _, ran, store = one
    found = datasets.load_dataset(
        "parquet", data_files=str(store.local / ran.published / "train-*.parquet"), split="train", cache_dir=str(tmp_path / "hf")
    )
    pairs = found.map(
        lambda r: {"anchor": r["query"], "positive": r["positives"][0], "negative": r["negatives"][0]}, remove_columns=found.column_names
    )
    model = SentenceTransformer(str(place(packaged("encoder").model)), device="cpu")
    before = model.encode(["a test"])[0].copy()
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "out"), num_train_epochs=1, per_device_train_batch_size=8, report_to="none",
        use_cpu=True, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(model, arguments, train_dataset=pairs, loss=MultipleNegativesRankingLoss(model))
    assert trainer.train().training_loss > 0
    assert (model.encode(["a test"])[0] != before).any()


def test_a_published_set_is_an_input_of_the_next(one, tmp_path):
    _, _, ran, store = one
    latest = store.local / "datasets" / "mine" / "latest"
    sets = [f"pairs.path={latest}", "pairs.format=parquet", "pairs.columns={positive: positives}"]
    again = run(load(find_flow("mine"), sets), Bench(Store(str(tmp_path / "next")), LocalEngine(0), 2), until="queries")
    assert again.funnel[0]["rows_out"] == ran.funnel[-1]["rows_out"]


@pytest.mark.slow
def test_the_quickstart_flow_publishes_and_a_killed_one_resumes_to_the_same_bytes(tmp_path):
    import signal
    import subprocess
    import sys
    import time

    corpus = write_corpus(tmp_path / "corpus.jsonl")
    flags = ["--set", f"corpus.path={corpus}", "--set", "corpus.format=jsonl", "--set", "chosen.share=0.2", "--set", "queries.per_passage=1",
             "--set", "clean.max_rejected=1", "--set", "consistent.max_rejected=1", "--set", "negatives.max_rejected=1",
             "--set", "centroids.clusters=1", "--buckets", "4"]  # fmt: skip
    root = Path(__file__).parents[2]

    def command(store):
        return [sys.executable, "-m", "flows", "run", "quickstart", "--store", str(tmp_path / store), "--json", *flags]

    start = time.monotonic()
    whole = json.loads(subprocess.run(command("a"), cwd=root, capture_output=True, text=True, check=True).stdout)
    took = time.monotonic() - start
    for share in (0.4, 0.7):
        process = subprocess.Popen(command("b"), cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(took * share)
        process.send_signal(signal.SIGKILL)
        process.wait()
    resumed = json.loads(subprocess.run(command("b"), cwd=root, capture_output=True, text=True, check=True).stdout)
    one, other = (sorted((tmp_path / s / r["published"]).iterdir()) for s, r in (("a", whole), ("b", resumed)))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]
    for step in (tmp_path / "b" / "steps").iterdir():
        names = [p.name.rsplit(".", 2)[0] for p in (step / "commits").iterdir()]
        assert len(names) == len(set(names)), f"a committed part of {step.name} was made again"
    look_into(tmp_path / "a")


def look_into(store: Path) -> None:
    """The notebooks that look at a stored set run from top to bottom."""
    import nbformat
    from nbclient import NotebookClient

    os.environ["PITHEAD_STORE"] = str(store)
    for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb")):
        if path.stem != "from_corpus_to_model":  # it makes its own set: tests/flows/test_report.py
            NotebookClient(nbformat.read(path, 4), timeout=120).execute()


def test_the_spent_budget_of_calls_is_exit_status_three(tmp_path, capsys):
    corpus = write_corpus(tmp_path / "corpus.jsonl", 20)
    flags = ["--set", f"corpus.path={corpus}", "--set", "corpus.format=jsonl", "--set", "chosen.share=1", "--workers", "0"]
    assert main(["run", "quickstart", "--store", str(tmp_path / "s"), "--until", "queries", "--max-calls", "12", *flags]) == 3
    assert "--max-calls is spent, 1 of 8 parts are made" in capsys.readouterr().err
