"""Every passage leads to its documents, each once, whatever the cut; a query's own document is known."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import columns
from operators.contract import ids, row_id, text
from operators.index_documents import Documents, DocumentsFold, IndexDocuments, index_documents

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(10, 16)), max_size=20)  # no document is a passage


def of(numbers):
    return pa.array([bytes([n]) * 16 for n in numbers], row_id)


def fold_of(passages, documents, titles=None, texts=None) -> DocumentsFold:
    """A fold of rows that say in which document a passage stands: their ids as bytes."""
    blank = [""] * len(passages)
    made = index_documents(IndexDocuments())
    made.add(pa.table({
        "passage_id": pa.array(passages, row_id), "doc_id": pa.array(documents, row_id),
        "title": pa.array(titles or blank, text), "passage": pa.array(texts or blank, text),
    }), 0)  # fmt: skip
    return made


def fold(rows) -> DocumentsFold:
    return fold_of([bytes([p]) * 16 for p, _ in rows], [bytes([d]) * 16 for _, d in rows])


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 20))
def test_every_document_of_a_passage_is_found_once(rows, cut):
    made = fold(rows[:cut])
    made.merge(fold(rows[cut:]))
    asked = [3, 9, 0, 6, 3]
    offsets, found = made.finish().of(of(asked))
    got = [[one[0] for one in found[a:b].to_pylist()] for a, b in pairwise(offsets)]
    assert got == [sorted({d for p, d in rows if p == one}) for one in asked]


@settings(max_examples=60, deadline=None)
@given(ROWS, st.lists(st.lists(st.integers(0, 7), max_size=3), max_size=4), st.lists(st.lists(st.integers(0, 7), max_size=3), max_size=4))
def test_a_passage_is_the_querys_own_where_a_positive_stands_in_its_document(rows, told, wanted):
    count = min(len(told), len(wanted))
    at = [(i, n) for i in range(count) for n in told[i]]
    positives = [(i, n) for i in range(count) for n in wanted[i]]
    got = fold(rows).finish().own(
        np.array([i for i, _ in at], int), of(n for _, n in at), np.array([i for i, _ in positives], int), of(n for _, n in positives)
    )  # fmt: skip
    home = {p: {d for q, d in rows if q == p} for p in range(8)}
    assert got.tolist() == [any(home[n] & home[m] for j, m in positives if j == i) for i, n in at]


def test_what_is_saved_is_what_is_loaded_and_the_hash_tells_the_documents(tmp_path):
    made = fold([(1, 2), (1, 3), (4, 2), (5, 2)]).finish()
    made.save(tmp_path)
    loaded = Documents.load(tmp_path)
    told = pa.array([[b"\x01" * 16, b"\x04" * 16], [b"\x05" * 16, b"\x07" * 16]], ids).flatten()
    assert loaded.of(told)[1].equals(made.of(told)[1])
    one, two, three, none = (row.tobytes() for row in loaded.exact(told))
    assert one != two == three
    assert none == bytes(16)


def test_documents_of_few_are_found_without_reading_those_of_all(tmp_path):
    count = 400_000
    values = {"hi": np.arange(count, dtype="<u8"), "lo": np.zeros(count, "<u8"), "ends": np.arange(1, count + 1, dtype="<i8")}
    for name, value in {**values, "documents": np.zeros((count, 16), "u1")}.items():
        value.tofile(tmp_path / f"{name}.bin")
    documents, asked = Documents(tmp_path), pa.array([bytes(7) + b"\x05" + bytes(8), b"\xff" * 16, bytes(16)], row_id)
    tracemalloc.start()
    offsets, found = documents.of(asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (offsets.tolist(), len(found)) == ([0, 1, 1, 2], 2)
    assert peak < 1 << 20  # where all passages' ends were read, 6 MB here and 800 of 100 million


def test_a_positive_that_is_a_whole_document_or_has_no_title_knows_its_passages():
    words = ["It melts.", "It floats."]
    document, passages = columns.content_id("Ice", " ".join(words)), columns.content_ids(["Ice"] * 2, words)
    documents = fold_of(passages.to_pylist(), [document] * 2, ["Ice"] * 2, words).finish()
    for positive, known in ((document, True), (columns.content_id("", words[1]), True), (columns.content_id("", "It sinks."), False)):
        asked = pa.array([positive], row_id)
        assert documents.own(np.zeros(2, np.int64), passages, np.zeros(1, np.int64), asked).tolist() == [known] * 2
        documents.count_strays(asked)
    assert documents.counters == {"positives_without_document": 1}
