"""A row's texts share an id that no other row has; the listed passages are those that the pairs name."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import columns
from operators.append_unique_ids import AppendUniqueIds, append_unique_ids, example
from operators.content import indexed
from operators.contract import apply, ids, text

OWN, TEXTS = indexed([f"text {i}" for i in range(6)])
LISTS = st.lists(st.integers(0, 5), max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(LISTS, LISTS), max_size=6), st.booleans())
def test_pairs_name_the_passages_that_are_listed_and_each_ends_in_its_rows_id(rows, negatives):
    queries = [f"q{i}" for i in range(len(rows))]
    table = pa.table({
        "query_id": columns.content_ids(queries, [""] * len(rows)), "query": pa.array(queries, text),
        "instruction": pa.array([""] * len(rows), text), "positive_ids": pa.array([[OWN[i] for i in a] for a, _ in rows], ids),
        "negative_ids": pa.array([[OWN[i] for i in b] for _, b in rows], ids),
    })  # fmt: skip
    pairs, passages = (
        apply(append_unique_ids, table, AppendUniqueIds(rows=kind, negatives=negatives), texts=TEXTS) for kind in ("pairs", "passages")
    )
    assert pairs.rejects["reason"].to_pylist() == ["no positive"] * sum(not a for a, _ in rows)
    said = {r["passage_id"]: r["passage"] for r in passages.table.to_pylist()}
    for one in pairs.table.to_pylist():
        a, b = rows[one["_row"]]
        mark = columns.content_id(f"q{one['_row']}", "").hex()[:12]
        assert one["query"] == f"q{one['_row']} {mark}" and one["query_id"] == columns.content_id(one["query"], "")
        assert [said[i] for i in one["positive_ids"]] == [f"{TEXTS.take(pa.array([OWN[i]], ids.value_type))[0]} {mark}" for i in a]
        if negatives:
            assert [said[i] for i in one["negative_ids"]] == [f"{TEXTS.take(pa.array([OWN[i]], ids.value_type))[0]} {mark}" for i in b]
        assert (one["passage_id"], one["passage"]) == (one["positive_ids"][0], said[one["positive_ids"][0]])
    assert len(passages.table) == sum(len(a) + (len(b) if negatives else 0) for a, b in rows if a)


def test_two_rows_never_share_a_passage():
    shown = example()
    made = apply(append_unique_ids, shown.table, AppendUniqueIds(rows="passages"), **shown.used).table
    assert len(set(made["passage_id"].to_pylist())) == len(made)
