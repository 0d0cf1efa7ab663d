"""Each tier drops from its threshold on and can be switched off; a reject names tier, benchmark and row; counts add up."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.contract import InputError, apply, ids, scores
from operators.drop_contaminated import DropContaminated, drop_contaminated
from operators.index_evaluation import indexed
from operators.measure_contamination import MeasureContamination, measure_contamination, told

EVALUATION = indexed([("nq", "1", "", "one"), ("nq", "2", "", "two"), ("fever", "a", "", "three"), ("arc", "b", "", "two")])
KEYS = EVALUATION.ids(np.arange(3)).to_pylist()
PLACES = {k: list(zip(*EVALUATION.names(pa.array([k], ids.value_type))[1].to_pydict().values(), strict=True)) for k in KEYS}
TIERS = {
    "exact": ("exact_ids", ""), "n-gram": ("ngram_ids", "ngram_scores"), "ROUGE-L": ("overlap_ids", "rouge_scores"),
    "BM25": ("overlap_ids", "bm25_shares"), "embedding": ("candidate_ids", "dense_scores"),
}  # fmt: skip
CELL = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.25, 0.5, 0.75])), max_size=3, unique_by=lambda x: x[0])
LIMIT = st.sampled_from([None, 0.5, 0.6])


def table_of(rows):
    """Rows of (exact, n-gram, overlap, dense) lists of (evaluation text, score)."""
    made = {}
    for n, names in enumerate((("exact_ids",), ("ngram_ids", "ngram_scores"), ("overlap_ids", "rouge_scores", "bm25_shares"), ("candidate_ids", "dense_scores"))):
        made[names[0]] = pa.array([[KEYS[i] for i, _ in row[n]] for row in rows], ids)
        for by, name in enumerate(names[1:]):
            made[name] = pa.array([[s if by == 0 else 1 - s for _, s in row[n]] for row in rows], scores)
    return pa.table(made)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(CELL, CELL, CELL, CELL), max_size=5), st.booleans(), LIMIT, LIMIT, LIMIT, LIMIT)
def test_a_row_is_dropped_by_the_first_tier_that_finds_it_and_counted_by_all(rows, exact, ngram, rouge, bm25, dense):
    limits = {"exact": 1.0 if exact else None, "n-gram": ngram, "ROUGE-L": rouge, "BM25": bm25, "embedding": dense}
    if not any(limits.values()):
        return
    options = {"exact": exact, "ngram": ngram, "rouge": rouge, "bm25": bm25, "dense": dense}
    table = table_of(rows)
    hit = {
        tier: [{(i, s) for i, s in zip(row[of], row.get(by) or [1.0] * len(row[of]), strict=True) if limits[tier] and s >= limits[tier]} for row in table.to_pylist()]
        for tier, (of, by) in TIERS.items()
    }
    outcome = apply(drop_contaminated, table, DropContaminated(**options), evaluation=EVALUATION)
    found = {r["_row"]: r for r in outcome.rejects.to_pylist()}
    for n in range(len(rows)):
        tier = next((t for t in TIERS if hit[t][n]), None)
        assert (n in found) == (tier is not None)
        if tier:
            best = max(s for _, s in hit[tier][n])
            assert (found[n]["reason"], found[n]["value"]) in {
                (f"in {PLACES[i][0][0]}: {tier}", f"{PLACES[i][0][1]} ({s:.4g})") for i, s in hit[tier][n] if s == best
            }
    half = len(rows) // 2
    folds = [measure_contamination(MeasureContamination(**options), evaluation=EVALUATION) for _ in range(2)]
    for fold, part in zip(folds, (table.slice(0, half), table.slice(half)), strict=True):
        fold.add(part, 0)
    folds[0].merge(folds[1])
    counts = told(folds[0].finish(), folds[0]._p)
    every = {t: {i for row in hit[t] for i, _ in row} for t in TIERS if limits[t]}
    for benchmark, size in {"nq": 2, "fever": 1, "arc": 1}.items():
        assert counts[f"{benchmark}: rows"] == size
        for name, of in {**every, "found": set().union(*every.values())}.items():
            assert counts[f"{benchmark}: {name}"] == sum(b == benchmark for i in of for b, _ in PLACES[i])


def test_a_threshold_is_taken_as_the_scores_are_stored():
    table = pa.table({"exact_ids": pa.array([[]], ids), "ngram_ids": pa.array([[KEYS[0]]], ids), "ngram_scores": pa.array([[0.7]], scores)})
    assert len(apply(drop_contaminated, table, DropContaminated(ngram=0.7), evaluation=EVALUATION).rejects) == 1


def test_candidates_of_another_table_are_refused():
    table = pa.table({"exact_ids": pa.array([[b"?" * 16]], ids)})
    with pytest.raises(InputError, match="no text of the evaluation"):
        apply(drop_contaminated, table, DropContaminated(ngram=None), evaluation=EVALUATION)


def test_options_that_do_nothing_are_refused():
    with pytest.raises(ValidationError, match="every tier is off"):
        DropContaminated(exact=False, ngram=None)
    with pytest.raises(ValidationError, match="do nothing where dense is null"):
        DropContaminated(dense_ids="near")
    assert DropContaminated(exact=False, ngram=None, dense=0.0).tiers == {"embedding": ("candidate_ids", "dense_scores", 0.0)}
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        DropContaminated(dense=95)


def test_a_worker_that_is_told_every_field_takes_them():
    for p in (DropContaminated(), DropContaminated(dense=0.9, dense_ids="near"),):
        assert DropContaminated.model_validate_json(p.model_dump_json()) == p
