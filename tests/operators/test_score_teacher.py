"""Score teacher: aligned scores, each pair once, the same in any cut."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators import columns
from operators.contract import apply, ids, text
from operators.engines import load_model, packaged
from operators.score_teacher import ScoreTeacher, example, score_teacher


def test_scores_stand_beside_their_ids_and_the_rest_is_null() -> None:
    case = example()
    out = apply(score_teacher, case.table, case.params, **case.used).table
    teacher, texts = case.used["teacher"], case.used["texts"]
    for row in out.to_pylist():
        told = texts.take(pa.array(row["positive_ids"] + row["candidate_ids"][:1], ids.value_type)).to_pylist()
        expected = teacher.score([row["query"]] * len(told), told).tolist()
        assert row["positive_scores"] + row["teacher_scores"][:1] == expected
        assert row["teacher_scores"][1:] == [None] * len(row["candidate_ids"][1:])
    assert out["teacher_scores"].to_pylist()[1] == []


def test_every_cut_gives_the_same_scores() -> None:
    case = example()
    whole = apply(score_teacher, case.table, ScoreTeacher(), **case.used).table.drop_columns(["_row"])
    parts = [apply(score_teacher, case.table.slice(i, 1), ScoreTeacher(), **case.used).table for i in (0, 1, 2)]
    assert pa.concat_tables(parts).drop_columns(["_row"]).equals(whole)
    assert apply(score_teacher, case.table.slice(0, 0), ScoreTeacher(), **case.used).table.num_rows == 0


def test_each_distinct_pair_is_asked_once_and_counted() -> None:
    case = example()
    teacher = case.used["teacher"]
    twice = pa.concat_tables([case.table, case.table])
    before = dict(teacher.counters)
    apply(score_teacher, twice, ScoreTeacher(), **case.used)
    pairs = {(r["query"], i) for r in case.table.to_pylist() for i in r["positive_ids"] + r["candidate_ids"]}
    assert teacher.counters["teacher_pairs"] - before["teacher_pairs"] == len(pairs)
    assert teacher.counters["teacher_texts"] - before["teacher_texts"] == 3 + 4


def test_a_row_whose_score_is_not_finite_is_rejected() -> None:
    case = example()
    rows = case.table.slice(0, 2).to_pylist()
    rows[1]["query"] = ""
    out = apply(score_teacher, pa.Table.from_pylist(rows, schema=case.table.schema), ScoreTeacher(), **case.used)
    assert out.table["query"].to_pylist() == [rows[0]["query"]]
    assert out.rejects["reason"].to_pylist() == ["the teacher's score is not finite"]
    assert np.isfinite(columns.flat(out.table["positive_scores"])[1].to_numpy()).all()


def test_a_passage_is_read_with_its_title() -> None:
    from operators.index_texts import IndexTexts, TextsFold

    teacher, fold = load_model("teacher", packaged("teacher")), TextsFold(IndexTexts())
    key = columns.content_ids(["Owls"], ["hunt at night"])
    fold.add(pa.table({"passage_id": key, "title": pa.array(["Owls"], text), "passage": pa.array(["hunt at night"], text)}), 0)
    table = pa.table({"query": pa.array(["owls"], text), "positive_ids": pa.array([key.to_pylist()], ids)})
    table = table.append_column("candidate_ids", pa.array([[]], ids))
    out = apply(score_teacher, table, ScoreTeacher(), teacher=teacher, texts=fold.finish()).table
    assert out["positive_scores"].to_pylist() == [teacher.score(["owls"], ["Owls\nhunt at night"]).tolist()]


def test_a_second_teacher_is_asked_only_for_what_the_first_leaves_in_doubt() -> None:
    case = example()
    teacher = case.used["teacher"]
    first = apply(score_teacher, case.table, ScoreTeacher(), **case.used).table.drop_columns(["_row"])
    values = sorted(v for row in first["teacher_scores"].to_pylist() for v in row)
    for low, high in ((values[1], values[2]), (None, values[0]), (values[-1], None)):
        p = ScoreTeacher.model_validate({"scores": "judged", "positives": "judged_positives", "band": {"scores": "teacher_scores", "low": low, "high": high}})
        p = ScoreTeacher.model_validate_json(p.model_dump_json())  # as a worker gets it
        before = teacher.counters["teacher_pairs"]
        out = apply(score_teacher, first, p, **case.used).table.to_pylist()
        doubted = {(r["query"], i) for r in out for i, s in zip(r["candidate_ids"], r["teacher_scores"], strict=True) if (low is None or s >= low) and (high is None or s <= high)}
        for row in out:
            for i, s, judged in zip(row["candidate_ids"], row["teacher_scores"], row["judged"], strict=True):
                assert judged == (s if (row["query"], i) in doubted else None)
        assert teacher.counters["teacher_pairs"] - before == len(doubted | {(r["query"], i) for r in out for i in r["positive_ids"]})


@pytest.mark.parametrize("band", [{}, {"low": 0.5, "high": 0.25}])
def test_a_band_without_edges_or_upside_down_is_refused(band: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="say low or high"):
        ScoreTeacher.model_validate({"band": {"scores": "dense_scores", **band}})


def test_scores_of_another_list_have_a_column_of_their_own() -> None:
    case = example()
    table = case.table.append_column("negative_ids", case.table["candidate_ids"].slice(0))
    with pytest.raises(ValidationError, match="name the column for the scores of negative_ids"):
        ScoreTeacher(ids="negative_ids")
    with pytest.raises(ValidationError, match="both name the column 'x'"):
        ScoreTeacher(scores="x", positives="x")
    p = ScoreTeacher(ids="negative_ids", scores="negative_scores")
    out = apply(score_teacher, table, ScoreTeacher.model_validate_json(p.model_dump_json()), **case.used).table
    wanted = apply(score_teacher, table, ScoreTeacher(), **case.used).table
    assert out["negative_scores"].to_pylist() == wanted["teacher_scores"].to_pylist()
