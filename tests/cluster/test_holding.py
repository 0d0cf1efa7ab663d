"""Artifacts that are held: as long as few rows came or went, never when something else is asked for."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.holding import LEAST, drift
from cluster.store import Store
from flows.faults import FlowError
from flows.flow import load
from flows.plan import describe, plan
from tests.flows.test_run import go, table, write

FLOW = """
flow: held
steps:
  docs:     {op: read_corpus, with: {path: docs.jsonl}}
  passages: {op: split_passages, from: docs, with: {unit: words, max_words: 6, min_words: 1}, max_rejected: 1}
  terms:    {op: fit_bm25, from: passages, refit: POLICY}
  pairs:    {op: read_pairs, with: {path: pairs.jsonl}}
  queries:  {op: group_positives, from: pairs, keep: [query], max_rejected: 1}
  lexical:  {op: retrieve_bm25, from: queries, against: passages, using: {statistics: terms}, with: {top_k: 3}}
"""
DOCS = [f"ice {i} and iron {i * 7} rust" for i in range(40)]


def say(home, docs):
    (home / "docs.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in docs))
    told = [{"query": f"ice {i}", "passage": docs[i]} for i in range(8)]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))


def made_of(ran, step):
    return next(f for f in ran.funnel if f["step"] == step)


@given(st.sets(st.integers(0, 300)), st.sets(st.integers(0, 300)))
def test_drift_is_the_share_of_rows_that_one_side_lacks(one, other):
    found = drift(*(np.array(sorted(x), np.uint64) for x in (one, other)))
    assert found == pytest.approx(len(one ^ other) / max(len(one) + len(other), 1), abs=1e-6)


def test_drift_of_more_rows_than_a_sketch_keeps_is_near():
    every = np.random.default_rng(0).integers(0, 1 << 63, 1_010_000, np.uint64)
    one, other = (np.sort(rows)[:LEAST] for rows in (every[:1_000_000], every[10_000:]))
    assert drift(one, other) == pytest.approx(0.01, abs=0.004)


@pytest.mark.parametrize(("policy", "kept"), [("always", False), ("never", True), ("drift>0.02", False), ("drift>0.1", True)])
def test_an_artifact_is_held_by_its_policy(tmp_path, policy, kept):
    path, store = write(tmp_path, FLOW.replace("POLICY", f'"{policy}"')), Store(str(tmp_path / "s"))
    say(tmp_path, DOCS)
    first = made_of(go(path, store), "terms")["home"]
    say(tmp_path, [*DOCS[1:], "sand and owls"])
    pending = {s["step"] for s in describe(plan(load(path), store)) if not s["stored"]}
    ran = go(path, store)
    assert (made_of(ran, "terms")["home"] == first) == kept
    assert ("terms" in pending) == (policy == "always")
    assert (made_of(ran, "lexical")["reused"] > 0) == kept
    if kept and policy != "never":
        assert made_of(ran, "terms")["held"] == pytest.approx(1 / 40)
    assert go(path, store).made == 0


def test_the_rows_of_the_refreshed_set_are_those_of_a_rebuild_that_holds_the_same(tmp_path):
    path, store, fresh = write(tmp_path, FLOW.replace("POLICY", "never")), Store(str(tmp_path / "s")), Store(str(tmp_path / "f"))
    say(tmp_path, DOCS)
    home = made_of(go(path, store), "terms")["home"]
    say(tmp_path, [*DOCS[:30], "ice owls nine"])
    go(path, store)
    for name in ("held", home):
        shutil.copytree(tmp_path / "s" / name, tmp_path / "f" / name)
    go(path, fresh, buckets=3)
    assert made_of(go(path, fresh), "terms")["home"] == home
    one, other = (table(path, where, "lexical") for where in (store, fresh))
    seen = [name for name in one.column_names if not name.startswith("_")]
    assert one.select(seen).equals(other.select(seen))


def test_what_is_asked_for_above_fits_it_anew(tmp_path):
    path, store = write(tmp_path, FLOW.replace("POLICY", "never")), Store(str(tmp_path / "s"))
    say(tmp_path, DOCS)
    home = made_of(go(path, store), "terms")["home"]
    assert made_of(go(path, store, changes=["passages.max_words=3"]), "terms")["home"] != home
    assert made_of(go(path, store, changes=["terms.k1=2"]), "terms")["home"] != home
    assert made_of(go(path, store), "terms")["home"] == home


def test_rows_that_come_back_find_their_own_artifact_and_a_lost_one_is_fitted_anew(tmp_path):
    path, store = write(tmp_path, FLOW.replace("POLICY", '"drift>0.1"')), Store(str(tmp_path / "s"))
    say(tmp_path, DOCS)
    first = made_of(go(path, store), "terms")["home"]
    say(tmp_path, DOCS[:20])
    second = made_of(go(path, store), "terms")["home"]
    assert second != first
    say(tmp_path, DOCS)
    assert made_of(go(path, store), "terms")["home"] == first
    say(tmp_path, DOCS[:39])
    assert made_of(go(path, store), "terms")["home"] == first
    shutil.rmtree(tmp_path / "s" / first)
    say(tmp_path, DOCS[:38])
    assert made_of(go(path, store), "terms")["home"] not in (first, second)


def test_what_names_rows_cannot_be_held_and_a_policy_is_a_known_one(tmp_path):
    said = FLOW.replace("POLICY", "never").replace("from: pairs, keep", "from: pairs, refit: never, keep")
    with pytest.raises(FlowError, match="queries.refit: never: group_positives cannot be held: only a build's artifact is held"):
        load(write(tmp_path, said))
    said = FLOW.replace("refit: POLICY}", "refit: never}\n  texts: {op: index_texts, from: passages, refit: never}")
    with pytest.raises(FlowError, match="index_texts cannot be held: its artifact is of the rows that it saw"):
        load(write(tmp_path, said))
    with pytest.raises(FlowError, match="refit"):
        load(write(tmp_path, FLOW.replace("POLICY", "sometimes")))
