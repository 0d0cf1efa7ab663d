"""Sums take the change alone, groups the buckets that changed: to the byte what a full run makes."""

import json

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cluster.store import Store
from cluster.task import manifest_of
from flows.flow import load
from flows.plan import plan
from flows.verify import verify
from tests.flows.test_run import go, write

FLOW = """
flow: sums
steps:
  docs:   {op: read_corpus, with: {path: docs.jsonl}, max_rejected: 1}
  more:   {op: read_corpus, with: {path: more.jsonl}, max_rejected: 1}
  cut:    {op: split_passages, from: docs, with: {unit: words, max_words: 4, min_words: 1}, max_rejected: 1}
  other:  {op: split_passages, from: more, with: {unit: words, max_words: 4, min_words: 1}, max_rejected: 1}
  terms:  {op: fit_bm25, from: [cut, other]}
  unique: {op: drop_duplicates, from: [cut, other], with: {key: passage_id}, max_rejected: 1}
"""
WORDS = ["ice", "iron", "rain", "owls", "bread", "sand"]
DOCS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join), min_size=1, max_size=30)
EDIT = st.tuples(st.sets(st.integers(0, 29), max_size=6), DOCS.map(lambda x: x[:4]), st.sampled_from([2, 4, 4, 6]))


def say(home, docs, more):
    for name, said in (("docs", docs), ("more", more)):
        (home / f"{name}.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in said))


def made(path, store, name):
    return manifest_of(store, next(p.task.home for p in plan(load(path), store) if p.step.name == name))


def reused(ran):
    return {f["step"]: f["reused"] for f in ran.funnel}


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(DOCS, DOCS, st.lists(EDIT, min_size=1, max_size=2))
def test_any_edits_leave_the_artifact_and_the_buckets_of_a_full_run(tmp_path_factory, docs, more, edits):
    home = tmp_path_factory.mktemp("folding")
    path, store = write(home, FLOW), Store(str(home / "s"))
    say(home, docs, more)
    go(path, store)
    for number, (less, new, buckets) in enumerate(edits):
        docs = [d for i, d in enumerate(docs) if i not in less] + new or ["ice"]
        say(home, docs, more)
        fresh = Store(str(home / f"fresh{number}"))
        go(path, store, buckets=buckets)
        go(path, fresh, buckets=buckets)
        one, other = (made(path, where, "terms")["parts"][0]["files"] for where in (store, fresh))
        assert one == other
        one, other = (made(path, where, "unique") for where in (store, fresh))
        said = ("part", "sha256", "rows", "rejects_sha256")
        assert [[p.get(k) for k in said] for p in one["parts"]] == [[p.get(k) for k in said] for p in other["parts"]]
        assert [one[k] for k in ("rows_in", "rejected", "schema")] == [other[k] for k in ("rows_in", "rejected", "schema")]


def test_one_document_more_counts_one_document_and_makes_few_buckets(tmp_path):
    path, store = write(tmp_path, FLOW), Store(str(tmp_path / "s"))
    docs = [f"ice {i} iron {i * 7} owls {i}" for i in range(60)]
    say(tmp_path, docs, ["rain"])
    assert reused(go(path, store, buckets=32))["terms"] == 0
    say(tmp_path, [*docs, "bread"], ["rain"])
    ran = reused(go(path, store, buckets=32))
    rows = made(path, store, "unique")["rows_in"]
    assert ran["terms"] == rows
    assert rows * 0.7 < ran["unique"] < rows
    assert verify(load(path), store) == []


def test_what_was_damaged_or_removed_is_not_taken_over(tmp_path):
    path, store = write(tmp_path, FLOW), Store(str(tmp_path / "s"))
    docs = [f"ice {i} iron {i * 7} owls {i}" for i in range(60)]
    say(tmp_path, docs, ["rain"])
    go(path, store)
    for part in (store.local / "steps").glob("drop_duplicates-*/parts/*"):
        part.write_bytes(part.read_bytes()[:-1])
    for part in (store.local / "steps").glob("split_passages-*/parts/*"):
        part.unlink()
    say(tmp_path, [*docs, "bread"], ["rain", "sand"])
    ran = go(path, store)
    assert reused(ran)["unique"] == reused(ran)["terms"] == 0
    fresh = Store(str(tmp_path / "f"))
    go(path, fresh)
    assert made(path, store, "terms")["parts"][0]["files"] == made(path, fresh, "terms")["parts"][0]["files"]
