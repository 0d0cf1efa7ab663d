import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.assign_batches import AssignBatches, assign_batches
from operators.batches import Batches
from operators.columns import content_ids, id_pairs
from operators.contract import apply

QUERIES = content_ids([f"q{i}" for i in range(30)])


def made(chosen):
    """Batches of two over the queries ``chosen``, in that order."""
    keys = id_pairs(QUERIES.take(pa.array(chosen, pa.int64())))
    order = np.lexsort((keys["lo"], keys["hi"]))
    place = np.arange(len(chosen), dtype=np.int64)
    return Batches(keys[order], (place // 2)[order], place[order])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 29), unique=True), st.lists(st.integers(0, 29), max_size=40))
def test_a_row_gets_its_own_place_or_is_a_counted_reject(chosen, asked):
    table = pa.table({"query_id": QUERIES.take(pa.array(asked, pa.int64()))})
    outcome = apply(assign_batches, table, AssignBatches(), batches=made(chosen))
    place = {QUERIES[c].as_py(): i for i, c in enumerate(chosen)}
    for row in outcome.table.to_pylist():
        assert row["position"] == place[row["query_id"]]
        assert row["batch"] == place[row["query_id"]] // 2
    left_out = [i for i, a in enumerate(asked) if a not in chosen]
    assert outcome.rejects["_row"].to_pylist() == left_out
    assert set(outcome.rejects["reason"].to_pylist()) <= {"remainder: it filled no batch, or is in no stage"}


def test_batches_read_from_disk_place_rows_alike(tmp_path):
    batches = made([4, 2, 9])
    batches.save(tmp_path)
    table, read = pa.table({"query_id": QUERIES.slice(0, 10)}), Batches.load(tmp_path)
    before, after = (apply(assign_batches, table, AssignBatches(), batches=b).table for b in (batches, read))
    assert before.equals(after)
    assert (len(read), read.count) == (3, 2)


def test_no_batches_at_all_reject_every_row():
    outcome = apply(assign_batches, pa.table({"query_id": QUERIES}), AssignBatches(), batches=made([]))
    assert (len(outcome.table), len(outcome.rejects)) == (0, 30)
