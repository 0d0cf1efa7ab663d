"""A mask holds the batch's passages that may answer the row, and no other; other batches do not matter."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators import columns
from operators import mask_negatives as module
from operators.contract import apply, ids, scores, text
from operators.mask_negatives import MaskNegatives, mask_negatives
from tests.operators.test_index_documents import fold_of
from tests.operators.test_relabel_positives import KEYS, TEXTS, WORDS

HOMES = {0: {"a"}, 1: {"a"}, 2: {"b"}, 3: {"b", "c"}, 4: {"c"}, 5: set()}


def documents():
    rows = [(KEYS[p], columns.content_id(d)) for p, told in HOMES.items() for d in sorted(told)]
    return fold_of([p for p, _ in rows], [d for _, d in rows]).finish()


DOCUMENTS = documents()
ROW = st.tuples(
    st.integers(0, 2), st.integers(0, 5), st.lists(st.integers(0, 5), unique=True, max_size=2),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.25, 0.5, 0.75])), unique_by=lambda x: x[0], max_size=5), st.sampled_from("xy"),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, max_size=6), st.booleans(), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.25]), st.sampled_from([1, 7, 1 << 22]))
def test_masked_is_what_says_the_same_stands_in_the_document_or_scores_with_the_positive(rows, home, score, label, margin, cells):
    module.CELLS, rows = cells, sorted(rows, key=lambda r: r[0])
    table = pa.table({
        "query_id": columns.content_ids([str(i) for i in range(len(rows))]), "batch": pa.array([r[0] for r in rows], pa.int64()),
        "positive_ids": pa.array([[KEYS[r[1]]] for r in rows], ids), "negative_ids": pa.array([[KEYS[n] for n in r[2]] for r in rows], ids),
        "candidate_ids": pa.array([[KEYS[n] for n, _ in r[3]] for r in rows], ids),
        "dense_scores": pa.array([[s for _, s in r[3]] for r in rows], scores), "label": pa.array([r[4] for r in rows], text),
    })  # fmt: skip
    p = MaskNegatives(score="dense_scores" if score else None, margin=margin if score else None, same=("label",) if label else ())
    used = {"texts": TEXTS, **({"documents": DOCUMENTS} if home else {})}
    got = [set(row) for row in apply(mask_negatives, table, p, **used).table["masked_ids"].to_pylist()]
    for i, (batch, positive, negatives, found, kind) in enumerate(rows):
        told = dict(found)
        wanted = set()
        for j, other in enumerate(rows):
            if j == i or other[0] != batch:
                continue
            for n in (other[1], *other[2]):
                same = WORDS[n].casefold() == WORDS[positive].casefold()
                near = score and positive in told and told.get(n, -1) >= np.float32(told[positive]) - margin
                if same or near or (home and HOMES[n] & HOMES[positive]) or (label and other[4] == kind):
                    wanted.add(KEYS[n])
        assert got[i] == wanted - {KEYS[positive], *(KEYS[n] for n in negatives)}


def test_a_mask_is_sorted_and_lists_a_passage_once():
    many = [(0, 0, [], [], "x"), (0, 5, [1], [], "x"), (0, 5, [1], [], "x")]
    table = pa.table({
        "query_id": columns.content_ids("abc"), "batch": pa.array([0] * 3, pa.int64()), "positive_ids": pa.array([[KEYS[r[1]]] for r in many], ids),
        "negative_ids": pa.array([[KEYS[n] for n in r[2]] for r in many], ids), "label": pa.array(["x"] * 3, text),
    })  # fmt: skip
    got = apply(mask_negatives, table, MaskNegatives(score=None, same=("label",)), texts=TEXTS).table["masked_ids"].to_pylist()
    assert got[0] == sorted({KEYS[5], KEYS[1]})


def test_a_teachers_score_of_the_positive_counts_where_it_is_no_candidate():
    table = pa.table({
        "query_id": columns.content_ids("ab"), "batch": pa.array([0, 0], pa.int64()), "positive_ids": pa.array([[KEYS[0]], [KEYS[1]]], ids),
        "negative_ids": pa.array([[], [KEYS[2]]], ids), "candidate_ids": pa.array([[KEYS[1], KEYS[2]], []], ids),
        "teacher_scores": pa.array([[0.75, 0.25], []], scores), "positive_scores": pa.array([[0.5], [0.5]], scores),
    })  # fmt: skip
    for said, wanted in (
        ({}, {1}), ({"margin": None, "at_least": 0.8}, set()), ({"margin": None, "at_least": 0.75}, {1}), ({"margin": 0.25}, {1, 2}),
        ({"margin": None, "of_best": 0.6}, {1}), ({"margin": None, "of_best": 0.3}, {1, 2}), ({"margin": None, "of_best": 0.99}, {1}),
    ):  # fmt: skip
        got = apply(mask_negatives, table, MaskNegatives(score="teacher_scores", **said), texts=TEXTS).table["masked_ids"].to_pylist()
        assert [set(row) for row in got] == [{KEYS[n] for n in wanted}, set()]
    below = {"teacher_scores": [[-0.25, -0.75], []], "positive_scores": [[-0.5], [-0.5]]}  # the best of cosines may be below 0
    for name, values in below.items():
        table = columns.put(table, name, pa.array(values, scores))
    p = MaskNegatives(score="teacher_scores", margin=None, of_best=0.6)
    assert apply(mask_negatives, table, p, texts=TEXTS).table["masked_ids"].to_pylist() == [[KEYS[1]], []]


def test_rules_that_do_nothing_are_refused():
    for said, told in (({"margin": None}, "score does nothing without"), ({"score": None, "at_least": 0.0}, "where score is null")):
        with pytest.raises(ValidationError, match=told):
            MaskNegatives(**said)
