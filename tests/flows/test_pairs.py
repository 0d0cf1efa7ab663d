"""A refresh asks the teacher for pairs whose texts changed, to the byte, and equals a full rebuild."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from cluster.store import Store
from flows.flow import load
from flows.plan import plan
from tests.flows.test_run import go, table

FLOW = """
flow: pairs
steps:
  docs:    {op: read_corpus, with: {path: corpus.jsonl}}
  cut:     {op: split_passages, from: docs, with: {max_words: null, min_words: 1}}
  texts:   {op: index_texts, from: cut}
  vectors: {op: embed, from: cut, keep: [passage_id], using: {encoder: static}, with: {column: passage}}
  asked:   {op: read_queries, with: {path: queries.jsonl}}
  sought:  {op: embed, from: asked, using: {encoder: static}, with: {column: query}}
  found:   {op: retrieve_dense, from: sought, against: vectors, with: {top_k: 4}}
  told:    {op: "tests.toy_ops:first_is_right", from: found}
  scored:  {op: score_teacher, from: told, using: {teacher: late-interaction, texts: texts}, with: {max_candidates: 3}}
  chosen:  {op: select_negatives, from: scored, using: {texts: texts}, with: {negatives: 1}, max_rejected: 1}
"""
ASKED = ["what rusts in rain", "what hunts at night", "what needs yeast", "what falls from clouds"]
TOLD = ["iron rusts in the rain", "owls hunt mice at night", "bread needs yeast", "rain falls from clouds", "bats hunt by night"]


def write(home: Path, told: list[str], flow: str = FLOW) -> Path:
    """A project of these documents."""
    home.mkdir(exist_ok=True)
    (home / "flow.yaml").write_text(flow)
    (home / "queries.jsonl").write_text("".join(json.dumps({"_id": str(i), "text": q}) + "\n" for i, q in enumerate(ASKED)))
    (home / "corpus.jsonl").write_text("".join(json.dumps({"_id": str(i), "text": d}) + "\n" for i, d in enumerate(told)))
    return home / "flow.yaml"


def pairs(scored: pa.Table, most: int = 3) -> set[tuple[str, bytes]]:
    """Those that a teacher was shown."""
    return {(r["query"], i) for r in scored.to_pylist() for i in [*r["positive_ids"], *r["candidate_ids"][:most]]}


def asked_for(ran) -> int:
    return next(f for f in ran.funnel if f["step"] == "scored")["counters"].get("teacher_pairs", 0)


@pytest.mark.parametrize("buckets", [1, 3])
def test_a_changed_document_costs_its_own_pairs_and_the_set_equals_a_rebuild(tmp_path, buckets):
    path, store = write(tmp_path / "p", TOLD), Store(str(tmp_path / "s"))
    first = go(path, store, buckets=2)
    before = table(path, store, "scored")
    assert asked_for(first) == len(pairs(before))
    write(tmp_path / "p", [*TOLD[:4], "bats and owls hunt mice at night"])
    second = go(path, store, buckets=buckets)
    after = table(path, store, "scored")
    new = pairs(after) - pairs(before)
    assert 0 < len(new) < len(pairs(after))
    assert asked_for(second) == len(new), "a pair is scored once"
    rebuilt = Store(str(tmp_path / "r"))
    go(path, rebuilt, buckets=buckets)
    for step in ("scored", "chosen"):
        assert table(path, store, step).equals(table(path, rebuilt, step))
    texts = next(p for p in plan(load(path), store) if p.step.name == "texts").task
    assert texts.fingerprint not in {p.task.recipe for p in plan(load(path), store)}


def test_an_id_whose_text_changed_in_white_space_is_another_text(tmp_path):
    path, store = write(tmp_path / "p", TOLD), Store(str(tmp_path / "s"))
    go(path, store)
    before = {p.step.name: p for p in plan(load(path), store)}
    scored = table(path, store, "scored")
    write(tmp_path / "p", [*TOLD[:4], "bats  hunt by night"])
    after = {p.step.name: p for p in plan(load(path), store)}
    for step in ("scored", "chosen"):
        assert after[step].task.recipe == before[step].task.recipe
        assert after[step].task.fingerprint != before[step].task.fingerprint, "it runs again and takes rows over"
    ran = go(path, store)
    assert pairs(table(path, store, "scored")) == pairs(scored), "ids fold white space"
    cut = {r["passage"]: r["passage_id"] for r in table(path, store, "cut").to_pylist()}
    assert asked_for(ran) == sum(i == cut["bats  hunt by night"] for _, i in pairs(scored)) > 0


def test_without_its_query_a_part_gives_whole_rows_alone(tmp_path):
    flow = FLOW.replace("from: told, using", "from: told, keep: [query_id, positive_ids, candidate_ids], using")
    flow = flow[: flow.index("  chosen:")].replace("top_k: 4", "top_k: 2")
    path, store = write(tmp_path / "p", TOLD, flow), Store(str(tmp_path / "s"))
    go(path, store)
    write(tmp_path / "p", [*TOLD, "bats rusts in rain"], flow)
    ran = go(path, store)
    rebuilt = Store(str(tmp_path / "r"))
    whole = go(path, rebuilt)
    assert 0 < asked_for(ran) < asked_for(whole)
    assert table(path, store, "scored").equals(table(path, rebuilt, "scored"))
