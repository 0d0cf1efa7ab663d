"""What is promoted is a positive with its score, once a text; a query with too many goes."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.contract import apply, ids, scores
from operators.promote_positives import PromotePositives, promote_positives
from tests.operators.test_relabel_positives import KEYS, TEXTS, WORDS

SCORE = st.sampled_from([0.0, 0.25, 0.5, 0.75]) | st.none()
ROW = st.tuples(st.lists(st.integers(0, 5), unique=True, min_size=1, max_size=2), st.lists(st.tuples(st.integers(0, 5), SCORE), unique_by=lambda x: x[0], max_size=6))


@settings(max_examples=100, deadline=None)
@given(st.lists(ROW, max_size=4), st.integers(1, 3), st.booleans())
def test_candidates_at_the_bound_that_say_something_new_become_positives(rows, most, scored):
    table = pa.table({
        "positive_ids": pa.array([[KEYS[n] for n in told] for told, _ in rows], ids),
        "positive_scores": pa.array([[1.0] * len(told) for told, _ in rows], scores),
        "candidate_ids": pa.array([[KEYS[n] for n, _ in found] for _, found in rows], ids),
        "false_negative_scores": pa.array([[s for _, s in found] for _, found in rows], scores),
        "teacher_scores": pa.array([[0.5 if n % 2 else None for n, _ in found] for _, found in rows], scores),
    })  # fmt: skip
    p = PromotePositives(at_least=0.5, most=most, scores="teacher_scores" if scored else None)
    out = apply(promote_positives, table, p, texts=TEXTS)
    got = dict(zip(out.table["_row"].to_pylist(), out.table.to_pylist(), strict=True))
    for i, (told, found) in enumerate(rows):
        said, new = {WORDS[n].casefold() for n in told}, []
        for n, s in sorted(found, key=lambda x: (-(x[1] or 0), x[0])):
            if s is not None and s >= 0.5 and WORDS[n].casefold() not in said and (not scored or n % 2):
                new.append((n, s))
                said.add(WORDS[n].casefold())
        assert (i in got) == (len(new) <= most)
        if i in got:
            assert got[i]["positive_ids"][: len(told)] == [KEYS[n] for n in told]
            promoted = got[i]["promoted_ids"]
            assert got[i]["positive_ids"][len(told) :] == promoted
            assert len(promoted) == len(new)
            by = dict((KEYS[n], s) for n, s in found)
            assert [by[one] for one in promoted] == [s for _, s in new]
            if scored:
                assert got[i]["positive_scores"] == [1.0] * len(told) + [0.5] * len(new)


def test_a_score_at_the_bound_is_promoted_though_the_bound_is_no_float32():
    assert float(np.float32(0.7)) < 0.7
    table = pa.table({
        "positive_ids": pa.array([[KEYS[0]]], ids), "candidate_ids": pa.array([[KEYS[1]]], ids),
        "false_negative_scores": pa.array([[0.7]], scores),
    })  # fmt: skip
    out = apply(promote_positives, table, PromotePositives(at_least=0.7, scores=None), texts=TEXTS).table
    assert out["promoted_ids"].to_pylist() == [[KEYS[1]]]
