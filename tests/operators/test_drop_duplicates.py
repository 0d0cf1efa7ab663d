"""One row of each id stays: the first by source and source_id."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.columns import content_ids
from operators.contract import Outcome, apply, row_id, text
from operators.drop_duplicates import DropDuplicates, drop_duplicates, example


def run(rows: list[tuple[int, str, str]], p: DropDuplicates) -> Outcome:
    table = pa.table(
        {
            p.key: pa.array([bytes([a]) * 16 for a, *_ in rows], row_id),
            "source": pa.array([s for _, s, _ in rows], text),
            "source_id": pa.array([i for *_, i in rows], text),
        }
    )
    return apply(drop_duplicates, table.sort_by(p.key), p)


NAME = st.sampled_from(["", "a", "b", "ü"])


@given(st.lists(st.tuples(st.integers(0, 3), NAME, NAME), max_size=20))
def test_the_first_row_of_each_id_stays_and_the_others_name_it(rows: list[tuple[int, str, str]]) -> None:
    outcome = run(rows, DropDuplicates())
    kept = {one["doc_id"][0]: (one["source"], one["source_id"]) for one in outcome.table.to_pylist()}
    assert kept == {key: min((s, i) for k, s, i in rows if k == key) for key in {k for k, *_ in rows}}
    assert outcome.table["doc_id"].to_pylist() == sorted(outcome.table["doc_id"].to_pylist())
    ranked = sorted(rows, key=lambda one: one[0])
    for reject in outcome.rejects.to_pylist():
        assert reject["reason"] == "duplicate"
        assert reject["value"] == kept[ranked[reject["_row"]][0]][1]


def test_without_an_order_the_first_of_the_input_stays_and_is_named_by_its_id() -> None:
    outcome = run([(1, "z", "9"), (1, "a", "1")], DropDuplicates(key="passage_id"))
    assert outcome.table["source_id"].to_pylist() == ["9"]
    assert outcome.rejects["value"].to_pylist() == ["01" * 16]


def test_texts_that_differ_in_white_space_alone_are_one() -> None:
    shown = example()
    assert len(apply(drop_duplicates, shown.table, shown.params).rejects) == 1


def test_of_several_judgements_the_highest_stays_and_of_two_ids_both_must_be_equal():
    ids = content_ids(["a", "b", "c"]).to_pylist()
    rows = pa.table({
        "pair_id": pa.array([ids[0]] * 3 + [ids[1]], row_id), "passage_id": pa.array([ids[1], ids[2], ids[1], ids[1]], row_id),
        "relevance": pa.array([1, 3, 2, -1], pa.int32()),
    }).sort_by("pair_id")  # fmt: skip
    kept = apply(drop_duplicates, rows, DropDuplicates(key="pair_id", highest="relevance")).table
    assert sorted(kept["relevance"].to_pylist()) == [-1, 3]
    kept = apply(drop_duplicates, rows, DropDuplicates(key="pair_id", within="passage_id", highest="relevance")).table
    assert sorted(kept["relevance"].to_pylist()) == [-1, 2, 3]
    for faulty in ({"key": "passage_id", "within": "passage_id"}, {"highest": "relevance", "order_by": ("source",)}):
        with pytest.raises(ValidationError):
            DropDuplicates(**faulty)
