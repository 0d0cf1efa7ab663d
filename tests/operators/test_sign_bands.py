"""Two texts share a band where that part of their signatures is equal, as often as the formula says; others are rejects."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators.content import indexed
from operators.contract import apply, row_id
from operators.shingles import jaccard, sets, signatures
from operators.sign_bands import SignBands, _bands, sign_bands


def keys_of(ids, texts, p):
    found: dict[bytes, list[bytes]] = {}
    for row in apply(sign_bands, pa.table({"passage_id": pa.array(ids, row_id)}), p, texts=texts).table.to_pylist():
        found.setdefault(row["passage_id"], []).append(row["band"])
    return [found[one] for one in ids]


@pytest.mark.parametrize(("threshold", "recall", "rows"), [(0.8, 0.98, 7), (0.8, 0.99, 6), (0.5, 0.98, 3), (1, 0.98, 128)])
def test_the_bands_are_the_widest_that_find_a_pair_at_the_threshold_as_surely_as_asked(threshold, recall, rows):
    p = SignBands(permutations=128, threshold=threshold, recall=recall)
    assert p.rows == rows
    assert p.found(threshold, rows) >= recall
    assert rows == 128 or p.found(threshold, rows + 1) < recall


def test_a_band_is_shared_where_its_part_of_the_signature_is_equal():
    line = [f"w{i}" for i in range(60)]
    ids, texts = indexed([" ".join(line[i : i + 50]) for i in range(10)])
    p = SignBands()
    keys = keys_of(ids, texts, p)
    signed = signatures(texts.take(pa.array(ids, row_id)), p, 60)[0].reshape(10, 12, 5)
    shared = 0
    for a in range(10):
        assert len(set(keys[a])) == 12
        for b in range(a):
            assert [i for i in range(12) if keys[a][i] == keys[b][i]] == np.flatnonzero((signed[a] == signed[b]).all(axis=1)).tolist()
            assert not {*keys[a]} & {*keys[b]} - {x for x, y in zip(keys[a], keys[b], strict=True) if x == y}
            shared += len({*keys[a]} & {*keys[b]})
    assert shared


def test_bands_of_equal_numbers_have_keys_of_their_own():
    assert len(np.unique(_bands(np.ones((1, 16), np.uint32), 4)[0], axis=1)[0]) == 4


def test_pairs_are_found_as_often_as_the_formula_says():
    rng, said = np.random.default_rng(3), []
    for _ in range(400):
        line = [f"w{i}" for i in rng.integers(0, 1 << 30, 84)]
        said += [" ".join(line[:76]), " ".join(line[8:])]
    ids, texts = indexed(said)
    p = SignBands()
    keys = keys_of(ids, texts, p)
    one, other = np.arange(0, 800, 2), np.arange(1, 800, 2)
    true = float(jaccard(*sets(pa.array(said), p), one, other).mean())
    assert 0.75 < true < 0.85
    found = np.mean([bool({*keys[a]} & {*keys[b]}) for a, b in zip(one, other, strict=True)])
    assert abs(found - p.found(true, p.rows)) < 0.02


def test_a_text_of_blanks_and_an_unknown_id_are_rejects():
    ids, texts = indexed(["owls", " \n"])
    asked = pa.table({"passage_id": pa.array([*ids, b"?" * 16], row_id)})
    outcome = apply(sign_bands, asked, SignBands(), texts=texts)
    assert outcome.rejects.select(["_row", "reason"]).to_pylist() == [
        {"_row": 1, "reason": "no text"}, {"_row": 2, "reason": "no text has this id"},
    ]  # fmt: skip
    assert len(outcome.table) == 12
    assert set(outcome.table["length"].to_pylist()) == {4}


def test_a_recall_that_no_bands_reach_is_refused():
    with pytest.raises(ValidationError, match=r"recall: 8 permutations find a pair of 0.3 with 0.9424 at best; give more permutations"):
        SignBands(permutations=8, threshold=0.3)
