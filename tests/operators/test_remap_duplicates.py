"""Ids become their representatives, each once in a list, with the score of where it first stood; dropped rows name theirs."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.contract import ContractError, apply, ids, row_id, scores
from operators.drop_near_duplicates import DropNearDuplicates, drop_near_duplicates
from operators.drop_near_duplicates import example as dropped
from operators.fit_classes import _written
from operators.remap_duplicates import RemapDuplicates, remap_duplicates

SHOWN = dropped()
NAMES = SHOWN.table["passage_id"].to_pylist()
CLASSES = SHOWN.used["classes"]
BEST = dict(zip(NAMES, CLASSES.of(SHOWN.table["passage_id"]).to_pylist(), strict=True)) | {b"?" * 16: b"?" * 16}
ID = st.sampled_from(sorted(BEST))


@given(st.lists(st.lists(ID, max_size=5), max_size=5), st.data())
def test_each_id_becomes_its_representative_once(rows: list[list[bytes]], data: st.DataObject) -> None:
    single = data.draw(st.lists(ID, min_size=len(rows), max_size=len(rows)))
    told = [[float(i) for i in range(len(row))] for row in rows]
    table = pa.table({"candidate_ids": pa.array(rows, ids), "dense_scores": pa.array(told, scores), "passage_id": pa.array(single, row_id)})
    p = RemapDuplicates(columns=("candidate_ids", "passage_id"), aligned={"candidate_ids": ("dense_scores",)})
    found = apply(remap_duplicates, table, p, classes=CLASSES).table
    firsts = []
    for row in rows:
        first: dict[bytes, float] = {}
        for i, one in enumerate(row):
            first.setdefault(BEST[one], float(i))
        firsts.append(first)
    assert found["candidate_ids"].to_pylist() == [list(one) for one in firsts]
    assert found["dense_scores"].to_pylist() == [list(one.values()) for one in firsts]
    assert found["passage_id"].to_pylist() == [BEST[one] for one in single]


@given(st.lists(ID, max_size=8))
def test_representatives_stay_and_the_others_name_theirs(rows: list[bytes]) -> None:
    table = pa.table({"doc_id": pa.array(rows, row_id)})
    outcome = apply(drop_near_duplicates, table, DropNearDuplicates(key="doc_id"), classes=CLASSES)
    assert outcome.table["doc_id"].to_pylist() == [one for one in rows if BEST[one] == one]
    assert outcome.rejects.to_pylist() == [
        {"_row": i, "reason": "near-duplicate", "value": BEST[one].hex()} for i, one in enumerate(rows) if BEST[one] != one
    ]
    told = apply(drop_near_duplicates, table, DropNearDuplicates(key="doc_id", keep="all"), classes=CLASSES).table
    assert told["class_id"].to_pylist() == [BEST[one] for one in rows]


def test_ids_that_differ_in_a_byte_are_two():
    names = pa.array([b"a" * 16, b"a" * 15 + b"b"], row_id)
    outcome = apply(drop_near_duplicates, pa.table({"passage_id": names}), DropNearDuplicates(), classes=_written(names, np.array([0, 0])))
    assert outcome.table["passage_id"].to_pylist() == [b"a" * 16]


def test_scores_that_are_not_aligned_are_a_fault():
    table = pa.table({"candidate_ids": pa.array([NAMES], ids), "dense_scores": pa.array([[0.5]], scores)})
    p = RemapDuplicates(columns=("candidate_ids",), aligned={"candidate_ids": ("dense_scores",)})
    with pytest.raises(ContractError, match="dense_scores is not aligned to candidate_ids"):
        apply(remap_duplicates, table, p, classes=CLASSES)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"columns": ("positive_ids", "positive_ids")}, "names a column twice"),
        ({"aligned": {"candidate_ids": ("dense_scores",)}}, "candidate_ids is not one of the lists"),
        ({"columns": ("passage_id",), "aligned": {"passage_id": ("dense_scores",)}}, "passage_id is not one of the lists"),
        ({"columns": ()}, "at least 1"),
        ({"columns": ("negative_ids",)}, "negative_ids without positive_ids; name both"),
    ],
)
def test_params_that_fit_nothing_are_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        RemapDuplicates(**given)


def test_a_negative_that_is_a_near_duplicate_of_a_positive_goes_with_its_score():
    one, other, alone = NAMES
    assert BEST[one] == BEST[other] != BEST[alone]
    table = pa.table({
        "negative_ids": pa.array([[one, alone], [other], [one, other]], ids), "negative_scores": pa.array([[0.9, 0.5], [0.8], [0.7, 0.6]], scores),
        "positive_ids": pa.array([[other], [alone], []], ids),
    })  # fmt: skip
    p = RemapDuplicates(columns=("negative_ids", "positive_ids"), aligned={"negative_ids": ("negative_scores",)})
    found = apply(remap_duplicates, table, p, classes=CLASSES).table
    assert found["negative_ids"].to_pylist() == [[alone], [BEST[one]], [BEST[one]]]
    assert np.allclose([v for row in found["negative_scores"].to_pylist() for v in row], [0.5, 0.8, 0.7])
