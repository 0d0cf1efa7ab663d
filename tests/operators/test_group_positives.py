"""The rows of a query become one, with every positive once."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import apply, ids, row_id, scores
from operators.group_positives import GroupPositives, group_positives


def of(number: int) -> bytes:
    return bytes([number]) * 16


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 250), max_size=4)), max_size=12))
def test_every_positive_of_a_query_is_listed_once_in_the_order_of_ids(
    rows: list[tuple[int, list[int]]],
) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    table = pa.table(
        {
            "query_id": pa.array([of(q) for q, _ in rows], row_id),
            "positive_ids": pa.array([[of(i) for i in one] for _, one in rows], ids),
        }
    )
    outcome = apply(group_positives, table, GroupPositives())
    want = {q: sorted({i for k, one in rows for i in one if k == q}) for q, _ in rows}
    got = zip(outcome.table["query_id"].to_pylist(), outcome.table["positive_ids"].to_pylist(), strict=True)
    assert {q[0]: [i[0] for i in one] for q, one in got} == want
    firsts = [i for i, (q, _) in enumerate(rows) if i == 0 or rows[i - 1][0] != q]
    assert outcome.table["_row"].to_pylist() == firsts
    assert {r["value"] for r in outcome.rejects.to_pylist()} <= {of(q).hex() for q in want}


@pytest.mark.parametrize("passages", [[3, 1, 3], []])
def test_a_passage_a_row_becomes_a_list_and_misaligned_scores_end(passages: list[int]) -> None:
    table = pa.table(
        {
            "query_id": pa.array([of(7)] * len(passages), row_id),
            "passage_id": pa.array([of(i) for i in passages], row_id),
            "positive_scores": pa.array([[0.5]] * len(passages), scores),
        }
    )
    outcome = apply(group_positives, table, GroupPositives(positives="passage_id"))
    assert outcome.table["positive_ids"].to_pylist() == ([[of(1), of(3)]] if passages else [])
    assert "positive_scores" not in outcome.table.column_names
