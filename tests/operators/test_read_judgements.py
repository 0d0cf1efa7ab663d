"""Labels, judged pairs and relations are read record by record: each is a row or a reject with its reason; a bad file is a sentence."""

import json

import pytest
from pydantic import ValidationError

from operators.contract import InputError
from operators.read_judged_pairs import ReadJudgedPairs, read_judged_pairs
from operators.read_labels import ReadLabels, read_labels
from operators.read_relations import ReadRelations, read_relations
from tests.operators.test_formats import rows


def write(path, records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return str(path)


def test_each_label_is_text_and_each_fault_has_its_reason(tmp_path):
    records = [
        {"text": "iron", "label": "metal", "_id": 7}, {"text": "owl", "label": 1}, {"text": " ", "label": "x"}, {"text": "a", "label": ""},
        {"text": "b", "label": ["x", "y"]}, {"text": 5, "label": "x"}, {"text": "c\x00", "label": "x"}, {"label": "x"},
    ]  # fmt: skip
    found, bad = rows(ReadLabels(path=write(tmp_path / "a.jsonl", records), names={"1": "bird"}, licence="CC0"), read_labels)
    assert [(r["passage"], r["class_id"], r["source_id"], r["source"], r["licence"]) for r in found] == [
        ("iron", "metal", "7", "a", "CC0"), ("owl", "bird", "a.jsonl:2", "a", "CC0"),
    ]  # fmt: skip
    assert [r["reason"] for r in bad] == [
        "empty text", "no label", "label is several, not one", "text is int, not text", "text holds a NUL character", "empty text",
    ]  # fmt: skip


def test_each_judgement_is_a_score_or_a_label(tmp_path):
    pair = {"sentence1": "a", "sentence2": "b"}
    said = [4, "3.5", "high", None, float("nan"), True, 1e300, "1_0", 10**400]
    path = write(tmp_path / "s.jsonl", [{**pair, "score": s} for s in said] + [{"sentence1": "", "sentence2": "b", "score": 1}])
    found, bad = rows(ReadJudgedPairs(path=path, judged="score"), read_judged_pairs)
    assert [r["score"] for r in found] == [4, 3.5, 1]
    assert [r["reason"] for r in bad] == ["score is not a number", "no score", *["score is not a number"] * 4, "empty first"]
    path = write(tmp_path / "n.jsonl", [{"premise": "a", "hypothesis": "b", "label": n} for n in (0, 1, -1, None)])
    found, bad = rows(ReadJudgedPairs(path=path, judged="label", names={"0": "entailment"}), read_judged_pairs)
    assert [r["label"] for r in found] == ["entailment", "1", "-1"]
    assert [r["reason"] for r in bad] == ["no label"]
    for params, why in (({"names": {"0": "x"}, "judged": "score"}, "names does nothing"), ({"columns": {"label": "y"}, "judged": "score"}, "not read")):
        with pytest.raises(ValidationError, match=why):
            ReadJudgedPairs(path=path, **params)


def test_a_word_may_be_graded_into_a_score(tmp_path):
    grades = {"entailment": 2, "neutral": 1, "contradiction": 0}
    said = ["entailment", " neutral", "contradiction", "-", None]
    path = write(tmp_path / "n.jsonl", [{"premise": "a", "hypothesis": "b", "label": one} for one in said])
    p = ReadJudgedPairs(path=path, judged="score", grades=grades)
    assert read_judged_pairs.check(p, {}) == []
    found, bad = rows(p, read_judged_pairs)
    assert [r["score"] for r in found] == [2, 1, 0]
    assert [(r["reason"], r["value"]) for r in bad] == [("no grade for the score", "-"), ("no score", "")]
    with pytest.raises(ValidationError, match="grades does nothing"):
        ReadJudgedPairs(path=path, judged="label", grades=grades)


def test_labels_that_differ_in_white_space_or_in_form_are_one(tmp_path):
    said = ["not  spam", "not spam ", "cafe\u0301", "caf\u00e9"]
    found, _ = rows(ReadLabels(path=write(tmp_path / "l.jsonl", [{"text": str(i), "label": one} for i, one in enumerate(said)])), read_labels)
    assert [r["class_id"] for r in found] == ["not spam"] * 2 + ["caf\u00e9"] * 2


def test_of_two_corpora_one_id_at_both_ends_is_no_loop(tmp_path):
    path = write(tmp_path / "e.jsonl", [{"from": 1, "to": 1}, {"from": 1, "to": None}])
    found, bad = rows(ReadRelations(path=path, two_corpora=True), read_relations)
    assert [(r["from_source_id"], r["to_source_id"]) for r in found] == [("1", "1")]
    assert [r["reason"] for r in bad] == ["no id at one end"]


def test_each_edge_has_two_ends_that_differ(tmp_path):
    records = [{"from": 1, "to": 2}, {"from": "1", "to": "2", "kind": "cites"}, {"from": "a", "to": "a"}, {"from": "a", "to": None}]
    found, bad = rows(ReadRelations(path=write(tmp_path / "e.jsonl", records)), read_relations)
    assert [(r["from_source_id"], r["to_source_id"], r["relation"]) for r in found] == [("1", "2", ""), ("1", "2", "cites")]
    assert found[0]["pair_id"] != found[1]["pair_id"]
    assert [(r["reason"], r["value"]) for r in bad] == [("a loop", "a"), ("no id at one end", "a → ")]


@pytest.mark.parametrize(
    ("op", "params", "column"),
    [(read_labels, ReadLabels, "text"), (read_judged_pairs, lambda path: ReadJudgedPairs(path=path, judged="label"), "first"),
     (read_relations, ReadRelations, "from")],
)  # fmt: skip
def test_a_file_without_the_columns_is_told_by_name(tmp_path, op, params, column):
    p = params(path=write(tmp_path / "x.jsonl", [{"strange": 1}]))
    faults = op.check(p, {})
    assert len(faults) >= 2 and "x.jsonl" in faults[0] and column in faults[0]
    with pytest.raises(InputError, match=r"x\.jsonl"):
        rows(p, op)
    missing = params(path=str(tmp_path / "none.jsonl"))
    assert op.check(missing, {}) == [f"{tmp_path}/none.jsonl: no such file or folder; mend `path:`"]
