"""What a margin would keep is told as select_negatives then keeps it; a step without scores is refused."""

import json

import pyarrow.parquet as pq
import pytest

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench
from flows.calibrate import MARGINS, calibrate
from flows.cli import main
from flows.flow import load
from flows.plan import plan
from flows.run import run
from operators.contract import InputError, apply
from operators.index_texts import Texts
from operators.select_negatives import SelectNegatives, select_negatives

WORDS = ["ice", "iron", "rain", "owls", "bread", "sand", "snow", "wood", "glass", "stone", "river", "cloud"]
FLOW = """
flow: calibrated
seed: 1
steps:
  pairs:   {op: read_pairs, with: {path: pairs.jsonl}}
  texts:   {op: index_texts, from: pairs}
  vectors: {op: embed, from: pairs, keep: [passage_id], using: {encoder: static}, with: {column: passage}}
  terms:   {op: fit_bm25, from: pairs}
  queries: {op: group_positives, from: pairs, keep: [query], max_rejected: 1}
  asked:   {op: embed, from: queries, using: {encoder: static}, with: {column: query}}
  dense:   {op: retrieve_dense, from: asked, against: vectors, with: {top_k: 12}}
  lexical: {op: retrieve_bm25, from: dense, against: pairs, using: {statistics: terms}, with: {top_k: 12}}
  fused:   {op: fuse_rankings, from: lexical, with: {top_k: 12}}
  risk:    {op: score_false_negatives, from: fused}
  short:   {op: embed, from: pairs, keep: [passage_id], using: {encoder: static}, with: {column: passage, into: half, dims: 128}}
  sought:  {op: embed, from: asked, using: {encoder: static}, with: {column: query, into: half, dims: 128}}
  halved:  {op: retrieve_dense, from: sought, against: short, with: {top_k: 12, vector: half, scores: half_scores}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("calibrate")
    lines = [{"query": f"{a} and {b}", "positive": f"of {a} {b} {WORDS[(i + j) % 12]}"} for i, a in enumerate(WORDS) for j, b in enumerate(WORDS[:4])]
    (home / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (home / "flow.yaml").write_text(FLOW)
    store = Store(str(home / "store"))
    ran = run(load(home / "flow.yaml"), Bench(store, LocalEngine(0), 2))
    return home, store, {f["step"]: f["home"] for f in ran.funnel}


def test_random_pairs_are_told_by_the_vectors_of_the_search_that_is_asked_about(made):
    home, store, _ = made
    steps = plan(load(home / "flow.yaml"), store)
    whole, half = (calibrate(steps, store, *asked, 3)["distributions"]["random pairs"] for asked in (("dense", ""), ("halved", "half_scores")))
    assert whole["count"] == half["count"]
    assert whole["p50"] != half["p50"]


def test_a_margin_keeps_what_is_told_and_random_pairs_score_below_candidates(made):
    home, store, homes = made
    said = calibrate(plan(load(home / "flow.yaml"), store), store, "dense", "", 3)
    rows = pq.ParquetDataset(sorted((home / "store" / homes["dense"]).glob("parts/*.parquet"))).read()
    texts = Texts.load(next((home / "store" / homes["texts"]).glob("artifact/*")))
    assert said["scores"] == "dense_scores" and said["rows"] == len(rows)
    asked = len(rows) - said["queries_without_a_scored_positive"]
    for m in said["margins"]:
        p = SelectNegatives(score="dense_scores", policy=m["policy"], margin=m["margin"], negatives=3, min_negatives=3, near_duplicate=None)
        kept = apply(select_negatives, rows, p, texts=texts).table
        assert m["queries_kept"] == pytest.approx(len(kept) / asked, abs=1e-4)
    places = said["distributions"]
    assert places["random pairs"]["p50"] < places["candidates"]["p50"] < places["positives"]["p50"]
    good = [m["margin"] for m in said["margins"] if m["policy"] == "percentage" and m["queries_kept"] >= 0.9]
    assert f"margin: {max(good)}," in said["suggested"] if good else "no margin leaves" in said["suggested"]
    assert len(said["margins"]) == 2 * len(MARGINS)


def test_risks_are_told_by_weight_and_the_command_says_it_all(made, capsys):
    home, store, _ = made
    for flags in ([], ["--json"]):
        assert main(["show", str(home / "flow.yaml"), "risk", "--store", store.uri, "--scores", "dense_scores", "--negatives", "3", *flags]) == 0
    text, answer = capsys.readouterr().out.rsplit("\n{", 1)
    said = json.loads("{" + answer)
    weights = said["risk_weights"]
    assert [w["expected_false_negatives"] for w in weights] == sorted((w["expected_false_negatives"] for w in weights), reverse=True)
    assert [w["hardness"] for w in weights] == sorted((w["hardness"] for w in weights), reverse=True)
    assert f"suggested: {said['suggested']}" in text and "random pairs" in text


def test_a_step_without_scores_is_refused(made):
    home, store, _ = made
    steps = plan(load(home / "flow.yaml"), store)
    with pytest.raises(InputError, match="asked: it has no column candidate_ids, teacher_scores; --scores takes a step behind a search"):
        calibrate(steps, store, "asked", "", 3)
    with pytest.raises(InputError, match="no column e5_scores; .* of these: dense_scores"):
        calibrate(steps, store, "dense", "e5_scores", 3)
    for step, column in (("lexical", "bm25_scores"), ("dense", "query"), ("dense", "vector")):  # of bm25_ids; a text; one a row
        with pytest.raises(InputError, match=f"{step}: {column} does not hold the scores of candidate_ids"):
            calibrate(steps, store, step, column, 3)
