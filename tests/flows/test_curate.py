"""The shipped flow of curation: what is planted in a corpus goes, what refers to it follows, and the other flows read what is left."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cluster.store import Store
from cluster.task import StepFailed
from flows.config import CONFIGS
from flows.flow import load
from flows.plan import plan
from flows.verify import verify
from operators.contract import InputError
from operators.read_corpus import ReadCorpus, read_corpus
from operators.read_pairs import ReadPairs, read_pairs
from operators.read_qrels import ReadQrels, read_qrels
from tests.flows.test_run import go, table

FLOW = CONFIGS / "flows" / "curate.yaml"
WORDS = ["the", "river", "runs", "past", "an", "old", "stone", "bridge", "where", "children", "play", "after", "school", "and", "their", "parents", "wait", "with", "bread", "while", "merchants", "carry", "copper", "lamps", "from", "distant", "harbours", "through", "narrow", "streets", "before", "winter", "brings", "heavy", "snow", "over", "every", "garden", "wall", "because", "nobody", "remembers", "which", "painter", "drew", "those", "silver", "horses", "that", "stand", "beside", "our", "market", "hall", "until", "evening", "when", "musicians", "begin", "singing", "about", "lost", "ships", "far", "away", "between", "northern", "islands", "under", "bright", "stars", "so", "travellers", "often", "stay", "longer", "than", "they", "planned"]


def prose(seed: int, count: int = 60) -> str:
    """Sentences of words that no other seed has in this order."""
    drawn = np.random.default_rng(seed).choice(WORDS, count)
    return " ".join(" ".join(drawn[i : i + 12]).capitalize() + "." for i in range(0, count, 12))


PLAIN = {f"d{i}": prose(i) for i in range(8)}
PLANTED = {
    "copy": PLAIN["d0"], "near": PLAIN["d1"] + " It was added later.", "mail": prose(20) + " Write to ann.lee@uni-bremen.de today.",
    "mail-copy": prose(20) + " Write to bob.ray@uni-bremen.de today.", "mojibake": prose(21) + " The caf\u00c3\u00a9 is open.",
    "titled": prose(22), "word": "word", "noise": "buy now " * 60, "test": "As is known: " + prose(30), "empty": " ",
}  # fmt: skip
DOCS = {**PLAIN, **PLANTED}
TITLES = {"d7": "Title d7", "titled": "Who painted the silver horses of the hall"}  # the second is a query of the tests


def project(home: Path) -> list[str]:
    """The files, and what names them."""
    (home / "beir" / "qrels").mkdir(parents=True)
    records = [{"_id": i, "title": TITLES.get(i, ""), "text": t, "license": "CC0-1.0"} for i, t in DOCS.items()]
    body = b"".join(json.dumps(r).encode() + b"\n" for r in records) + b'{"_id": "latin", "text": "caf\xe9"}\n'
    (home / "docs.jsonl").write_bytes(body)
    (home / "beir" / "corpus.jsonl").write_text(json.dumps({"_id": "e", "text": prose(30)}) + "\n")
    (home / "beir" / "queries.jsonl").write_text(json.dumps({"_id": "t", "text": "who painted the silver horses of the hall"}) + "\n")
    (home / "beir" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nt\te\t1\n")
    asked = {"q1": "what stands near the bridge", "q2": "Who painted the silver horses of the hall?"}
    (home / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": q}) + "\n" for i, q in asked.items()))
    judged = [("q1", "copy"), ("q1", "near"), ("q1", "d1"), ("q1", "word"), ("q1", "d7"), ("q2", "d2")]
    (home / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t1\n" for q, d in judged))
    pairs = [("who added it", PLAIN["d1"], ""), ("a title", PLAIN["d7"], "Title d7"), ("its own", prose(50), ""), (asked["q2"], PLAIN["d3"], "")]
    (home / "pairs.jsonl").write_text("".join(json.dumps({"query": q, "positive": p, "title": t}) + "\n" for q, p, t in pairs))
    given = {"corpus": "docs.jsonl", "evaluation": "beir", "queries": "queries.jsonl", "qrels": "qrels.tsv", "pairs": "pairs.jsonl"}
    return [f"{step}.path={home / path}" for step, path in given.items()]


def read(params, op) -> list[dict]:
    return [row for item in op.items(params) for outcome in op(item, params) for row in outcome.table.to_pylist()]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("curate")
    changes, store = project(home), Store(str(home / "s"))
    return home, changes, store, go(FLOW, store, changes=changes)


def beside(made, kind: str) -> Path:
    _, _, store, ran = made
    return store.local / next(one for one in ran.beside if one.startswith(f"datasets/curate.{kind}/"))


def test_what_was_planted_goes_by_its_own_step_and_nothing_else(made):
    _, _, store, ran = made
    lost = {f["step"]: f["rejected"] for f in ran.funnel if f["rejected"] and f["step"] not in ("met", "met_once", "edges", "evaluation")}
    assert lost == {
        "corpus": {"invalid UTF-8": 1, "empty text": 1}, "good": {"gopher.min_words": 1, "repetition.top_2gram": 1}, "clean": {"in beir: exact": 1, "in beir: n-gram": 1},
        "exact": {"duplicate": 2}, "kept": {"near-duplicate": 1}, "fair": {"in beir: exact": 1}, "pairs_clean": {"in beir: exact": 1},
        "remapped": {"document is not in the corpus": 1, "query is not among the queries": 1}, "judged": {"duplicate": 1},
    }  # fmt: skip
    rows = {r["source_id"]: r for r in read(ReadCorpus(path=str(store.local / ran.published)), read_corpus)}
    assert rows.keys() == {*PLAIN, "near", "mail", "mojibake"} - {"d1", "d0"} | {"copy"}, "of a class the longest, of equal texts the first by id"
    assert rows["mojibake"]["text"].endswith("The café is open.")
    assert rows["mail"]["text"].endswith("Write to <email> today.")
    assert rows["d7"]["title"] == "Title d7"
    assert {(r["source"], r["licence"], r["lang"]) for r in rows.values()} == {("docs", "CC0-1.0", "en")}
    card = store.read_text(f"{ran.published}/README.md")
    for said in ("10 documents in 1 shards", "- redacted email: 2", "- repaired mojibake: 1", "| beir | 2 | 2 (100.00%) |", "CC0-1.0", "corpus-*.parquet"):
        assert said in card, said
    assert verify(load(FLOW, made[1]), store) == []


def test_every_document_that_came_to_the_duplicates_is_listed_with_one_that_stayed(made):
    _, _, store, ran = made
    rows = pa.parquet.read_table(next(beside(made, "ids").glob("*.parquet"))).to_pylist()
    kept = {r["source_id"] for r in read(ReadCorpus(path=str(store.local / ran.published)), read_corpus)}
    told = {r["id"]: r["representative"] for r in rows}
    assert {i: r for i, r in told.items() if i != r} == {"d0": "copy", "d1": "near", "mail-copy": "mail"}
    assert set(told.values()) == kept


def test_judgements_and_pairs_name_what_stayed(made):
    qrels = read(ReadQrels(path=str(beside(made, "qrels"))), read_qrels)
    assert sorted((r["query_source_id"], r["corpus_source_id"], r["relevance"]) for r in qrels) == [("q1", "copy", 1), ("q1", "d7", 1), ("q1", "near", 1)]
    pairs = read(ReadPairs(path=str(beside(made, "pairs"))), read_pairs)
    assert {(r["query"], r["title"], r["passage"]) for r in pairs} == {
        ("who added it", "", DOCS["near"]), ("a title", "Title d7", DOCS["d7"]), ("its own", "", prose(50)),
    }  # fmt: skip
    corpus = read(ReadCorpus(path=str(made[2].local / made[3].published)), read_corpus)
    assert len({r["passage_id"] for r in pairs} & {r["doc_id"] for r in corpus}) == 2, "the same text has the same id in the flow that reads both"


def test_the_other_flows_read_the_set(made, tmp_path):
    corpus, pairs, store = made[2].local / made[3].published, beside(made, "pairs"), Store(str(tmp_path / "s"))
    ran = go(CONFIGS / "flows" / "mine.yaml", store, changes=[f"corpus.path={corpus}", f"pairs.path={pairs}"], until="unique")
    assert {f["step"]: f["rows_out"] for f in ran.funnel}["unique"] == 11
    plan(load(CONFIGS / "flows" / "quickstart.yaml", [f"corpus.path={corpus}"]), store)
    qrels = [f"corpus.path={corpus}", f"queries.path={made[0] / 'queries.jsonl'}", f"qrels.path={beside(made, 'qrels')}"]
    ran = go(CONFIGS / "flows" / "beir.yaml", store, changes=qrels, until="grouped")
    assert {f["step"]: f["rows_out"] for f in ran.funnel}["grouped"] == 1


def test_workers_and_buckets_change_no_byte(made, tmp_path):
    home, changes, _, ran = made
    again = go(FLOW, Store(str(tmp_path / "s")), workers=2, buckets=3, changes=changes)
    assert [one.rsplit("-", 1)[1] for one in (again.published, *again.beside)] == [one.rsplit("-", 1)[1] for one in (ran.published, *ran.beside)]


def test_without_anything_but_a_corpus_only_what_hangs_on_it_is_published(made, tmp_path):
    home, changes, *_ = made
    store = Store(str(tmp_path / "s"))
    ran = go(FLOW, store, changes=changes[:1])
    assert [one.split("/")[1] for one in (ran.published, *ran.beside)] == ["curate", "curate.ids"]
    assert len(table(FLOW, store, "kept", changes[:1])) == 12, "nobody asked for the evaluation text"
    assert "None was given; nothing was compared with one." in store.read_text(f"{ran.published}/README.md")


def test_a_document_that_came_changes_no_place_of_another(made, tmp_path):
    home, changes, store, _ = made
    (tmp_path / "docs.jsonl").write_bytes((home / "docs.jsonl").read_bytes() + json.dumps({"_id": "new", "text": prose(60)}).encode() + b"\n")
    changed = [f"corpus.path={tmp_path / 'docs.jsonl'}", *changes[1:]]
    ran = go(FLOW, store, changes=changed)
    rebuilt = go(FLOW, Store(str(tmp_path / "s")), changes=changed)
    assert ran.published.rsplit("-", 1)[1] == rebuilt.published.rsplit("-", 1)[1]


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        (b"", InputError, "steps.corpus: .*the input holds no rows"),
        (b'{"text": "word"}\n' * 3, StepFailed, "ids: no row came this far: good let none of its 3 through, most as 'gopher.min_words'; look with"),
        (b'{"text": "caf\xe9"}\n', InputError, "every one of its 1 records was rejected, most as 'invalid UTF-8'"),
        (b'{"text": "' + b"long " * (10 << 20) + b'"}\n' + json.dumps({"text": prose(1)}).encode(), None, "text is longer than max_chars"),
    ],
    ids=["empty", "all dropped", "another encoding", "50 MB"],
)
def test_bad_input_is_one_sentence_or_a_counted_reject(tmp_path, body, error, said):
    (tmp_path / "c.jsonl").write_bytes(body)
    changes, store = [f"corpus.path={tmp_path / 'c.jsonl'}"], Store(str(tmp_path / "s"))
    if error is None:
        ran = go(FLOW, store, changes=changes)
        assert ran.funnel[0]["rejected"] == {said: 1}
        assert ran.funnel[-1]["rows_out"] == 1
    else:
        with pytest.raises(error, match=said):
            go(FLOW, store, changes=changes)
        assert not store.exists("datasets")


def lines(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_where_an_evaluation_set_takes_every_query_no_judgement_is_published(made, tmp_path):
    _, changes, *_ = made
    asked = lines(tmp_path / "q.jsonl", [{"_id": "q2", "text": "Who painted the silver horses of the hall?"}])
    with pytest.raises(StepFailed, match="judgements: no row came this far"):
        go(FLOW, Store(str(tmp_path / "s")), changes=[*changes[:-1], f"queries.path={asked}"])
    ran = go(FLOW, Store(str(tmp_path / "s")), changes=[changes[0], *changes[3:4]])
    assert {f["step"]: f["rows_out"] for f in ran.funnel}["judgements"] == 4, "nobody gave queries: all are taken on trust"


def test_judgements_and_pairs_that_became_one_are_published_once_with_their_highest_grade_and_the_licences_of_what_is_there(tmp_path):
    docs = {**PLAIN, "near": PLANTED["near"]}
    corpus = lines(tmp_path / "c.jsonl", [{"_id": i, "text": t, "license": "CC0-1.0"} for i, t in docs.items()])
    more = lines(tmp_path / "e.jsonl", [{"_id": "m", "text": prose(40), "license": "not for training"}])
    pairs = lines(tmp_path / "p.jsonl", [{"query": q, "positive": docs[d], "licence": "MIT"} for q, d in (("a", "d1"), ("a", "near"), ("b", "d1"))])
    grades = [(f"q{i}", d, g) for i in range(8) for d, g in (("d1", 1 + i % 2), ("near", 2 - i % 2))]
    (tmp_path / "r.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in grades))
    store = Store(str(tmp_path / "s"))
    ran = go(FLOW, store, changes=[f"corpus.path={corpus}", f"more.path={more}", f"pairs.path={pairs}", f"qrels.path={tmp_path / 'r.tsv'}"])
    homes = {one.split("/")[1]: store.local / one for one in (ran.published, *ran.beside)}
    judged = read(ReadQrels(path=str(homes["curate.qrels"])), read_qrels)
    assert sorted((r["query_source_id"], r["corpus_source_id"], r["relevance"]) for r in judged) == [(f"q{i}", "near", 2) for i in range(8)]
    assert sorted((r["query"], r["passage"]) for r in read(ReadPairs(path=str(homes["curate.pairs"])), read_pairs)) == [("a", docs["near"]), ("b", docs["near"])]
    stated = {name: json.loads((home / "manifest.json").read_text())["licences"] for name, home in homes.items()}
    assert stated == {"curate": ["CC0-1.0"], "curate.ids": ["CC0-1.0"], "curate.qrels": ["CC0-1.0"], "curate.pairs": ["CC0-1.0", "MIT"]}
