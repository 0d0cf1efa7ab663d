"""What went easy under the new checkpoint is replaced by its best finds, and nothing else changes."""

import math

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.contract import apply, ids, scores
from operators.renew_negatives import RenewNegatives, renew_negatives
from tests.operators.test_mask_negatives import DOCUMENTS, HOMES
from tests.operators.test_relabel_positives import KEYS, TEXTS, WORDS

SCORE = st.sampled_from([-0.75, 0.125, 0.25, 0.5, 0.75, 0.875])
FOUND = st.lists(st.tuples(st.integers(0, 5), SCORE), unique_by=lambda x: x[0], max_size=6)
ROW = st.tuples(st.integers(0, 5), st.lists(st.integers(0, 5), unique=True, max_size=3), FOUND, FOUND)


def said(n):
    return WORDS[n].casefold()


@settings(max_examples=200, deadline=None)
@given(st.lists(ROW, max_size=4), st.integers(0, 2), st.booleans(), st.sampled_from([None, 0, 0.25]))
def test_easy_negatives_give_way_to_harder_ones_that_may_be_negatives(rows, skip, home, below):
    rows = [(p, n, old, sorted(new, key=lambda x: -x[1])) for p, n, old, new in rows]
    table = pa.table({
        "positive_ids": pa.array([[KEYS[r[0]]] for r in rows], ids), "negative_ids": pa.array([[KEYS[n] for n in r[1]] for r in rows], ids),
        "candidate_ids": pa.array([[KEYS[n] for n, _ in r[2]] for r in rows], ids), "dense_scores": pa.array([[s for _, s in r[2]] for r in rows], scores),
        "renewed_ids": pa.array([[KEYS[n] for n, _ in r[3]] for r in rows], ids), "renewed_scores": pa.array([[s for _, s in r[3]] for r in rows], scores),
    })  # fmt: skip
    used = {"texts": TEXTS, **({"documents": DOCUMENTS} if home else {})}
    out = apply(renew_negatives, table, RenewNegatives(skip=skip, below=below), **used).table.to_pylist()
    for row, (positive, negatives, old, new) in zip(out, rows, strict=True):
        then, now = dict(old), dict(new)
        easy = [n for n in negatives if n not in now or (n in then and 1.15 * now[n] < then[n] and abs(now[n]) < 0.8)]
        texts, free = {said(positive), *(said(n) for n in negatives), *(said(n) for n, _ in new[:skip])}, []
        for n, s in new[skip:]:
            low = below is None or (positive in now and s < now[positive] - abs(now[positive]) * below)
            if said(n) not in texts and low and not (home and HOMES[n] & HOMES[positive]):
                free.append((n, s))
            texts.add(said(n))
        order = sorted(easy, key=lambda n: (now.get(n, -math.inf), -negatives.index(n)))
        hardest = sorted(free, key=lambda x: (-x[1], KEYS[x[0]]))
        best = [one for one, old_one in zip(hardest, order, strict=False) if one[1] > now.get(old_one, -math.inf)]
        assert set(row["added_ids"]) == {KEYS[n] for n, _ in best}
        assert set(row["dropped_ids"]) == {KEYS[n] for n in order[: len(best)]} and len(row["dropped_ids"]) == len(best)
        assert len(row["negative_ids"]) == len(negatives) == len(set(row["negative_ids"]))
        assert set(row["negative_ids"]) == {KEYS[n] for n in negatives} - set(row["dropped_ids"]) | set(row["added_ids"])
        by = {KEYS[n]: np.float32(s) for n, s in new}
        assert row["negative_scores"] == [by.get(i) for i in row["negative_ids"]]


def test_of_easy_ones_the_easiest_goes_first():
    table = pa.table({
        "positive_ids": pa.array([[KEYS[0]]], ids), "negative_ids": pa.array([[KEYS[1], KEYS[2]]], ids),
        "candidate_ids": pa.array([[KEYS[1], KEYS[2]]], ids), "dense_scores": pa.array([[0.7, 0.7]], scores),
        "renewed_ids": pa.array([[KEYS[3], KEYS[1], KEYS[2]]], ids), "renewed_scores": pa.array([[0.6, 0.5, 0.25]], scores),
    })  # fmt: skip
    out = apply(renew_negatives, table, RenewNegatives(skip=0), texts=TEXTS).table.to_pylist()[0]
    assert (out["dropped_ids"], out["added_ids"]) == ([KEYS[2]], [KEYS[3]])
