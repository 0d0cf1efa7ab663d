"""Every text stands once among those of its label, in the order of ids, whatever the cut; one of several labels nowhere."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.contract import row_id, text
from operators.index_labels import IndexLabels, LabelIndex, LabelsFold, index_labels

ROWS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", "ç"])), max_size=25)


def of(numbers) -> pa.Array:
    return pa.array([bytes([n]) * 16 for n in numbers], row_id)


def fold(rows) -> LabelsFold:
    made = index_labels(IndexLabels())
    made.add(pa.table({"passage_id": of(n for n, _ in rows), "class_id": pa.array([c for _, c in rows], text)}), 0)
    return made


def classes(rows) -> dict[str, list[int]]:
    """The oracle."""
    has = {n: {c for m, c in rows if m == n} for n, _ in rows}
    found = {c: sorted(n for n, own in has.items() if own == {c}) for _, c in rows}
    return {c: found[c] for c in sorted(found) if found[c]}


@settings(max_examples=80, deadline=None)
@given(ROWS, st.integers(0, 25))
def test_the_texts_of_each_label_are_those_that_have_it_alone(rows, cut):
    made = fold(rows[:cut])
    made.merge(fold(rows[cut:]))
    index, want = made.finish(), classes(rows)
    assert index.labels == list(want)
    assert len(index) == sum(map(len, want.values()))
    begin, end = index.spans([*want, "unknown"])
    told = [[one[0] for one in index.ids(np.arange(a, b)).to_pylist()] for a, b in zip(begin, end, strict=True)]
    assert told == [*want.values(), []]
    places = index.places(of(n for n, _ in rows), [c for _, c in rows])
    order = [(n, c) for c, numbers in want.items() for n in numbers]
    assert places.tolist() == [order.index(one) if one in order else -1 for one in rows]


def test_what_is_saved_is_what_is_loaded(tmp_path):
    made = fold([(1, "a"), (2, "b"), (3, "a")]).finish()
    made.save(tmp_path)
    loaded = LabelIndex.load(tmp_path)
    assert loaded.labels == ["a", "b"]
    assert loaded.ids(np.arange(3)).equals(made.ids(np.arange(3)))
