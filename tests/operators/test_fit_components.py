import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.columns import content_ids
from operators.contract import ARTIFACTS, apply, ids, row_id
from operators.fit_components import Components, FitComponents, _floor, fit_components, measure_components
from operators.split_rows import SplitRows, _check, split_rows
from tests.operators.test_batch_stages import CLASS, CLASSES, IDS, PAGE, PAGES

ROW = st.tuples(st.integers(0, 5), st.lists(st.integers(0, 13), max_size=2), st.integers(0, 5))


def table_of(rows):
    """(query, positives, another passage) a row."""
    return pa.table({
        "query_id": content_ids([f"q{r[0]}.{i}" if r[0] else "q" for i, r in enumerate(rows)]),
        "positive_ids": pa.array([[IDS[n] for n in r[1]] for r in rows], ids), "passage_id": pa.array([IDS[r[2]] for r in rows], row_id),
    }).sort_by("query_id")  # fmt: skip


def joined(table, p, cut=0, **used):
    folds = [fit_components(p, **used) for _ in range(2)]
    for fold, part in zip(folds, (table.slice(0, cut), table.slice(cut)), strict=True):
        fold.add(part, 0)
    folds[0].merge(folds[1])
    return folds[0].finish()


def groups(rows, marks):
    """Which rows hang together, by asking again and again whether two share a mark."""
    label = list(range(len(rows)))
    moved = True
    while moved:
        moved = False
        for i in range(len(rows)):
            for j in range(len(rows)):
                if label[i] != label[j] and marks[i] & marks[j]:
                    label[i] = label[j] = min(label[i], label[j])
                    moved = True
    return label


@settings(max_examples=80, deadline=None)
@given(st.lists(ROW, max_size=14), st.booleans(), st.booleans(), st.integers(0, 14))
def test_nothing_that_hangs_together_is_split_and_nothing_else_is_joined(rows, near, paged, cut):
    table = table_of(rows)
    p = FitComponents(by=("positive_ids", "passage_id"), passages=("positive_ids", "passage_id"))
    used = {**({"classes": CLASSES} if near else {}), **({"documents": PAGES} if paged else {})}
    made = joined(table, p, min(cut, len(rows)), **used)
    marks = []
    for row in table.to_pylist():
        listed = [*row["positive_ids"], row["passage_id"]]
        marks.append({("q", row["query_id"]), *(("p", i) for i in listed)})
        marks[-1] |= {("c", CLASS[i]) for i in listed} if near else set()
        marks[-1] |= {("d", PAGE[i]) for i in listed} if paged else set()
    wanted = groups(table, marks)
    found = made.of(table["query_id"]).to_pylist()
    for i in range(len(rows)):
        for j in range(i):
            assert (found[i] == found[j]) == (wanted[i] == wanted[j])
    assert measure_components(made, p)["components"] == len(set(wanted))
    sides = apply(split_rows, table, SplitRows(key="query_id", shares={"a": 0.5, "b": 0.5}), components=made).table["split"].to_pylist()
    assert all(sides[i] == sides[j] for i in range(len(rows)) for j in range(i) if marks[i] & marks[j])


def test_near_duplicates_stand_on_one_side_whatever_the_seed():
    table = pa.table({"passage_id": pa.array(IDS, row_id)})
    for seed in range(20):
        side = apply(split_rows, table, SplitRows(shares={"a": 0.5, "b": 0.5}, seed=seed), classes=CLASSES).table["split"].to_pylist()
        assert side[0] == side[1] and side[2] == side[3]


def test_components_read_from_disk_are_the_same(tmp_path):
    made = joined(table_of([(1, [0], 3), (2, [0, 4], 5)]), FitComponents())
    made.save(tmp_path)
    keys = content_ids(["q1.0", "q2.1", "unknown"])
    assert Components.load(tmp_path).of(keys).equals(made.of(keys))
    assert made.of(keys)[2] == keys[2]
    assert len(np.unique(made.of(keys).to_pylist())) == 2


def test_a_component_of_nearly_all_rows_fails_the_step_and_what_does_nothing_is_refused():
    rows = [(i, [0], i) for i in range(1, 5)] + [(5, [9], 5)]
    p = FitComponents()
    told = _floor(measure_components(joined(table_of(rows), p), p), p)
    assert told is not None and told.startswith("4 of 5 ids hang together, more than max_share 0.5")
    assert _floor(measure_components(joined(table_of(rows), p), FitComponents(max_share=0.8)), FitComponents(max_share=0.8)) is None
    whole = measure_components(joined(table_of([(i, [0], i) for i in range(1, 4)]), p), p)
    told = _floor(whole, p)
    assert told is not None and told.startswith("3 of 3 ids hang together"), "all of it on one side is no split"
    assert _floor(whole, FitComponents(max_share=1)) is None
    assert _floor(measure_components(joined(table_of([(1, [0], 1)]), p), p), p) is None
    with pytest.raises(ValidationError, match="by names a column twice, or the key"):
        FitComponents(by=("query_id",), passages=())
    with pytest.raises(ValidationError, match="passages: doc_id is not among by"):
        FitComponents(passages=("doc_id",))
    with pytest.raises(ValidationError, match="keep: test is no side; shares names train, dev"):
        SplitRows(keep=("test",))
    assert "both say what stays together" in _check(SplitRows(), {ARTIFACTS: ["classes", "components"]})[0]


def test_a_passage_and_its_near_duplicate_join_rows_across_columns():
    p = FitComponents(by=("positive_ids", "passage_id"), passages=("positive_ids", "passage_id"))
    table = table_of([(1, [0], 5), (2, [], 1)])
    assert len(set(joined(table, p, classes=CLASSES).of(table["query_id"]).to_pylist())) == 1
    assert len(set(joined(table, p).of(table["query_id"]).to_pylist())) == 2
