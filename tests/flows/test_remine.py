"""The flow that mines again: a newer checkpoint runs its own steps alone, and its set keeps every promise."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench
from flows.config import find_flow
from flows.flow import load
from flows.run import run
from operators.engines import load_model, packaged
from tests.flows.test_main_flow import write_corpus, write_pairs

MODEL_FREE = ("centroids", "clustered", "batches", "batched", "masked", "set", "renewed", "weighed")


def mined_again(home, encoder):
    sets = [
        f"pairs.path={home / 'pairs.jsonl'}", f"corpus.path={home / 'corpus.jsonl'}", "centroids.clusters=3", "batches.batch_size=8",
        f"vectors_now.using.encoder={encoder}", f"asked_now.using.encoder={encoder}", "negatives.max_rejected=1",
    ]  # fmt: skip
    store = Store(str(home / "store"))
    return run(load(find_flow("remine"), sets), Bench(store, LocalEngine(1), 4)), store


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    home = tmp_path_factory.mktemp("remine")
    write_pairs(home / "pairs.jsonl")
    write_corpus(home / "corpus.jsonl", 90)
    first, store = mined_again(home, "static")
    second, _ = mined_again(home, "minilm")
    return first, second, store


def rows_of(ran, store):
    return pq.read_table(store.local / ran.published / "train-00000-of-00001.parquet").to_pylist()


def step_of(ran, store, name):
    home = next(f["home"] for f in ran.funnel if f["step"] == name)
    return [r for part in sorted((store.local / home / "parts").glob("*.parquet")) for r in pq.read_table(part).to_pylist()]


def test_a_newer_checkpoint_runs_its_own_steps_alone(both):
    first, second, _ = both
    assert not any(f["stored"] for f in first.funnel)
    fresh = [f["step"] for f in second.funnel if not f["stored"]]
    assert set(fresh) <= {"vectors_now", "asked_now", "again", "rescored", *MODEL_FREE}
    assert {"vectors_now", "asked_now", "again", "renewed"} <= set(fresh)


def test_the_same_checkpoint_replaces_nothing_and_another_one_what_went_easy(both):
    first, second, store = both
    assert not any(row["dropped_ids"] or row["added_ids"] for row in step_of(first, store, "renewed") if row["negative_ids"])
    rows = step_of(second, store, "renewed")
    moved = [row for row in rows if row["dropped_ids"]]
    assert moved
    before = {row["query_id"]: row for row in step_of(second, store, "negatives")}
    for row in moved:
        assert len(row["negative_ids"]) == len(before[row["query_id"]]["negative_ids"])
        assert set(row["dropped_ids"]) == set(before[row["query_id"]]["negative_ids"]) - set(row["negative_ids"])


def test_every_row_of_the_set_keeps_its_promises(both):
    _, second, store = both
    rows = rows_of(second, store)
    assert len(rows) > 12
    batches: dict[int, set[bytes]] = {}
    for row in rows:
        batches.setdefault(row["batch"], set()).update(row["positive_ids"], row["negative_ids"])
    for row in rows:
        assert not set(row["positives"]) & set(row["negatives"])
        assert math.isfinite(row["weight"]) and row["weight"] >= 0
        assert not set(row["masked_ids"]) & {*row["positive_ids"], *row["negative_ids"]}
        assert set(row["masked_ids"]) <= batches[row["batch"]]
    assert any(len(row["positives"]) > 1 for row in rows)  # some were promoted
    json.dumps([row["weight"] for row in rows])


def test_scores_of_renewed_negatives_are_the_teachers(both):
    _, second, store = both
    teacher = load_model("teacher", packaged("teacher"))
    for row in [r for r in rows_of(second, store) if r["negatives"]][:5]:
        found = teacher.score([row["query"]] * len(row["negatives"]), row["negatives"])
        np.testing.assert_allclose(found, row["negative_scores"], atol=1e-5)
