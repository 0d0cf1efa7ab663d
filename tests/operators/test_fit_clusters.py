import numpy as np
import pyarrow as pa
import pytest

from operators.assign_clusters import AssignClusters, assign_clusters
from operators.columns import content_ids
from operators.contract import InputError, apply, vector
from operators.fit_clusters import FitClusters, fit_clusters


def rows(count, groups, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(groups, 16))
    labels = np.arange(count) % groups
    found = centers[labels] + rng.normal(size=(count, 16)) * 0.1
    found = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    ids = content_ids([str(i) for i in range(count)])
    return pa.table({"query_id": ids, "vector": pa.array(list(found), vector)}), labels


def fitted(table, p, cuts=()):
    fold = fit_clusters(p)
    edges = [0, *cuts, len(table)]
    for a, b in zip(edges, edges[1:], strict=False):
        fold.add(table.slice(a, b - a), 0)
    return fold.finish()


def test_it_finds_the_groups_that_are_there():
    table, labels = rows(400, 5)
    found = apply(assign_clusters, table, AssignClusters(), centroids=fitted(table, FitClusters(clusters=5)))
    pairs = set(zip(labels.tolist(), found.table["cluster"].to_pylist(), strict=True))
    assert len(pairs) == 5


def test_no_cut_changes_the_centroids_even_where_the_sample_overflows():
    table, _ = rows(1000, 4)
    p = FitClusters(clusters=4, per_cluster=50)
    assert np.array_equal(fitted(table, p).matrix, fitted(table, p, (10, 500, 501)).matrix)


def test_merging_samples_of_parts_is_the_sample_of_the_whole():
    table, _ = rows(1000, 4)
    p = FitClusters(clusters=4, per_cluster=20)
    folds = []
    for start in range(0, 1000, 125):
        folds.append(fit_clusters(p))
        folds[-1].add(table.slice(start, 125), 0)
    right = folds[4]
    for fold in folds[5:]:
        right.merge(fold)
    left = folds[0]
    for fold in [*folds[1:4], right]:
        left.merge(fold)
    assert np.array_equal(left.finish().matrix, fitted(table, p).matrix)


def test_memory_is_bounded_by_the_sample():
    fold = fit_clusters(FitClusters(clusters=2, per_cluster=10))
    for start in range(0, 2000, 50):
        fold.add(rows(2000, 2)[0].slice(start, 50), 0)
        assert fold.held <= 2 * 20 + 50


def test_its_objective_is_that_of_scikit_learn():
    from sklearn.cluster import KMeans

    table, _ = rows(600, 6)
    x = np.array(table["vector"].to_pylist())
    ours = fitted(table, FitClusters(clusters=6)).matrix
    theirs = KMeans(6, n_init=5, random_state=0).fit(x)
    loss = ((x[:, None] - ours[None]) ** 2).sum(-1).min(1).sum()
    assert loss <= theirs.inertia_ * 1.05


def test_more_clusters_than_rows_is_refused():
    with pytest.raises(InputError, match="clusters is 9, but there are 4 rows; set clusters lower"):
        fitted(rows(4, 2)[0], FitClusters(clusters=9))
