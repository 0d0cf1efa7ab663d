import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.assign_clusters import AssignClusters, assign_clusters
from operators.centroids import Centroids
from operators.contract import InputError, apply, vector


def table(rows):
    return pa.table({"vector": pa.array(list(rows), vector)})


def clusters(rows, matrix):
    return apply(assign_clusters, table(rows), AssignClusters(), centroids=Centroids(matrix)).table["cluster"].to_pylist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(1, 9), st.booleans())
def test_it_is_the_nearest_by_exact_dot_product_and_of_equals_the_lowest(seed, count, many, twins):
    rng = np.random.default_rng(seed)
    rows, matrix = rng.normal(size=(count, 13)).astype(np.float32), rng.normal(size=(many, 13)).astype(np.float32)
    if twins:
        matrix = np.concatenate([matrix, matrix[rng.permutation(many)]])
    exact = [[math.fsum(float(a) * float(b) for a, b in zip(r, c, strict=True)) for c in matrix] for r in rows]
    assert clusters(rows, matrix) == [max(range(len(s)), key=lambda j: (s[j], -j)) for s in exact]


@pytest.mark.parametrize(("count", "many", "width"), [(1, 67, 384), (2, 37, 67), (2, 9, 384), (700, 37, 67)])
def test_twin_centroids_are_told_apart_by_number_in_any_batch(count, many, width):
    rng = np.random.default_rng(5)
    rows, one = rng.normal(size=(count, width)).astype(np.float32), rng.normal(size=(1, width)).astype(np.float32)
    matrix = np.concatenate([one] * many)  # BLAS sums the columns of few rows in unlike order
    assert set(clusters(rows, matrix)) == {0}


def test_vectors_of_another_encoder_are_refused():
    with pytest.raises(InputError, match="vectors have 3 dimensions, centroids 2; fit the centroids"):
        clusters(np.ones((1, 3), np.float32), np.eye(2, dtype=np.float32))
