"""Near-duplicates end to end: signed, paired, compared, classed, dropped; whatever the buckets, and a refresh is a rebuild."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cluster.store import Store
from operators.shingles import folded
from tests.flows.test_run import go, table

FLOW = """
flow: near
steps:
  docs:    {op: read_corpus, with: {path: corpus.jsonl}}
  cut:     {op: split_passages, from: docs, with: {max_words: null, min_words: 1}}
  unique:  {op: drop_duplicates, from: cut, keep: [passage_id, title, passage, source_id], with: {key: passage_id}, max_rejected: 1}
  texts:   {op: index_texts, from: unique}
  bands:   {op: sign_bands, from: unique, using: {texts: texts}}
  met:     {op: pair_bands, from: bands, max_rejected: 1}
  pairs:   {op: drop_duplicates, from: met, with: {key: pair_id}, max_rejected: 1}
  edges:   {op: link_duplicates, from: pairs, using: {texts: texts}, max_rejected: 1}
  classes: {op: fit_classes, from: edges, using: {texts: texts}}
  kept:    {op: drop_near_duplicates, from: unique, using: {classes: classes}, max_rejected: 1}
  told:    {op: drop_near_duplicates, from: unique, using: {classes: classes}, with: {keep: all}}
"""
STEPS = ("bands", "pairs", "edges", "kept", "told")


def words(seed: int, count: int = 40) -> list[str]:
    return [f"w{one}" for one in np.random.default_rng(seed).integers(0, 10_000, count)]


def corpus() -> list[str]:
    """Twelve texts; of four there are three more that end in words of their own, and one of these once more in capitals."""
    plain = [" ".join(words(i)) for i in range(12)]
    more = [f"{plain[i]} edition {k}" for i in range(4) for k in range(3)]
    return [*plain, *more, more[0].upper()]


def write(home: Path, told: list[str]) -> Path:
    home.mkdir(exist_ok=True)
    (home / "flow.yaml").write_text(FLOW)
    (home / "corpus.jsonl").write_text("".join(json.dumps({"_id": str(i), "text": d}) + "\n" for i, d in enumerate(told)))
    return home / "flow.yaml"


def steps(path: Path, store: Store) -> dict[str, pa.Table]:
    return {name: table(path, store, name) for name in STEPS}


def jaccard(one: str, other: str) -> float:
    a, b = ({tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (folded(one).split(), folded(other).split()))
    return len(a & b) / len(a | b)


def test_one_of_each_class_stays_and_each_reject_is_nearly_the_text_that_it_names(tmp_path):
    path, store = write(tmp_path / "p", corpus()), Store(str(tmp_path / "s"))
    ran = go(path, store)
    funnel = {f["step"]: f for f in ran.funnel}
    assert funnel["unique"]["rows_out"] == 25
    assert funnel["kept"]["rows_out"] == 12
    assert funnel["kept"]["rejected"] == {"near-duplicate": 13}
    said = {r["passage_id"]: r["passage"] for r in table(path, store, "unique").to_pylist()}
    kept = set(table(path, store, "kept")["passage_id"].to_pylist())
    assert {*table(path, store, "bands").column_names} == {"band", "passage_id", "length", "order", "_key", "_ord"}
    told = table(path, store, "told").to_pylist()
    assert {r["class_id"] for r in told} == kept
    for row in told:
        assert jaccard(said[row["passage_id"]], said[row["class_id"]]) >= 0.8
        assert len(said[row["class_id"]]) == max(len(said[r["passage_id"]]) for r in told if r["class_id"] == row["class_id"])
    edges = {(r["id_a"], r["id_b"]): r["jaccard"] for r in table(path, store, "edges").to_pylist()}
    near = {(a, b): jaccard(said[a], said[b]) for a in said for b in said if a < b and jaccard(said[a], said[b]) >= 0.8}
    assert edges == {pair: np.float32(one) for pair, one in near.items()}


@pytest.mark.parametrize(("workers", "buckets"), [(0, 1), (2, 7)])
def test_buckets_and_workers_change_no_byte(tmp_path, workers, buckets):
    path = write(tmp_path / "p", corpus())
    one, other = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    go(path, one)
    go(path, other, workers, buckets)
    for name, rows in steps(path, one).items():
        assert rows.equals(steps(path, other)[name]), name


def test_an_added_and_a_removed_document_change_their_own_class_alone_and_equal_a_rebuild(tmp_path):
    told, home = corpus(), tmp_path / "p"
    path, store = write(home, told), Store(str(tmp_path / "s"))
    go(path, store)
    before = steps(path, store)
    write(home, [*told[:-2], f"{told[5]} edition 1"])  # two of one class go, one of another comes
    ran = {f["step"]: f for f in go(path, store).funnel}
    after = steps(path, store)
    rebuilt = Store(str(tmp_path / "r"))
    go(path, rebuilt)
    for name, rows in steps(path, rebuilt).items():
        assert rows.equals(after[name]), name
    assert ran["bands"]["reused"] == ran["bands"]["rows_in"] - 1
    assert ran["edges"]["reused"] == ran["edges"]["rows_in"] - 1, "one pair is new, only its texts are compared"
    classes = [{(r["passage_id"], r["class_id"]) for r in told["told"].to_pylist()} for told in (before, after)]
    assert 0 < len(classes[1] - classes[0]) < 6
    assert ran["told"]["reused"] == len(classes[1] & classes[0]), "those whose representative is the same"
    assert len(before["kept"]) == len(after["kept"])


def test_a_vanished_text_that_held_two_together_splits_their_class(tmp_path):
    # Each text is the one before it moved by three words of 52: Jaccard 45/51. The ends, moved by six, have 42/54.
    line = words(99, 64)
    told = [" ".join(line[i : i + 52]) for i in (0, 3, 6)]
    told[1] += " thelongest"
    path, store = write(tmp_path / "p", told), Store(str(tmp_path / "s"))
    go(path, store)
    assert len(table(path, store, "kept")) == 1
    write(tmp_path / "p", [told[0], told[2]])
    go(path, store)
    assert len(table(path, store, "kept")) == 2


MORE = """
  vectors: {op: embed, from: unique, keep: [passage_id], using: {encoder: static}, with: {column: passage}}
  cells:   {op: fit_clusters, from: vectors, with: {key: passage_id, clusters: 2}}
  placed:  {op: assign_clusters, from: vectors, using: {centroids: cells}}
  alike:   {op: link_similar, from: placed, using: {texts: texts}, with: {threshold: 0.9}, max_rejected: 1}
  heaps:   {op: fit_classes, from: alike, using: {texts: texts}, with: {score: cosine, threshold: 0.9}}
  meant:   {op: drop_near_duplicates, from: unique, using: {classes: heaps}, max_rejected: 1}
  keyed:   {op: key_ends, from: unique, max_rejected: 1}
  begun:   {op: drop_contained, from: keyed, max_rejected: 1}
  ended:   {op: drop_contained, from: begun, with: {end: end}, max_rejected: 1}
"""
SAID = ["how to cut hair at home", "how to cut your hair at home", "iron rusts in the rain", "owls hunt mice at night", "mice at night"]


@pytest.mark.parametrize("buckets", [1, 5])
def test_semantic_and_substring_duplicates_go_by_their_own_steps(tmp_path, buckets):
    path, store = write(tmp_path / "p", SAID), Store(str(tmp_path / "s"))
    path.write_text(FLOW + MORE)
    funnel = {f["step"]: f for f in go(path, store, buckets=buckets).funnel}
    assert "how to cut your hair at home" in table(path, store, "meant")["passage"].to_pylist()
    assert "how to cut hair at home" not in table(path, store, "meant")["passage"].to_pylist()
    assert funnel["begun"]["rejected"] == {}
    assert funnel["ended"]["rejected"] == {"contained in another text": 1}
    assert sorted(table(path, store, "ended")["passage"].to_pylist()) == sorted(SAID[:4])


REMAPPED = """
  asked:   {op: read_queries, with: {path: queries.jsonl}}
  ids:     {op: index_ids, from: unique}
  queries: {op: index_ids, from: asked, with: {id: query_id, carry: [query, instruction]}}
  qrels:   {op: read_qrels, with: {path: qrels.tsv}}
  judged:  {op: resolve_qrels, from: qrels, using: {passages: ids, queries: queries}}
  mended:  {op: remap_duplicates, from: judged, using: {classes: classes}}
  pairs2:  {op: group_positives, from: mended, max_rejected: 1}
"""


def test_qrels_survive_the_removal(tmp_path):
    path, store = write(tmp_path / "p", corpus()), Store(str(tmp_path / "s"))
    path.write_text(FLOW + REMAPPED)
    (tmp_path / "p" / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "which edition?"}) + "\n")
    lines = ["query-id\tcorpus-id\tscore", *(f"q\t{i}\t1" for i in (0, 12, 13, 14, 24, 7))]  # five of one class, one alone
    (tmp_path / "p" / "qrels.tsv").write_text("\n".join(lines) + "\n")
    go(path, store)
    kept = set(table(path, store, "kept")["passage_id"].to_pylist())
    (row,) = table(path, store, "pairs2").to_pylist()
    assert len(row["positive_ids"]) == 2
    assert set(row["positive_ids"]) < kept


WHOLE = """
flow: whole
steps:
  docs:    {op: read_corpus, with: {path: corpus.jsonl}}
  unique:  {op: drop_duplicates, from: docs, max_rejected: 1}
  texts:   {op: index_texts, from: unique, with: {of: documents}}
  bands:   {op: sign_bands, from: unique, using: {texts: texts}, with: {key: doc_id}}
  met:     {op: pair_bands, from: bands, with: {key: doc_id}, max_rejected: 1}
  pairs:   {op: drop_duplicates, from: met, with: {key: pair_id}, max_rejected: 1}
  edges:   {op: link_duplicates, from: pairs, using: {texts: texts}, max_rejected: 1}
  classes: {op: fit_classes, from: edges, using: {texts: texts}}
  kept:    {op: drop_near_duplicates, from: unique, using: {classes: classes}, with: {key: doc_id}, max_rejected: 1}
  cut:     {op: split_passages, from: kept, with: {min_words: 1}}
"""


def test_whole_documents_lose_their_duplicates_before_they_are_split(tmp_path):
    path, store = write(tmp_path / "p", corpus()), Store(str(tmp_path / "s"))
    go(path, store)
    by_passage = {r["passage"] for r in table(path, store, "kept").to_pylist()}
    path.write_text(WHOLE)
    go(path, store)
    assert {r["text"] for r in table(path, store, "kept").to_pylist()} == by_passage
    assert len(table(path, store, "cut")) == 12
