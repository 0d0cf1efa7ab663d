"""Pairs filtered end to end as E5 and as Arctic do it, behind a floor; against brute force, whatever the buckets."""

import json

import numpy as np
import pytest

from cluster.store import Store
from operators.contract import InputError
from operators.engines import load_model, packaged
from tests.flows.test_run import go, table

FLOW = """
flow: consistency
seed: 7
steps:
  pairs:    {op: read_pairs, with: {path: pairs.jsonl}}
  scored:   {op: score_pairs, from: pairs, using: {encoder: static}, with: {vector: vector}}
  floor:    {op: fit_pair_floor, from: pairs, using: {encoder: static}, with: {percentile: 90}}
  above:    {op: drop_below_floor, from: scored, using: {floor: floor}, max_rejected: 1}
  unique:   {op: drop_duplicates, from: pairs, keep: [passage_id, title, passage], with: {key: passage_id}, max_rejected: 1}
  texts:    {op: index_texts, from: unique}

  drawn:    {op: choose_rows, from: unique, with: {budget: 20}}                                # E5: a million
  pool:     {op: keep_chosen, from: unique, using: {chosen: drawn}, max_rejected: 1}
  vectors:  {op: embed, from: pool, keep: [passage_id], using: {encoder: static}}
  found:    {op: retrieve_dense, from: above, against: vectors, with: {top_k: 5}}
  e5:       {op: round_trip, from: found, using: {texts: texts}, with: {top_k: 2, scores: dense_scores, own: similarity}, max_rejected: 1}

  every:    {op: embed, from: unique, keep: [passage_id], using: {encoder: static}}
  sharded:  {op: assign_shards, from: every, with: {shards: 3}}                                # Arctic: of three million each
  asked:    {op: assign_shards, from: above, with: {shards: 3}}
  within:   {op: retrieve_dense, from: asked, against: sharded, with: {top_k: 5, alike: [shard]}}
  arctic:   {op: round_trip, from: within, using: {texts: texts}, with: {top_k: 3, scores: dense_scores}, max_rejected: 1}
"""
WORDS = ["oak", "birch", "elm", "ash", "river", "stone", "bread", "yeast", "owl", "mouse", "rain", "iron", "train", "winter", "song", "boat"]
STEPS = ("above", "pool", "e5", "arctic")


def write(home):
    home.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    passages = [" ".join(rng.choice(WORDS, 5)) for _ in range(60)]
    pairs = [{"query": " ".join(rng.choice(p.split(), 2)), "positive": p} for p in passages]
    for i in range(0, 60, 4):
        pairs[i]["positive"] = passages[(i + 31) % 60]
    (home / "flow.yaml").write_text(FLOW)
    (home / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    return home / "flow.yaml"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    home = tmp_path_factory.mktemp("consistency")
    path, store = write(home / "p"), Store(str(home / "s"))
    go(path, store, buckets=2)
    return path, {name: table(path, store, name) for name in (*STEPS, "scored", "unique", "sharded")}


def rank(row, passages, encoder):
    """Distinct texts among ``passages`` that score above the row's own, and one; the row's own is scored, too."""
    query = encoder.encode([row["query"]], "query")[0]
    told = sorted({p["passage"] for p in passages} - {row["passage"]})
    matrix = encoder.encode([*told, row["passage"]], "passage").astype(np.float64)
    found = (matrix @ query).astype(np.float32)
    return 1 + int((found[:-1] > found[-1]).sum())


def test_e5_keeps_what_ranks_among_the_first_of_a_drawn_pool_that_need_not_hold_it(ran):
    _, steps = ran
    encoder, pool = load_model("encoder", packaged("encoder", "static")), steps["pool"].to_pylist()
    assert len(pool) == 20
    want = {r["query_id"] for r in steps["above"].to_pylist() if rank(r, pool, encoder) <= 2}
    got = steps["e5"]
    assert set(got["query_id"].to_pylist()) == want
    held = {p["passage_id"] for p in pool}
    assert any(one not in held for one in got["passage_id"].to_pylist())
    assert 0 < len(want) < len(steps["above"]) < len(steps["scored"])


def test_arctic_keeps_what_ranks_among_the_first_of_its_own_shard(ran):
    _, steps = ran
    encoder = load_model("encoder", packaged("encoder", "static"))
    shard = dict(zip(steps["sharded"]["passage_id"].to_pylist(), steps["sharded"]["shard"].to_pylist(), strict=True))
    passages = steps["unique"].to_pylist()
    want = set()
    for row in steps["above"].to_pylist():
        mates = [p for p in passages if shard[p["passage_id"]] == shard[row["passage_id"]]]
        if rank(row, mates, encoder) <= 3:
            want.add(row["query_id"])
    assert set(steps["arctic"]["query_id"].to_pylist()) == want
    assert 0 < len(want) < len(steps["above"])


@pytest.mark.parametrize("buckets", [1, 5])
def test_no_number_of_buckets_changes_a_row(ran, tmp_path, buckets):
    path, steps = ran
    store = Store(str(tmp_path / "s"))
    go(path, store, buckets=buckets)
    for name in STEPS:
        assert table(path, store, name).equals(steps[name])


def test_a_floor_of_one_encoder_ends_the_run_on_rows_of_another(ran, tmp_path):
    path, _ = ran
    with pytest.raises(InputError, match="name one encoder in score_pairs and fit_pair_floor"):
        go(path, Store(str(tmp_path / "s")), changes=["floor.using.encoder=minilm"])


def test_k_center_and_quotas_end_to_end_whatever_the_buckets(tmp_path):
    flow = """
flow: chosen
steps:
  pairs:     {op: read_pairs, with: {path: pairs.jsonl}}
  unique:    {op: drop_duplicates, from: pairs, keep: [passage_id, title, passage], with: {key: passage_id}, max_rejected: 1}
  vectors:   {op: embed, from: unique, keep: [passage_id], using: {encoder: static}}
  centroids: {op: fit_clusters, from: vectors, with: {clusters: 4, key: passage_id}}
  clustered: {op: assign_clusters, from: vectors, using: {centroids: centroids}}
  gaps:      {op: measure_gaps, from: clustered}
  chosen:    {op: choose_rows, from: gaps, with: {budget: 12, by: cluster, alpha: 0.5, quality: gap}}
  kept:      {op: keep_chosen, from: unique, using: {chosen: chosen}, max_rejected: 1}
"""
    path = write(tmp_path / "p")
    path.write_text(flow)
    told = []
    for buckets in (1, 4):
        store = Store(str(tmp_path / f"s{buckets}"))
        go(path, store, buckets=buckets)
        told.append(table(path, store, "kept"))
    assert len(told[0]) == 12
    assert told[0].equals(told[1])
