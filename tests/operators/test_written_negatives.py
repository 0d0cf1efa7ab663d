"""Written negatives: one row a query, flaws beside their passages, copies of a positive out."""

import pyarrow as pa

from operators.columns import content_id
from operators.contract import apply
from operators.written_negatives import AGAIN, COPY, MERGED, example, written_negatives


def test_candidates_and_their_flaws_are_gathered_by_query() -> None:
    case = example()
    outcome = apply(written_negatives, case.table, case.params)
    row = outcome.table.to_pylist()[0]
    expected = dict(
        sorted({content_id("", "Iron never rusts."): "negation", content_id("", "Copper rusts in rain."): "wrong entity"}.items())
    )
    assert len(outcome.table) == 1
    assert dict(zip(row["candidate_ids"], row["failure_modes"], strict=True)) == expected
    assert row["candidate_ids"] == list(expected)
    assert sorted(outcome.rejects["reason"].to_pylist()) == sorted([COPY, AGAIN, MERGED])
    assert not {"passage", "passage_id"} & set(outcome.table.column_names)


def test_the_order_of_rows_changes_nothing() -> None:
    case = example()
    turned = case.table.take(pa.array([3, 2, 1, 0])).sort_by("query_id")
    one, other = (apply(written_negatives, t, case.params).table.drop_columns(["_row"]) for t in (case.table, turned))
    assert one.equals(other)
