"""What a search takes over of an earlier set is, to the byte, what a full search finds, whatever came and went."""

import json
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cluster.store import Store
from flows.flow import load
from flows.verify import verify
from tests.flows.test_run import go, table

FLOW = """
flow: found
seed: 1
steps:
  docs:      {op: read_corpus, with: {path: docs.jsonl}, max_rejected: 1}
  passages:  {op: split_passages, from: docs, with: {unit: words, max_words: 6, min_words: 1}, max_rejected: 1}
  documents: {op: index_documents, from: passages}
  vectors:   {op: embed, from: passages, using: {encoder: static}, keep: [passage_id], max_rejected: 1}
  pairs:     {op: read_pairs, with: {path: pairs.jsonl}, max_rejected: 1}
  queries:   {op: group_positives, from: pairs, keep: [query], max_rejected: 1}
  asked:     {op: embed, from: queries, using: {encoder: static}, with: {column: query}, max_rejected: 1}
  dense:     {op: retrieve_dense, from: asked, against: vectors, using: {documents: documents}, with: {top_k: 4, other_documents: true}}
"""
WORDS = ["ice", "iron", "rain", "owls", "bread", "sand"]
DOC = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)  # few words: equal passages, ties
CORPUS = st.lists(DOC, min_size=1, max_size=40, unique=True)
EDIT = st.tuples(
    st.lists(DOC, max_size=4), st.sets(st.integers(0, 39), max_size=4), st.lists(DOC, max_size=2),
    st.sampled_from([1, 2, 3, 4]), st.sampled_from([2, 4, 4, 9]),
)  # fmt: skip


def say(home: Path, docs: list[str], asked: list[str]) -> None:
    (home / "docs.jsonl").write_text("".join(json.dumps({"title": "", "text": d}) + "\n" for d in docs))
    told = [{"query": q, "passage": docs[i % len(docs)]} for i, q in enumerate(asked)]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))


def found(path, store, changes=()):
    """What the next step sees of it."""
    rows = table(path, store, "dense", changes)
    return rows.drop_columns([c for c in rows.column_names if c.startswith("_")])


def reused(ran):
    return next(f["reused"] for f in ran.funnel if f["step"] == "dense")


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])  # an example takes seconds to shrink
@given(CORPUS, st.lists(DOC, min_size=1, max_size=6, unique=True), st.lists(EDIT, min_size=1, max_size=2))
def test_a_refreshed_search_is_a_full_one_for_any_sequence_of_edits(tmp_path_factory, docs, asked, edits):
    home = tmp_path_factory.mktemp("crossing")
    path, store = home / "flow.yaml", Store(str(home / "s"))
    path.write_text(FLOW)
    say(home, docs, asked)
    go(path, store)
    for number, (more, less, queries, buckets, top_k) in enumerate(edits):
        docs = list(dict.fromkeys([d for i, d in enumerate(docs) if i not in less] + more)) or ["ice"]
        asked = list(dict.fromkeys([*queries, *asked]))
        say(home, docs, asked)
        changes = [f"dense.top_k={top_k}"]
        fresh = Store(str(home / f"fresh{number}"))
        go(path, store, buckets=buckets, changes=changes)
        go(path, fresh, buckets=2, changes=changes)
        assert found(path, store, changes).equals(found(path, fresh, changes))


@pytest.fixture
def grown(tmp_path):
    """Sixty documents, twenty queries, searched."""
    path, store = tmp_path / "flow.yaml", Store(str(tmp_path / "s"))
    path.write_text(FLOW)
    docs = [f"{WORDS[i % 6]} {WORDS[i % 5]} number {i} of {i * 7}" for i in range(60)]
    asked = [f"{WORDS[i % 6]} number {i}" for i in range(20)]
    say(tmp_path, docs, asked)
    assert reused(go(path, store)) == 0
    return tmp_path, path, store, docs, asked


def test_new_queries_alone_are_searched_and_a_smaller_k_is_cut_from_what_is_stored(grown):
    home, path, store, docs, asked = grown
    say(home, docs, [*asked, "a query more"])
    assert reused(go(path, store)) == 20
    assert reused(go(path, store, changes=["dense.top_k=2"])) == 21
    assert reused(go(path, store, changes=["dense.top_k=19"])) == 21  # as many as are kept behind the four
    assert reused(go(path, store, changes=["dense.top_k=50"])) == 0


def equals_a_full_search(home, path, store):
    fresh = Store(str(home / "fresh"))
    go(path, fresh)
    return found(path, store).equals(found(path, fresh))


def test_documents_that_come_and_go_leave_every_query_settled_until_too_many_went(grown):
    home, path, store, docs, asked = grown
    say(home, [*docs[:-1], "owls number three"], asked)
    assert reused(go(path, store)) >= 19  # the positive of a query may have gone
    assert equals_a_full_search(home, path, store)
    say(home, [*docs[:14], *(f"{word} {word} glass" for word in WORDS)], asked)
    assert reused(go(path, store)) < 20
    assert equals_a_full_search(home, path, store)


def test_what_came_takes_no_place_of_a_passage_that_was_not_kept(tmp_path):
    path, store = tmp_path / "flow.yaml", Store(str(tmp_path / "s"))
    path.write_text(FLOW)
    near, next_best = [f"ice iron {i}" for i in range(40)], [f"ice owls {i}" for i in range(30)]
    say(tmp_path, near + next_best, ["ice iron"])
    go(path, store)
    say(tmp_path, [*near[:2], *next_best, *(f"bread glass {i}" for i in range(6))], ["ice iron"])
    assert reused(go(path, store)) == 0
    assert equals_a_full_search(tmp_path, path, store)


def test_a_passage_of_two_documents_is_found_while_one_of_them_stays(tmp_path):
    path, store = tmp_path / "flow.yaml", Store(str(tmp_path / "s"))
    told = "using: {documents: documents}, with: {top_k: 4, other_documents: true}"
    path.write_text(FLOW.replace(told, "with: {top_k: 4}"))
    shared = [f"ice iron rain owls bread {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
    docs = [f"{one} {i} {i} alone" for i in (0, 1) for one in shared]
    say(tmp_path, docs, shared)
    go(path, store)
    say(tmp_path, docs[8:], shared)
    assert reused(go(path, store)) == 8
    assert equals_a_full_search(tmp_path, path, store)


def test_a_lost_earlier_set_costs_a_search_and_no_error(grown):
    home, path, store, docs, asked = grown
    for file in (home / "s" / "steps").glob("retrieve_dense-*/sides/*"):
        file.unlink()
    say(home, [*docs, "bread"], asked)
    assert reused(go(path, store)) == 0


def test_a_damaged_side_is_found_and_made_again(grown):
    home, path, store, docs, asked = grown
    file = next((home / "s" / "steps").glob("retrieve_dense-*/sides/*"))
    file.write_bytes(file.read_bytes()[:-1])
    assert any("/sides/" in fault for fault in verify(load(path, ()), store))
    go(path, store)
    assert verify(load(path, ()), store) == []
    say(home, docs, [*asked, "bread"])
    assert reused(go(path, store)) == 20
