"""A floor lies where its rule says, among the pairs that an oracle finds, whatever the cut; and holds for its encoder alone."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators import columns
from operators.contract import InputError, apply, text
from operators.drop_below_floor import DropBelowFloor, drop_below_floor
from operators.engines import load_model, packaged
from operators.fit_pair_floor import FitPairFloor, PairFloor, fit_pair_floor
from operators.score_pairs import ScorePairs, score_pairs

STATIC = load_model("encoder", packaged("encoder", "static"))
WORDS = ["oak", "birch", "elm", "ash", "river", "stone", "bread", "yeast", "owl", "mouse", "rain", "iron", "train", "winter"]
PAIR = st.tuples(st.lists(st.sampled_from(WORDS), min_size=1, max_size=2), st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
ROWS = st.lists(PAIR, min_size=3, max_size=25)


def table(rows):
    queries, passages = [" ".join(q) for q, _ in rows], [" ".join(d) for _, d in rows]
    blank = [""] * len(rows)
    return pa.table({
        "query_id": columns.content_ids(queries, blank), "query": pa.array(queries, text), "title": pa.array(blank, text),
        "passage_id": columns.content_ids(blank, passages), "passage": pa.array(passages, text),
    }).sort_by("query_id")  # fmt: skip


def fit(rows, p, cuts=()):
    folds, whole = [], table(rows)
    for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        folds.append(fit_pair_floor(p, encoder=STATIC))
        folds[-1].add(whole.slice(a, b - a), 0)
    for fold in folds[1:]:
        folds[0].merge(fold)
    return folds[0].finish()


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 100), st.data())
def test_all_partners_are_all_pairs_that_are_not_given(rows, percentile, data):
    distinct = sorted({(" ".join(q), " ".join(d)) for q, d in rows})
    p = FitPairFloor(percentile=min(percentile, 50), partners=len(distinct))
    told = [STATIC.encode([t], role)[0].astype(np.float64) for q, d in distinct for t, role in ((q, "query"), (d, "passage"))]
    cross = [told[2 * i] @ told[2 * j + 1] for i, (q, _) in enumerate(distinct) for j, (_, d) in enumerate(distinct) if (q, d) not in distinct]
    if len(distinct) < 2 or len(cross) < 2:
        with pytest.raises(InputError):
            fit(rows, p)
        return
    found = fit(rows, p, sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=2))))
    assert found == fit(rows, p)
    assert found.given_pairs == len(distinct)
    assert found.random_pairs == len(cross)
    assert found.threshold == pytest.approx(np.percentile(cross, p.percentile), abs=1e-5)
    own = np.array([told[2 * i] @ told[2 * i + 1] for i in range(len(distinct))])
    auc = np.mean([(own > c).mean() + (np.abs(own - c) < 1e-7).mean() / 2 for c in cross])
    assert found.auc == pytest.approx(auc, abs=0.05)
    assert found.given == pytest.approx(np.percentile(own, range(101)).tolist(), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_at_equal_error_no_larger_share_of_random_pairs_lies_above_than_of_given_below_and_just_below_it_does(rows):
    try:
        found = fit(rows, FitPairFloor(rule="equal_error", partners=100))
    except InputError:
        return
    assert found.random_above <= found.given_below or found.threshold == np.float32(max(found.given[-1], found.random[-1]))
    assert "equal error" in found.reason


def test_of_many_pairs_those_with_the_smallest_hashes_are_asked_about_whatever_the_cut():
    rows = [([a], [b, c]) for a in WORDS for b in WORDS for c in WORDS[:3]]
    p = FitPairFloor(pairs=50, partners=4, percentile=90)
    one, other = fit(rows, p), fit(rows, p, (1, 200, 201))
    assert one == other
    assert one.given_pairs == 50
    assert one.random_pairs > 150
    assert fit(rows, FitPairFloor(pairs=50, partners=4, percentile=90, seed=1)) != one


def test_a_percentile_that_so_few_random_pairs_have_not_is_refused():
    with pytest.raises(InputError, match="percentile 95 of .* give pairs for 20"):
        fit([(["oak"], ["elm"]), (["owl"], ["rain"])], FitPairFloor())
    with pytest.raises(InputError, match="there is no floor of 0 pairs"):
        fit([], FitPairFloor())
    with pytest.raises(ValidationError, match="percentile does nothing with rule equal_error"):
        FitPairFloor(rule="equal_error", percentile=3)


def test_a_floor_comes_back_from_disk_and_drops_what_lies_below_with_its_score(tmp_path):
    floor = fit([([w], [w]) for w in WORDS], FitPairFloor(percentile=90))
    floor.save(tmp_path)
    assert PairFloor.load(tmp_path) == floor
    told = apply(score_pairs, table([(["oak"], ["oak"]), (["owl"], ["bread"])]), ScorePairs(), encoder=STATIC).table
    out = apply(drop_below_floor, told, DropBelowFloor(), floor=floor)
    assert out.table["query"].to_pylist() == ["oak"]
    (reject,) = out.rejects.to_pylist()
    assert reject["reason"] == f"similarity below the floor {floor.threshold:.4g}"
    assert float(reject["value"]) < floor.threshold


def test_a_floor_of_another_encoder_is_refused():
    floor = fit([([w], [w]) for w in WORDS], FitPairFloor(percentile=90))
    minilm = load_model("encoder", packaged("encoder", "minilm"))
    told = apply(score_pairs, table([(["oak"], ["oak"])]), ScorePairs(), encoder=minilm).table
    with pytest.raises(InputError, match="was scored by 'sentence-transformers .* the floor was fitted for 'static "):
        apply(drop_below_floor, told, DropBelowFloor(), floor=floor)


def test_the_floor_is_compared_as_scores_are_stored():
    floor = fit([([w], [w]) for w in WORDS], FitPairFloor(percentile=90))
    at = np.float32(floor.threshold)
    told = pa.table({"similarity": pa.array([at, np.nextafter(at, np.float32(-1))]), "similarity_by": pa.array([floor.encoder] * 2, text)})
    assert len(apply(drop_below_floor, told, DropBelowFloor(), floor=floor).table) == 1
