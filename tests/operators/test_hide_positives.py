"""One positive stays, whatever their order; none is lost."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators import columns
from operators.contract import apply, ids
from operators.hide_positives import HidePositives, hide_positives


def table_of(rows):
    given_ids = [[bytes([n]) * 16 for n in row] for row in rows]
    return pa.table({"query_id": columns.content_ids(map(str, range(len(rows)))), "positive_ids": pa.array(given_ids, ids)})


@given(st.lists(st.lists(st.integers(0, 9), unique=True, max_size=5), max_size=6), st.integers(0, 3))
def test_one_stays_and_the_others_are_hidden(rows, seed):
    outcome = apply(hide_positives, table_of(rows), HidePositives(seed=seed))
    turned = apply(hide_positives, table_of([row[::-1] for row in rows]), HidePositives(seed=seed))
    assert outcome.table.equals(turned.table)
    assert outcome.table["_row"].to_pylist() == [i for i, row in enumerate(rows) if len(row) > 1]
    assert outcome.rejects["_row"].to_pylist() == [i for i, row in enumerate(rows) if len(row) < 2]
    for at, stays, hidden in zip(*(outcome.table[c].to_pylist() for c in ("_row", "positive_ids", "hidden_ids")), strict=True):
        assert len(stays) == 1
        assert sorted(one[0] for one in stays + hidden) == sorted(rows[at])


def test_which_one_stays_is_a_draw():
    rows = [list(range(4))] * 200
    outcome = apply(hide_positives, table_of(rows), HidePositives())
    found = [row[0][0] for row in outcome.table["positive_ids"].to_pylist()]
    assert all(30 < found.count(n) < 70 for n in range(4))
    assert outcome.table["positive_ids"].to_pylist() != apply(hide_positives, table_of(rows), HidePositives(seed=1)).table[
        "positive_ids"
    ].to_pylist()
