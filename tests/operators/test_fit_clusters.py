import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators.assign_clusters import AssignClusters, assign_clusters
from operators.centroids import Centroids
from operators.columns import content_ids
from operators.contract import InputError, apply, text, vector
from operators.fit_clusters import FitClusters, fit_clusters, measure_clusters


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
    assert loss <= theirs.inertia_ * 1.01


def test_more_clusters_than_rows_is_refused():
    with pytest.raises(InputError, match="clusters is 9, but there are 4 rows; set clusters lower"):
        fitted(rows(4, 2)[0], FitClusters(clusters=9))


def sourced(rng, sizes):
    """Rows of several sources around directions of their own, with a second vector that tells two halves apart."""
    of = [s for s, n in sizes.items() for _ in range(n)]
    own = {s: rng.normal(size=8) for s in sizes}
    one = np.array([own[s] for s in of]) + rng.normal(size=(len(of), 8)) * 0.2
    two = np.where(np.arange(len(of))[:, None] % 2, 1.0, -1.0) * np.ones((1, 3)) + rng.normal(size=(len(of), 3)) * 0.05
    return pa.table({
        "query_id": content_ids([str(i) for i in range(len(of))]), "vector": pa.array(list(one.astype(np.float32)), vector),
        "passage_vector": pa.array(list(two.astype(np.float32) * 7), vector), "source": pa.array(of, text),
    }).sort_by("query_id")  # fmt: skip


def test_each_source_has_clusters_of_its_own_and_a_new_one_is_a_reject(tmp_path):
    table = sourced(np.random.default_rng(0), {"web": 90, "book": 30})
    made = fitted(table, FitClusters(clusters=3, by="source"), (17, 70))
    assert made.ranges == {"book": (0, 3), "web": (3, 6)}
    made.save(tmp_path)
    read = Centroids.load(tmp_path)
    found = apply(assign_clusters, table, AssignClusters(by="source"), centroids=read).table
    for source, cluster in zip(found["source"].to_pylist(), found["cluster"].to_pylist(), strict=True):
        assert (cluster < 3) == (source == "book")
    new = table.set_column(3, "source", pa.array(["new"] * len(table), text)).slice(0, 2)
    outcome = apply(assign_clusters, new, AssignClusters(by="source"), centroids=read)
    assert outcome.rejects["reason"].to_pylist() == ["no row of its source was in the fit"] * 2
    with pytest.raises(InputError, match="each centroid is of one value, by names no column"):
        apply(assign_clusters, table, AssignClusters(), centroids=read)
    with pytest.raises(InputError, match="clusters is 31, but there are 30 rows of source 'book'"):
        fitted(table, FitClusters(clusters=31, by="source"))


def test_pairs_are_told_apart_by_both_of_their_vectors():
    table = sourced(np.random.default_rng(1), {"web": 100})
    p = FitClusters(clusters=2, vectors=("vector", "passage_vector"))
    both = AssignClusters(vectors=p.vectors)
    found = apply(assign_clusters, table, both, centroids=fitted(table, p)).table
    half = [v[0] > 0 for v in table["passage_vector"].to_pylist()]
    assert len(set(zip(half, found["cluster"].to_pylist(), strict=True))) == 2
    with pytest.raises(InputError, match="vectors have 8 dimensions, centroids 11; .* of the same columns"):
        apply(assign_clusters, table, AssignClusters(), centroids=fitted(table, p))


@pytest.mark.parametrize("per_cluster", [8, 50, 400])
def test_rows_over_size_is_how_many_clusters_there_are_and_the_share_sampled_hangs_on_no_cut(per_cluster):
    table, _ = rows(1000, 4)
    p = FitClusters(rows_per_cluster=90, per_cluster=per_cluster)
    made = fitted(table, p)
    assert len(made.matrix) == 12
    told = made.quality[""]
    assert told["rows"] == 1000
    assert abs(told["sampled"] - 1000 * min(1, per_cluster / 90)) < 100
    folds = [fit_clusters(p) for _ in range(4)]
    for i, fold in enumerate(folds):
        fold.add(table.slice(i * 250, 250), 0)
    for fold in folds[1:]:
        folds[0].merge(fold)
    again = folds[0].finish()
    assert np.array_equal(again.matrix, made.matrix) and again.quality == made.quality


@pytest.mark.parametrize("sizes", [{"": 20}, {"": 20, "web": 30}])
def test_a_source_without_a_name_has_clusters_as_any_other(tmp_path, sizes):
    table = sourced(np.random.default_rng(0), sizes)
    fitted(table, FitClusters(clusters=2, by="source")).save(tmp_path)
    made = Centroids.load(tmp_path)
    outcome = apply(assign_clusters, table, AssignClusters(by="source"), centroids=made)
    assert len(outcome.table) == len(table)
    assert all((c < 2) == (s == "") for s, c in zip(outcome.table["source"].to_pylist(), outcome.table["cluster"].to_pylist(), strict=True))
    with pytest.raises(InputError, match="each centroid is of one value"):
        apply(assign_clusters, table, AssignClusters(), centroids=made)
    with pytest.raises(InputError, match="but the centroids are of all"):
        apply(assign_clusters, table, AssignClusters(by="source"), centroids=fitted(table, FitClusters(clusters=2)))


@pytest.mark.parametrize("seed", range(4))
def test_a_small_source_has_a_sample_however_small_the_share(seed):
    table = sourced(np.random.default_rng(seed), {"web": 600, "tiny": 3, "one": 1})
    p = FitClusters(rows_per_cluster=300, per_cluster=20, by="source")
    made = fitted(table, p)
    assert {name: (made.quality[name]["rows"], end - first) for name, (first, end) in made.ranges.items()} == {
        "web": (600, 2), "tiny": (3, 1), "one": (1, 1),
    }  # fmt: skip
    assert made.quality["tiny"]["sampled"] == 3 and 20 <= made.quality["web"]["sampled"] < 90
    folds = [fit_clusters(p) for _ in range(4)]
    for i, fold in enumerate(folds):
        for start in range(i * 151, (i + 1) * 151, 10):
            fold.add(table.slice(start, min(10, (i + 1) * 151 - start)), 0)
    for fold in folds[1:]:
        folds[0].merge(fold)
    again = folds[0].finish()
    assert np.array_equal(again.matrix, made.matrix) and again.quality == made.quality


def test_quality_is_that_of_scikit_learn():
    from sklearn.metrics import silhouette_score

    table, _ = rows(600, 6)
    p = FitClusters(clusters=6)
    made = fitted(table, p)
    x = np.array(table["vector"].to_pylist())
    labels = (x @ made.matrix.T).argmax(1)
    told = measure_clusters(made, p)
    assert told["inertia per mille"] == round(1000 * ((x - made.matrix[labels]) ** 2).sum(1).mean())
    assert abs(told["silhouette per mille"] - 1000 * silhouette_score(x, labels, metric="cosine")) <= 1
    sizes = np.bincount(labels)
    assert (told["sampled in the smallest"], told["sampled in the largest"]) == (sizes.min(), sizes.max())
    assert (told["clusters"], told["rows"], told["sampled"]) == (6, 600, 600)


def test_two_ways_to_say_how_many_are_refused():
    with pytest.raises(ValidationError, match="clusters and rows_per_cluster both say how many"):
        FitClusters(clusters=3, rows_per_cluster=90)
    with pytest.raises(ValidationError, match="vectors names a column twice"):
        FitClusters(vectors=("vector", "vector"))
