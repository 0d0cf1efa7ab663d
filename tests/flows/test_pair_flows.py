"""The flows of pairs that exist already, over real text: labels, relations, two corpora, a lexicon; each to a training set."""

import csv
import json
from collections import Counter

import pyarrow.parquet as pq
import pytest

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench, StepFailed
from flows.config import find_flow
from flows.faults import FlowError
from flows.flow import load
from flows.run import run
from operators import python_docs

DOCS = [(name, title, said) for name, title, said in python_docs.docs() if 60 < len(said) < 500]


def published(tmp_path, flow, sets, buckets=4, workers=0):
    """Rows of the set that a shipped flow makes, its bytes, and what every step did."""
    store, engine = Store(str(tmp_path)), LocalEngine(workers)
    try:
        ran = run(load(find_flow(flow), sets), Bench(store, engine, buckets))
    finally:
        engine.close()
    folder = store.local / ran.published
    rows = [row for shard in sorted(folder.glob("*.parquet")) for row in pq.read_table(shard).to_pylist()]
    return rows, {p.name: p.read_bytes() for p in folder.iterdir()}, {f["step"]: f for f in ran.funnel}


def write(path, records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    records = [{"text": said, "label": name.split(".")[0], "_id": name} for name, _, said in DOCS[:200]]
    return write(tmp_path_factory.mktemp("labels") / "modules.jsonl", [*records, {**records[0], "label": "another"}])


def test_labels_become_triplets_that_tell_which_rows_are_of_one_label(labelled, tmp_path):
    sets = [f"labelled.path={labelled}", "batches.batch_size=16"]
    rows, files, funnel = published(tmp_path / "a", "labels", sets)
    assert published(tmp_path / "b", "labels", sets, buckets=7, workers=2)[1] == files
    label = {" ".join(said.split()): name.split(".")[0] for name, _, said in DOCS[:200]}
    assert len(rows) > 150
    assert funnel["pairs"]["rejected"]["text of several labels"] == 1
    for one in rows:
        own = label[one["query"]]
        assert [label[" ".join(said.split())] for said in one["positives"]] == [own]
        assert len(one["negatives"]) == 4 and own not in {label[" ".join(said.split())] for said in one["negatives"]}
        batch = [other for other in rows if other["batch"] == one["batch"] and other is not one]
        same = {i for other in batch if label[other["query"]] == own for i in [*other["positive_ids"], *other["negative_ids"]]}
        assert same - {*one["positive_ids"], *one["negative_ids"]} <= set(one["masked_ids"])


def test_a_labels_name_may_be_the_positive(labelled, tmp_path):
    rows, *_ = published(tmp_path, "labels", [f"labelled.path={labelled}", "pairs.positive=label", "pairs.negatives=1"])
    names = {name.split(".")[0] for name, *_ in DOCS[:200]}
    assert rows and all(one["positives"][0] in names and set(one["negatives"]) <= names - set(one["positives"]) for one in rows)


def test_of_two_labels_a_batch_is_full_and_no_text_is_anothers(tmp_path):
    records = [{"text": said, "label": i % 3 > 0} for i, (_, _, said) in enumerate(DOCS[:80])] + [{"text": "True", "label": True}]
    path = write(tmp_path / "two.jsonl", records)
    sets = [f"labelled.path={path}", "batches.batch_size=16"]
    rows, files, funnel = published(tmp_path / "a", "binary", sets)
    assert published(tmp_path / "b", "binary", sets, buckets=7)[1] == files
    assert funnel["named"]["rejected"] == {"the text is its label's name": 1}
    assert sorted(Counter(one["batch"] for one in rows).values()) == [16] * 5
    label = {" ".join(one["text"].split()): str(one["label"]) for one in records}
    for one in rows:
        said, mark = one["query"].rsplit(" ", 1)
        assert one["positives"] == [f"{label[said]} {mark}"] and one["negatives"] == [f"{ {'True': 'False', 'False': 'True'}[label[said]] } {mark}"]
    ids = [i for one in rows for i in [*one["positive_ids"], *one["negative_ids"]]]
    assert len(ids) == len(set(ids)) == 160


def test_a_name_that_only_others_draw_has_a_text(tmp_path):
    records = [{"text": "sports", "label": "sports"}, {"text": "a b", "label": "cars"}, {"text": "c d", "label": "cars"}]
    rows, *_ = published(tmp_path / "s", "labels", [f"labelled.path={write(tmp_path / 'x.jsonl', records)}", "pairs.positive=label"])
    assert [one["negatives"] for one in rows] == [["sports"]] * 2


def test_a_rows_texts_may_share_an_id_that_no_other_row_has(labelled, tmp_path):
    text = find_flow("labels").read_text().replace("    from: pairs\n", "    from: marked\n").replace("from: [unique, named]", "from: told")
    more = "".join(
        f"  {name}: {{op: append_unique_ids, from: pairs, using: {{texts: examples}}, with: {{rows: {rows}}}}}\n"
        for name, rows in (("marked", "pairs"), ("told", "passages"))
    )
    (tmp_path / "gecko.yaml").write_text(text.replace("  every:", more + "  every:"))
    rows, *_ = published(tmp_path / "s", str(tmp_path / "gecko.yaml"), [f"labelled.path={labelled}"])
    marks = {one["query"].split()[-1] for one in rows}
    assert len(marks) == len(rows) > 150
    for one in rows:
        assert {said.split()[-1] for said in [*one["positives"], *one["negatives"]]} == {one["query"].split()[-1]}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """Python's own documents, each with an edge to what it is a part of; a loop, a double, an unknown id."""
    home = tmp_path_factory.mktemp("graph")
    docs = [doc for doc in DOCS if doc[0].split(".")[0] in ("asyncio", "email", "json", "zipfile", "logging")]
    names = {name for name, *_ in docs}
    write(home / "docs.jsonl", [{"_id": name, "title": title, "text": said} for name, title, said in docs])
    edges = [(name, up) for name in sorted(names) if (up := name.rpartition(".")[0]) in names]
    with (home / "parts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("from", "to"), *edges, edges[0], (edges[0][0], edges[0][0]), (edges[0][0], "nowhere")])
    return home, {name: said for name, _, said in docs}, edges


@pytest.mark.parametrize("pairs", ["direct", "co_citing"])
def test_relations_become_pairs_and_what_is_wrong_is_counted(graph, tmp_path, pairs):
    home, said, edges = graph
    sets = [f"corpus.path={home}/docs.jsonl", f"edges.path={home}/parts.csv", f"joined.pairs={pairs}", "edges.source=parts", "answering.most=3",
            "centroids.clusters=2"]  # fmt: skip
    rows, files, funnel = published(tmp_path / "a", "relations", sets)
    assert published(tmp_path / "b", "relations", sets, buckets=7)[1] == files
    assert funnel["edges"]["rejected"] == {"a loop": 1}
    assert funnel["distinct"]["rejected"] == {"duplicate": 1}
    assert funnel["joined"]["rejected"].get("unknown id in `to`", 0) == (pairs == "direct")
    of = {" ".join(f"{name} {text}".split()): name for name, text in said.items()}
    near = {*edges} if pairs == "direct" else {(a, b) for a, up in edges for b, other in edges if up == other and a != b}
    found = [(of[one["query"]], of[" ".join(text.split())]) for one in rows for text in one["positives"]]
    assert 10 < len(found) == len(set(found))
    assert set(found) <= near
    assert max(sum(b == one for _, b in found) for _, one in found) <= 3
    assert {one["source"] for one in rows} == {"parts"} and {one["query_type"] for one in rows} == {pairs}


def test_two_corpora_are_matched_and_known_pairs_set_the_margin(tmp_path):
    docs = [(name, said.split()) for name, _, said in DOCS[100:900:8] if len(said.split()) > 12]
    write(tmp_path / "left.jsonl", [{"_id": f"l{i}", "text": " ".join(w)} for i, (_, w) in enumerate(docs[:60])])
    write(tmp_path / "right.jsonl", [{"_id": f"r{i}", "text": " ".join(w[1::2] + w[::3])} for i, (_, w) in enumerate(docs) if i >= 20])
    known = [(f"l{i}", f"r{i}") for i in range(20, 40)]
    (tmp_path / "dev.csv").write_text("from,to\n" + "".join(f"{a},{b}\n" for a, b in known))
    sets = [f"left.path={tmp_path}/left.jsonl", f"right.path={tmp_path}/right.jsonl", "centroids.clusters=2", "left.licence=PSF-2.0"]
    encoders = ["ours.using.encoder=static", "theirs.using.encoder=static"]
    rows, files, funnel = published(tmp_path / "a", "bitext", [*sets, *encoders, f"known.path={tmp_path}/dev.csv"])
    assert published(tmp_path / "b", "bitext", [*sets, *encoders, f"known.path={tmp_path}/dev.csv"], buckets=7)[1] == files
    number = {" ".join(w): i for i, (_, w) in enumerate(docs)}
    right = {" ".join(w[1::2] + w[::3]): i for i, (_, w) in enumerate(docs)}
    good = [number[one["query"]] == right[one["positives"][0]] for one in rows]
    assert sum(good) > 0.8 * len(good) and sum(good) > 0.8 * 40, "40 texts have a mate, 20 of them were never told"
    assert funnel["least"]["measured"]["known_pairs"] == 20 and funnel["least"]["measured"]["f1_per_mille"] > 800
    assert {one["licence"] for one in rows} == {"PSF-2.0"}
    assert {one["query_type"] for one in rows} == {"translation"}
    for side, mark in (("left", "l"), ("right", "r")):  # both count from 0
        told = (tmp_path / f"{side}.jsonl").read_text()
        (tmp_path / side).mkdir()
        (tmp_path / side / f"{side}.jsonl").write_text(told.replace(f'"_id": "{mark}', '"_id": "'))
    (tmp_path / "same.csv").write_text("from,to\n" + "".join(f"{i},{i}\n" for i in range(20, 40)))
    numbered = [f"left.path={tmp_path}/left/left.jsonl", f"right.path={tmp_path}/right/right.jsonl", f"known.path={tmp_path}/same.csv", *sets[2:]]
    assert published(tmp_path / "d", "bitext", [*numbered, *encoders])[2]["least"]["measured"] == funnel["least"]["measured"]
    (tmp_path / "turned.csv").write_text("from,to\n" + "".join(f"{b},{a}\n" for a, b in known))
    with pytest.raises(StepFailed, match="more than max_rejected"):
        published(tmp_path / "e", "bitext", [*sets, *encoders, f"known.path={tmp_path}/turned.csv"])
    without = published(tmp_path / "c", "bitext", [*sets, *encoders])[2]
    assert without["least"]["measured"]["known_pairs"] == 0, "no pair is known: the least margin is CCMatrix's"


def test_a_lexicon_is_mined_as_pairs_are(tmp_path):
    senses = [{"term": name, "definition": said.split(". ")[0]} for name, _, said in DOCS[:40]] + [{"term": ["close", "shut", "zumachen"]}]
    path = write(tmp_path / "names.jsonl", senses)
    store, engine = Store(str(tmp_path / "s")), LocalEngine(0)
    ran = run(load(find_flow("mine"), ["pairs.op=read_lexicon", f"pairs.path={path}", "vectors.using.encoder=static"]), Bench(store, engine, 2), until="queries")
    funnel = {f["step"]: f for f in ran.funnel}
    assert funnel["pairs"]["rows_out"] == 40 + 6
    assert funnel["queries"]["rows_out"] == len({s["definition"] for s in senses if "definition" in s}) + 3


JUDGED = """
flow: judged
steps:
  judged:  {{op: read_judged_pairs, with: {{path: {path}, judged: {judged}}}}}
  pairs:   {{op: {op}, from: judged, max_rejected: 1}}
  every:   {{op: drop_duplicates, from: {texts}, keep: [passage_id, title, passage], with: {{key: passage_id}}, max_rejected: 1}}
  texts:   {{op: index_texts, from: every}}
  asked:   {{op: embed, from: pairs, using: {{encoder: static}}, with: {{column: query}}}}
  centroids: {{op: fit_clusters, from: asked, with: {{clusters: 1}}}}
  clustered: {{op: assign_clusters, from: asked, using: {{centroids: centroids}}}}
  batches: {{op: compose_batches, from: clustered, using: {{texts: texts}}, with: {{batch_size: 4, remainder: short, negatives: {negatives}}}}}
  batched: {{op: assign_batches, from: clustered, using: {{batches: batches}}, max_rejected: 1}}
  set:     {{op: write_training_set, from: batched, using: {{texts: texts}}, with: {{scores: {scores}, negatives: {negatives}}}}}
"""


def test_similar_and_entailed_sentences_become_sets(tmp_path):
    sts = [{"sentence1": f"iron {i} rusts", "sentence2": f"rust eats iron {i}", "score": i} for i in range(6)]
    write(tmp_path / "sts.jsonl", sts)
    (tmp_path / "sts.yaml").write_text(JUDGED.format(path="sts.jsonl", judged="score", op="pair_scored", texts="pairs", scores="true", negatives="false"))
    rows = published(tmp_path / "s", str(tmp_path / "sts.yaml"), [])[0]
    assert sorted((r["query"], *r["positives"], *r["positive_scores"]) for r in rows) == sorted(
        (a, b, float(one["score"])) for one in sts[4:] for a, b in ((one["sentence1"], one["sentence2"]), (one["sentence2"], one["sentence1"]))
    )
    (tmp_path / "ranked.yaml").write_text(
        JUDGED.format(path="sts.jsonl", judged="score", op="pair_scored", texts="pairs", scores="true", negatives="false").replace(
            "op: pair_scored, from: judged,", "op: pair_scored, from: judged, with: {at_least: null, cuts: [2, 4], both: false},"
        )
    )
    rows = published(tmp_path / "r", str(tmp_path / "ranked.yaml"), [])[0]
    assert sorted((r["query"], *r["positive_scores"]) for r in rows) == [(one["sentence1"], (0, 0, 1, 1, 2, 2)[i]) for i, one in enumerate(sts)]
    nli = [("a dog sleeps", "an animal rests", "entailment"), ("a dog sleeps", "a dog runs", "contradiction"), ("it rains", "dry", "contradiction")]
    write(tmp_path / "nli.jsonl", [dict(zip(("premise", "hypothesis", "label"), one, strict=True)) for one in nli])
    (tmp_path / "nli.yaml").write_text(JUDGED.format(path="nli.jsonl", judged="label", op="group_entailment", texts="judged", scores="false", negatives="true"))
    rows = published(tmp_path / "n", str(tmp_path / "nli.yaml"), [])[0]
    assert [(r["query"], r["positives"], r["negatives"]) for r in rows] == [("a dog sleeps", ["an animal rests"], ["a dog runs"])]


@pytest.mark.parametrize(("flow", "sets"), [
    ("labels", ["pairs.using={labels: classes}"]), ("bitext", ["forth_scored.using={}"]), ("bitext", ["around_left.k=5"]), ("bitext", ["matched.at_least=1.1"]),
])  # fmt: skip
def test_a_flow_that_cannot_run_is_refused_in_a_sentence(flow, sets, tmp_path):
    for name in ("labels", "left", "right"):
        write(tmp_path / f"{name}.jsonl", [{"text": "a", "label": "b"}])
    paths = {"labels": ["labelled.path={}/labels.jsonl"], "bitext": ["left.path={}/left.jsonl", "right.path={}/right.jsonl"]}[flow]
    with pytest.raises(FlowError) as error:
        load(find_flow(flow), [*(one.format(tmp_path) for one in paths), *sets])
    assert len(error.value.faults) == 1
