"""Spilled rows come back by id, rows of one id as they arrived, whatever the lots; and no file stays open meanwhile."""

import os

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import spill
from operators.contract import row_id
from operators.spill import Spill


def table(rows: list[tuple[int, int]]) -> pa.Table:
    ids = pa.array([bytes([a]) * 16 for a, _ in rows], row_id)
    return pa.table({"id": ids, "value": pa.array([b for _, b in rows], pa.int64())})


@given(st.lists(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 9)), max_size=20), max_size=6), st.sampled_from([1, 200, 1 << 20]))
def test_rows_come_back_by_id_in_the_order_of_their_arrival(parts: list[list[tuple[int, int]]], held: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "_HELD", held)
        told = Spill("id")
        for rows in parts:
            told.add(table(rows))
        found = [(r["id"][0], r["value"]) for one in told.tables() for r in one.to_pylist()]
    assert found == sorted((row for rows in parts for row in rows), key=lambda row: row[0])


def test_no_file_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_HELD", 1)
    told, before = Spill("id"), len(os.listdir("/proc/self/fd"))
    told.add(table([(i, i) for i in range(256)]))
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert sum(map(len, told.tables())) == 256
