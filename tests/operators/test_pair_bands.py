"""A small bucket gives all pairs, a large one a bounded number that hold it together; the cut and the order change nothing."""

from itertools import combinations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import ROW, Outcome, apply, numbered, row_id
from operators.pair_bands import PairBands, pair_bands

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 5), st.integers(0, 3)), max_size=60)


def name(number: int) -> bytes:
    return number.to_bytes(4, "big") * 4


def run(rows: list[tuple[int, int, int, int]], p: PairBands) -> Outcome:
    """Of (band, id, length, order); the length is of the id, as one text has one."""
    table = pa.table({
        "band": pa.array([name(b) for b, *_ in rows], row_id), "passage_id": pa.array([name(i) for _, i, *_ in rows], row_id),
        "length": pa.array([i % 4 for _, i, _, _ in rows], pa.int32()), "order": pa.array([o << 32 | x for _, _, o, x in rows], pa.uint64()),
    })  # fmt: skip
    return apply(pair_bands, numbered(table).sort_by([("band", "ascending"), (ROW, "ascending")]), p)


def pairs_of(outcome: Outcome) -> list[tuple[bytes, bytes]]:
    return list(zip(outcome.table["id_a"].to_pylist(), outcome.table["id_b"].to_pylist(), strict=True))


@given(ROWS, st.integers(1, 40))
def test_pairs_are_of_one_bucket_each_once_and_hold_it_together(rows: list[tuple[int, int, int, int]], neighbours: int) -> None:
    outcome = run(rows, PairBands(neighbours=neighbours))
    found = pairs_of(outcome)
    assert all(a < b for a, b in found)
    buckets = [{name(i) for b, i, _, _ in rows if b == band} for band in range(4)]
    wanted = [pair for one in buckets for pair in combinations(sorted(one), 2)]
    if neighbours >= 15:  # of 31 ids at most
        assert sorted(found) == sorted(wanted)
    assert not set(found) - set(wanted)
    assert len(found) <= sum(len(one) * (neighbours + 2) if len(one) > 2 * neighbours + 1 else len(one) * (len(one) - 1) // 2 for one in buckets)
    for one in buckets:
        reached = {*sorted(one)[:1]}
        for _ in one:
            reached |= {x for pair in found if reached & {*pair} and {*pair} <= one for x in pair}
        assert reached == one
    single = sum(len(one) == 1 for one in buckets)
    assert outcome.rejects["reason"].to_pylist().count("alone in its bucket") == single
    assert outcome.rejects["reason"].to_pylist().count("its id is in the bucket already") == len(rows) - sum(map(len, buckets))


def test_a_text_of_a_large_bucket_meets_those_that_share_its_order_and_the_longest():
    rows = [(0, i, i % 7, 0) for i in range(100)]
    found = set(pairs_of(run(rows, PairBands(neighbours=2))))
    longest = name(3)  # lengths are id mod 4
    assert {pair for pair in found if longest in pair} >= {tuple(sorted((longest, name(i)))) for i in range(100) if i != 3}
    inside = [len([1 for a, b in found if (a[3] - b[3]) % 7 == 0 and i in (a[3], b[3])]) for i in range(100) if i != 3]
    assert min(inside) >= 3


def test_a_bucket_of_boilerplate_costs_no_square():
    rng = np.random.default_rng(0)
    rows = [(0, int(i), int(o), 0) for i, o in zip(rng.permutation(3_000), rng.integers(0, 1000, 3_000), strict=True)]
    assert len(run(rows, PairBands()).table) <= 3_000 * 18


def test_a_pair_has_one_id_whatever_the_band_and_lies_where_its_first_text_does():
    table = run([(b, i, b, i) for b in range(3) for i in (5, 6, 9)], PairBands()).table
    found: dict[tuple[bytes, bytes], set[bytes]] = {}
    for row in table.to_pylist():
        found.setdefault((row["id_a"], row["id_b"]), set()).add(row["pair_id"])
    assert [len(one) for one in found.values()] == [1, 1, 1]
    assert len({x for one in found.values() for x in one}) == 3
    assert all(next(iter(one))[:8] == a[:8] for (a, _), one in found.items())


def test_the_larger_a_bucket_the_fewer_pairs_a_text_down_to_four():
    for size, most in ((1_024, 18), (4_096, 6), (20_000, 4)):
        found = len(run([(0, i, i % 97, 0) for i in range(size)], PairBands()).table)
        assert 0.9 * most * size < found <= most * size
