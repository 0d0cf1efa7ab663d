"""Planted evaluation rows are found by their tier through the engine, told by the card, and an empty evaluation set is refused."""

import json
from pathlib import Path

import pytest

from cluster.store import Store
from cluster.task import manifest_of
from flows.flow import load
from flows.plan import plan
from operators.contract import InputError
from tests.decontamination import searching
from tests.flows.test_run import go, table

SOURCES = """
flow: clean
steps:
  nq:       {op: read_evaluation, with: {path: nq, take: [queries]}, max_rejected: 0.5}
  notes:    {op: read_corpus, with: {path: notes/*.txt, source: notes}}
  whole:    {op: split_passages, from: notes, with: {max_words: null, min_words: 1}}
  tests:    {op: drop_duplicates, from: [nq, whole], keep: [passage_id, title, passage, source, source_id], with: {key: passage_id}}
"""
SEARCH = searching("nq", "whole", "tests", "static", 5, "{words: 6, least_words: 6}")
DROP = """
  found:    {op: measure_contamination, from: scored, using: {evaluation: index}, with: &tiers {rouge: 0.6, bm25: 0.8, dense: 0.95}}
  clean:    {op: drop_contaminated, from: scored, using: {evaluation: index}, with: *tiers, max_rejected: 1}
  corpus:   {op: index_texts, from: pairs}
  fitted:   {op: fit_clusters, from: clean, with: {clusters: 1}}
  clustered: {op: assign_clusters, from: clean, using: {centroids: fitted}}
  batches:  {op: compose_batches, from: clustered, using: {texts: corpus}, with: {batch_size: 4, remainder: short, negatives: false}}
  batched:  {op: assign_batches, from: clustered, using: {batches: batches}, max_rejected: 0.5}
  set:      {op: write_training_set, from: batched, using: {texts: corpus}, with: {negatives: false, scores: false}}
"""
FLOW = SOURCES + SEARCH + DROP
NQ = {"n1": "which tree grows tall beside the old river", "n2": "who wrote the letter"}
NOTE = "The keeper of the lighthouse counts every ship that passes before the storm comes in from the sea."
PAIRS = {
    "Who wrote the letter?": "Nobody knows.",  # exact
    "how many ships": f"It is told so: {NOTE} And more.",  # a document within a passage
    "tell me which tree grows tall by the old river": "An alder.",  # in other words: ROUGE-L
    "why does iron rust": "Iron rusts in rain.",
    "what needs yeast": "Bread does.",
}


def project(home: Path, nq: dict[str, str], note: str = NOTE) -> Path:
    (home / "nq" / "qrels").mkdir(parents=True)
    (home / "nq" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{i}\td\t1\n" for i in nq))
    nq = {**nq, "n0": "why does iron rust"} if nq else nq  # of another split: no evaluation query
    (home / "notes").mkdir()
    (home / "flow.yaml").write_text(FLOW)
    (home / "nq" / "corpus.jsonl").write_text(json.dumps({"_id": "d", "text": "unused"}) + "\n")
    (home / "nq" / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": q}) + "\n" for i, q in nq.items()))
    (home / "notes" / "a.txt").write_text(note)
    (home / "pairs.jsonl").write_text("".join(json.dumps({"query": q, "positive": p}) + "\n" for q, p in PAIRS.items()))
    return home / "flow.yaml"


def test_planted_rows_are_removed_by_tier_and_the_card_tells_it(tmp_path):
    path, store = project(tmp_path / "p", NQ), Store(str(tmp_path / "s"))
    ran = go(path, store)
    funnel = {f["step"]: f for f in ran.funnel}
    assert funnel["clean"]["rejected"] == {"in notes: n-gram": 1, "in nq: ROUGE-L": 1, "in nq: exact": 1}
    assert funnel["clean"]["rows_out"] == 2
    kept = table(path, store, "clean")["query"].to_pylist()
    assert sorted(kept) == ["what needs yeast", "why does iron rust"]
    home = next(p.task.home for p in plan(load(path), store) if p.step.name == "clean")
    rejects = [r for p in manifest_of(store, home)["parts"] if "rejects" in p for r in store.read_table(p["rejects"]).to_pylist()]
    assert {(r["reason"], r["value"]) for r in rejects} == {
        ("in nq: exact", "n2 (1)"), ("in notes: n-gram", "a.txt (1)"), ("in nq: ROUGE-L", "n1 (0.7778)"),
    }  # fmt: skip
    counts = funnel["found"]["measured"]
    assert {k: counts[k] for k in ("nq: rows", "nq: found", "nq: exact", "nq: ROUGE-L", "notes: rows", "notes: n-gram")} == {
        "nq: rows": 2, "nq: found": 2, "nq: exact": 1, "nq: ROUGE-L": 2, "notes: rows": 1, "notes: n-gram": 1,
    }  # fmt: skip
    card = store.read_text(f"{ran.published}/README.md")
    assert "- 1 rows were removed that are in nq: exact" in card
    assert "| nq | 2 | 2 (100.00%) |" in card


@pytest.mark.parametrize("buckets", [1, 7])
def test_the_cut_changes_no_byte(tmp_path, buckets):
    path, one, other = project(tmp_path / "p", NQ), Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    first, second = go(path, one), go(path, other, buckets=buckets)
    for step in ("matched", "scored", "clean"):
        assert table(path, one, step).equals(table(path, other, step))
    measured = [next(f for f in ran.funnel if f["step"] == "found")["measured"] for ran in (first, second)]
    assert measured[0] == measured[1]
    assert first.published.rpartition("-")[2] == second.published.rpartition("-")[2]


def test_another_threshold_searches_and_scores_nothing_again(tmp_path):
    path, store = project(tmp_path / "p", NQ), Store(str(tmp_path / "s"))
    go(path, store)
    ran = go(path, store, changes=["clean.rouge=0.9"])
    assert {f["step"] for f in ran.funnel if not f["stored"]} & {"matched", "lexical", "dense", "scored"} == set()
    assert "in nq: ROUGE-L" not in next(f for f in ran.funnel if f["step"] == "clean")["rejected"]


def test_an_evaluation_set_without_a_word_is_one_sentence(tmp_path):
    path = project(tmp_path / "p", {"n1": "?!"}, note="…")
    with pytest.raises(InputError, match="index: the evaluation set holds no text with a word"):
        go(path, Store(str(tmp_path / "s")), changes=["steps.index.from=nq"])


def test_an_empty_file_of_an_evaluation_set_is_one_sentence(tmp_path):
    path = project(tmp_path / "p", {})
    with pytest.raises(InputError, match="nq.*the input holds no rows"):
        go(path, Store(str(tmp_path / "s")))
