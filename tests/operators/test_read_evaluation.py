"""Of a BEIR folder the queries and documents that a split judges are evaluation texts, and nothing else is."""

import json

import pytest

from operators.contract import InputError
from operators.read_evaluation import ReadEvaluation, example, read_evaluation


def read(p):
    """(the texts by their benchmark and id, the rejects' reasons by their value)."""
    outcomes = [o for item in read_evaluation.items(p) for o in read_evaluation(item, p)]
    rows = [r for o in outcomes for r in o.table.to_pylist()]
    assert sum(o.seen for o in outcomes) == len(rows) + sum(len(o.rejects) for o in outcomes)
    return {(r["source"], r["source_id"]): r["passage"] for r in rows}, {r["value"]: r["reason"] for o in outcomes for r in o.rejects.to_pylist()}


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "nq"
    home.mkdir()
    example(home)
    (home / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\t1\nq3\td9\t0\n")
    return home


def test_only_what_the_split_judges_is_taken(folder):
    assert read(ReadEvaluation(path=str(folder))) == (
        {("nq", "q1"): "what rusts", ("nq", "d1"): "It rusts."},
        {"q2": "not judged in test", "q3": "not judged in test", "d2": "not judged in test"},
    )
    found, rejects = read(ReadEvaluation(path=str(folder), split="train", take=("queries",), source="own"))
    assert found == {("own", "q2"): "what burns"}
    assert rejects == {"q1": "not judged in train", "q3": "empty text"}


def test_a_document_of_a_title_alone_is_a_text(folder):
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "d1", "title": "How iron rusts", "text": ""}) + "\n")
    assert read(ReadEvaluation(path=str(folder), take=("documents",)))[0] == {("nq", "d1"): "How iron rusts"}


def test_a_text_that_is_none_is_a_reject(folder):
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "d1", "title": "Iron", "text": 3}) + "\n")
    assert read(ReadEvaluation(path=str(folder), take=("documents",))) == ({}, {"3": "text is int, not text"})


def test_a_lower_grade_takes_more_documents(folder):
    found, _ = read(ReadEvaluation(path=str(folder), take=("documents",), min_relevance=0))
    assert set(found) == {("nq", "d1"), ("nq", "d2")}


def test_its_digest_tells_the_judgements_and_not_the_folder(folder, tmp_path):
    p = ReadEvaluation(path=str(folder))
    before = [i.digest for i in read_evaluation.items(p)]
    moved = folder.rename(tmp_path / "moved")
    assert [i.digest for i in read_evaluation.items(ReadEvaluation(path=str(moved)))] == before
    (moved / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td1\t1\n")
    assert not set(before) & {i.digest for i in read_evaluation.items(ReadEvaluation(path=str(moved)))}


def test_what_is_missing_is_one_sentence(folder):
    check = read_evaluation.check
    assert check(ReadEvaluation(path=str(folder)), {}) == []
    assert "has test, train: name one of them" in check(ReadEvaluation(path=str(folder), split="dev"), {})[0]
    assert "no such file" in check(ReadEvaluation(path=str(folder / "none")), {})[0]
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q1", "words": "x"}) + "\n")
    assert "no column for the text" in check(ReadEvaluation(path=str(folder)), {})[0]
    with pytest.raises(InputError, match="no such file"):
        read_evaluation.items(ReadEvaluation(path=str(folder / "none")))


def test_options_that_do_nothing_are_refused():
    with pytest.raises(ValueError, match="min_relevance does nothing"):
        ReadEvaluation(path="nq", take=("queries",), min_relevance=2)
    with pytest.raises(ValueError, match="take names each side once"):
        ReadEvaluation(path="nq", take=("queries", "queries"))


def test_a_worker_that_is_told_every_field_takes_them():
    for p in (ReadEvaluation(path="nq", take=("queries",)),):
        assert ReadEvaluation.model_validate_json(p.model_dump_json()) == p
