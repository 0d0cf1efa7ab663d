import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.assign_balanced import AssignBalanced, assign_balanced
from operators.balance_clusters import GRID, BalanceClusters, Balanced, balance_clusters, measure_balance
from operators.centroids import Centroids, unit
from operators.columns import content_ids
from operators.contract import InputError, apply, text, vector

SEEDS = st.integers(0, 2**32 - 1)


def table_of(rows, sources=None):
    told = {"query_id": content_ids([str(i) for i in range(len(rows))]), "vector": pa.array(list(rows), vector)}
    told["source"] = pa.array(sources or ["s"] * len(rows), text)
    return pa.table(told).sort_by("query_id")


def balanced(table, matrix, p, cuts=(), ranges=None):
    folds, edges = [], [0, *sorted(min(c, len(table)) for c in cuts), len(table)]
    for a, b in zip(edges, edges[1:], strict=False):
        folds.append(balance_clusters(p, centroids=Centroids(matrix, ranges)))
        folds[-1].add(table.slice(a, b - a), 0)
    for later in folds[1:]:
        folds[0].merge(later)
    return folds[0].finish()


def by_asking_in_turn(near, cap):
    """Deferred acceptance, a row at a time, as Gale and Shapley have it."""
    asks = [sorted(range(near.shape[1]), key=lambda k: (-row[k], k)) for row in near]
    held: dict[int, list[int]] = {k: [] for k in range(near.shape[1])}
    waiting = list(range(len(near)))[::-1]
    while waiting:
        row = waiting.pop()
        cluster = asks[row].pop(0)
        held[cluster] = sorted([*held[cluster], row], key=lambda r: (-near[r, cluster], r))
        waiting += held[cluster][cap:]
        held[cluster] = held[cluster][:cap]
    return {row: cluster for cluster, rows in held.items() for row in rows}


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.integers(1, 40), st.integers(1, 6), st.integers(0, 3), st.booleans(), st.lists(st.integers(0, 40), max_size=2))
def test_it_is_deferred_acceptance_whatever_the_cut(seed, count, many, spare, coarse, cuts):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 3)) + [2, 0, 0]
    rows = unit((np.round(rows) if coarse else rows).astype(np.float32) + np.float32(0.01))
    matrix = unit(rng.normal(size=(many, 3)).astype(np.float32))
    cap = -(-count // many) + spare
    table = table_of(rows)
    p = BalanceClusters(max_rows=cap)
    made = balanced(table, matrix, p)
    again = balanced(table, matrix, p, cuts)
    assert np.array_equal(made.cluster, again.cluster)
    sorted_rows = np.array(table["vector"].to_pylist(), np.float32)
    near = np.round(unit(sorted_rows).astype(np.float64) @ matrix.astype(np.float64).T * GRID) / GRID
    wanted = by_asking_in_turn(near, cap)
    found = apply(assign_balanced, table, AssignBalanced(), balanced=made).table["cluster"].to_pylist()
    assert found == [wanted[i] for i in range(count)]
    told = measure_balance(made, p)
    assert told["rows in the largest"] <= cap == told["most allowed"]
    assert told["not in the nearest"] == int((near.argmax(axis=1) != np.array(found)).sum())


def test_each_source_has_its_own_clusters_and_its_own_cap(tmp_path):
    rows = unit(np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32))
    table = table_of(rows, ["a"] * 20 + ["b"] * 10)
    made = balanced(table, unit(rows[:5]), BalanceClusters(by="source", slack=1), ranges={"a": (0, 2), "b": (2, 5)})
    made.save(tmp_path)
    read = Balanced.load(tmp_path)
    found = apply(assign_balanced, table, AssignBalanced(), balanced=read).table
    for source, allowed, cap in (("a", {0, 1}, 10), ("b", {2, 3, 4}, 4)):
        mine = [c for s, c in zip(found["source"].to_pylist(), found["cluster"].to_pylist(), strict=True) if s == source]
        assert set(mine) <= allowed and max(np.bincount(mine)) <= cap


def test_a_row_that_was_not_balanced_is_a_reject():
    made = balanced(table_of(np.eye(3, dtype=np.float32)), np.eye(3, dtype=np.float32), BalanceClusters())
    outcome = apply(assign_balanced, pa.table({"query_id": content_ids(["0", "new"])}), AssignBalanced(), balanced=made)
    assert outcome.table["cluster"].to_pylist() == [0]
    assert outcome.rejects["reason"].to_pylist() == ["not among the rows that were balanced"]


def test_what_cannot_be_is_refused():
    rows, three = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
    with pytest.raises(ValidationError, match="slack and max_rows both say"):
        BalanceClusters(slack=2, max_rows=3)
    with pytest.raises(InputError, match="max_rows is 1, so 2 clusters hold 2 of 3 rows; raise it"):
        balanced(table_of(rows), three[:2], BalanceClusters(max_rows=1))
    with pytest.raises(InputError, match="stands on more than one row; put drop_duplicates"):
        balanced(pa.concat_tables([table_of(rows)] * 2), three, BalanceClusters())
    with pytest.raises(InputError, match="no row of source 's' was in the fit"):
        balanced(table_of(rows), three, BalanceClusters(by="source"), ranges={"t": (0, 3)})
    with pytest.raises(InputError, match="by is 'source', but the centroids are of all"):
        balanced(table_of(rows), three, BalanceClusters(by="source"))
    with pytest.raises(InputError, match="each centroid is of one value, by names no column"):
        balanced(table_of(rows), three, BalanceClusters(), ranges={"s": (0, 3)})
