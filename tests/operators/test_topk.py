import math
import struct

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import topk
from operators.columns import one_array
from operators.contract import ROW, row_id

NAMES = ("ids", "scores")
FOUND = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.sampled_from([0.25, 0.5, 0.5, 0.75])), max_size=40)


def name(number):
    return bytes([255 - number]) + bytes(14) + bytes([number])


def part(found, k, rows=4):
    row, number, score = (np.array([f[i] for f in found]) for i in range(3))
    ids = pa.array([name(int(n)) for n in number], row_id)
    labels = pa.array(range(rows), pa.int32())
    return topk.partial(NAMES, labels, row.astype(np.int64), score.astype(np.float32), ids, k)


def naive(found, k, rows=4):
    best = {}
    for row, number, score in found:
        best[row, name(number)] = max(score, best.get((row, name(number)), -math.inf))
    every = [[(i, s) for (r, i), s in best.items() if r == row] for row in range(rows)]
    return [sorted(one, key=lambda pair: (-pair[1], pair[0]))[:k] for one in every]


def pairs(table):
    both = zip(table["ids"].to_pylist(), table["scores"].to_pylist(), strict=True)
    return [list(zip(i, s, strict=True)) for i, s in both]


@settings(deadline=None)
@given(FOUND, st.integers(1, 6))
def test_order_is_by_score_then_id_and_an_id_met_twice_counts_once(found, k):
    assert pairs(part(found, k)) == naive(found, k)


@settings(deadline=None)
@given(st.lists(FOUND, min_size=1, max_size=4), st.integers(1, 6), st.randoms())
def test_merging_in_any_order_and_any_nesting_is_the_top_of_everything(parts, k, random):
    whole = pairs(part([f for one in parts for f in one], k))
    tables = [part(one, k) for one in parts]
    random.shuffle(tables)
    cut = random.randint(0, len(tables))
    nested = [topk.merge(NAMES, half, k) for half in (tables[:cut], tables[cut:]) if half]
    assert pairs(topk.merge(NAMES, nested, k)) == whole


def test_rows_met_in_one_partial_only_keep_their_number():
    later = part([(0, 1, 0.5)], 3, rows=1).set_column(0, ROW, pa.array([7], pa.int32()))
    merged = topk.merge(NAMES, [later, part([(0, 2, 0.5)], 3, rows=1)], 3)
    assert merged[ROW].to_pylist() == [0, 7]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 9))
def test_a_dot_product_hangs_on_its_two_vectors_alone(seed, width, count):
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=width).astype(np.float32), rng.normal(size=(count, width)).astype(np.float32)
    together = topk.dots(left, right)
    alone = np.array([topk.dots(left[None, :], right[i : i + 1])[0] for i in range(count)])
    strided = topk.dots(left, np.asfortranarray(right))
    assert together.tobytes() == alone.tobytes() == strided.tobytes()
    exact = [math.fsum(float(a) * float(b) for a, b in zip(left, row, strict=True)) for row in right]
    assert np.allclose(together, exact, rtol=0, atol=1e-12)
    assert struct.pack("d", topk.dots(right[0], left)) == struct.pack("d", together[0])


def test_columns_of_many_chunks_and_of_none_become_one_array():
    chunked = pa.chunked_array([[name(1)], [name(2), name(3)]], row_id)
    assert one_array(chunked).equals(pa.array([name(1), name(2), name(3)], row_id))
    assert one_array(pa.chunked_array([], row_id)).equals(pa.array([], row_id))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from([1e-20, 1.0, 1e8]), st.booleans())
def test_the_fast_products_are_the_fixed_ones_to_the_bit(seed, size, scale, coarse):
    """Also where a sum lies between two numbers of float32, and small terms, which one order loses, settle it."""
    rng = np.random.default_rng(seed)
    q, p = (rng.normal(size=(n, size)).astype(np.float32) * np.float32(scale) for n in (3, 200))
    if coarse:
        q, p = np.ones((3, size), np.float32), rng.choice([2.0**-30, -(2.0**-30), 2.0**-31], (200, size)).astype(np.float32)
        p[:, rng.integers(size)], p[:, rng.integers(size)] = 1, 2.0**24
    rows, places = (x.reshape(-1) for x in np.indices((3, 200)))
    found = topk.exact(q, p, rows, places)
    assert found.tobytes() == topk.dots(q[rows], p[places]).astype(np.float32).tobytes()
