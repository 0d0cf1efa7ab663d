"""The user's ids lead to ours, whatever the cut."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.contract import row_id, text
from operators.index_ids import IdMap, IdsFold, IndexIds, example, index_ids

NAME = st.sampled_from(["", "d1", "d2", "ü", "日本"])


def table_of(rows: list[tuple[str, int]]) -> pa.Table:
    return pa.table(
        {
            "source_id": pa.array([a for a, _ in rows], text),
            "passage_id": pa.array([bytes([b]) * 16 for _, b in rows], row_id),
            "start": pa.array([-b for _, b in rows], pa.int32()),
        }
    )


def fold(table: pa.Table, p: IndexIds) -> IdsFold:
    under_way: IdsFold = index_ids(p)
    under_way.add(table, 0)
    return under_way


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NAME, st.integers(0, 9)), max_size=15), st.integers(0, 15))
def test_every_id_of_a_name_is_found_in_the_order_asked_for(rows: list[tuple[str, int]], at: int) -> None:
    p = IndexIds(order_by="start")
    made = fold(table_of(rows[:at]), p)
    made.merge(fold(table_of(rows[at:]), p))
    names = ["d2", "none", "ü", "", "d2"]
    offsets, found = made.finish().find(names)
    got = [[one[0] for one in found[a:b].to_pylist()] for a, b in pairwise(offsets)]
    assert got == [sorted({i for n, i in rows if n == name}, reverse=True) for name in names]


def test_what_is_saved_is_what_is_loaded_and_no_cut_shows(tmp_path: Path) -> None:
    shown = example()
    assert isinstance(shown.params, IndexIds)
    halves = fold(shown.table.slice(0, 1), shown.params)
    halves.merge(fold(shown.table.slice(1), shown.params))
    for name, one in (("a", halves), ("b", fold(shown.table, shown.params))):
        (tmp_path / name).mkdir()
        one.finish().save(tmp_path / name)
    assert all((tmp_path / "b" / f.name).read_bytes() == f.read_bytes() for f in (tmp_path / "a").iterdir())
    loaded = IdMap.load(tmp_path / "a")
    assert loaded.carried(["q3", "q9", "q1"])["query"].to_pylist() == ["what is elm?", "what is oak?"]
    assert np.array_equal(loaded.find(["q3", "q9", "q1"])[0], [0, 1, 1, 2])


def test_nothing_gives_an_empty_map(tmp_path: Path) -> None:
    index_ids(IndexIds(carry=("query",))).finish().save(tmp_path)
    loaded = IdMap.load(tmp_path)
    assert len(loaded) == 0
    assert loaded.carries == ["query"]
    offsets, found = loaded.find(["d1"])
    assert offsets.tolist() == [0, 0]
    assert len(found) == 0
    assert len(loaded.carried(["d1"])) == 0


def test_carrying_a_column_twice_is_refused() -> None:
    with pytest.raises(ValidationError):
        IndexIds(carry=("query", "query"))
