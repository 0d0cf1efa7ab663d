"""An edge is a pair whose sets of shingles have the threshold; nothing is estimated."""

import numpy as np
import pyarrow as pa
import pytest

from operators.content import indexed
from operators.contract import apply, row_id
from operators.link_duplicates import LinkDuplicates, link_duplicates


def run(pairs, ids, texts, p):
    table = pa.table({k: pa.array([ids[one[i]] for one in pairs], row_id) for i, k in enumerate(("id_a", "id_b"))})
    return apply(link_duplicates, table, p, texts=texts)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 1.0])
def test_edges_are_the_pairs_of_the_threshold_with_their_jaccard(threshold):
    said = [" ".join(f"w{i}" for i in range(start, start + 24)) for start in range(14)]  # 20 runs: (20 - d) / (20 + d)
    ids, texts = indexed([*said, said[0].upper()])
    pairs = [(a, b) for a in range(15) for b in range(a)]
    outcome = run(pairs, ids, texts, LinkDuplicates(threshold=threshold))
    apart = [abs(a % 14 - b % 14) for a, b in pairs]
    true = [max(20 - d, 0) / (20 + d) for d in apart]
    assert outcome.table["jaccard"].to_pylist() == [np.float32(j) for j in true if j >= threshold]
    assert outcome.rejects["value"].to_pylist() == [f"{j:.3f}" for j in true if j < threshold]
    assert set(outcome.rejects["reason"].to_pylist()) <= {"below the threshold"}


def test_an_unknown_text_is_a_reject_and_two_texts_without_shingles_are_no_duplicates():
    ids, texts = indexed(["owls hunt", "Owls hunt", " ", "\n "])
    outcome = run([(0, 1), (0, 4), (2, 3)], [*ids, b"?" * 16], texts, LinkDuplicates())
    assert outcome.table["jaccard"].to_pylist() == [1.0]
    assert outcome.rejects["reason"].to_pylist() == ["no text has this id", "below the threshold"]
