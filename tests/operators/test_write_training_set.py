import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import write_training_set as module
from operators.columns import content_ids
from operators.contract import InputError, apply, ids, row_id, scores, text
from operators.index_texts import IndexTexts, index_texts
from operators.write_training_set import TEXTS, WriteTrainingSet, write_training_set

PASSAGES = [f"passage {i} " + "é" * i for i in range(6)]
TITLES = ["Title" if i % 2 else "" for i in range(6)]
IDS = content_ids(TITLES, PASSAGES).to_pylist()
TEXT_OF = {i: f"{t}\n{p}" if t else p for i, t, p in zip(IDS, TITLES, PASSAGES, strict=True)}
ROW = st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.lists(st.integers(0, 5), max_size=4))


@pytest.fixture(scope="module")
def known():
    order = sorted(range(6), key=IDS.__getitem__)
    fold = index_texts(IndexTexts())
    columns = {"title": pa.array([TITLES[i] for i in order], text), "passage": pa.array([PASSAGES[i] for i in order], text)}
    fold.add(pa.table({"passage_id": pa.array([IDS[i] for i in order], row_id), **columns}), 0)
    return fold.finish()


def table(rows):
    n = len(rows)
    columns = {c: pa.array([f"{c}{i}" for i in range(n)], text) for c in TEXTS}
    columns["query_id"] = content_ids([f"q{i}" for i in range(n)])
    for name, at in (("positive", 0), ("negative", 1)):
        columns[f"{name}_ids"] = pa.array([[IDS[i] for i in r[at]] for r in rows], ids)
        columns[f"{name}_scores"] = pa.array([[i / 8 for i in r[at]] for r in rows], scores)
    numbers = {"cluster": pa.array([0] * n, pa.int32()), "batch": pa.array(range(n), pa.int64())}
    return pa.table({**columns, **numbers, "position": pa.array(range(n), pa.int64())})


@settings(max_examples=50, deadline=None)
@given(st.lists(ROW, max_size=12), st.sampled_from([1, 40, 1 << 28]))
def test_each_id_is_joined_by_its_text_whatever_a_chunk_holds(known, rows, characters):
    before, module.CHARACTERS = module.CHARACTERS, characters
    try:
        found = apply(write_training_set, table(rows), WriteTrainingSet(), texts=known).table
    finally:
        module.CHARACTERS = before
    assert found["positives"].to_pylist() == [[TEXT_OF[IDS[i]] for i in r[0]] for r in rows]
    assert found["negatives"].to_pylist() == [[TEXT_OF[IDS[i]] for i in r[1]] for r in rows]
    assert found.select(table(rows).column_names).equals(table(rows))
    if characters == 1 and len(rows) > 1:
        assert found["positives"].num_chunks == len(rows)


@pytest.mark.parametrize("negatives", [True, False])
@pytest.mark.parametrize("scored", [True, False])
def test_a_flow_without_negatives_or_a_teacher_needs_no_such_columns(known, negatives, scored):
    p = WriteTrainingSet(negatives=negatives, scores=scored)
    missing = ["negative_ids", "negative_scores"] if not negatives else []
    missing += [] if scored else ["positive_scores", "negative_scores"]
    rows = table([([0], [1, 2]), ([3], [])])
    found = apply(write_training_set, rows.drop_columns(sorted(set(missing))), p, texts=known).table
    assert not set(missing) & set(found.column_names)
    assert ("negatives" in found.column_names) == negatives


def test_only_what_it_declares_comes_out_in_the_order_that_a_reader_expects(known):
    rows = table([([0], [1])]).append_column("vector", pa.array([[1.0]]))
    found = apply(write_training_set, rows, WriteTrainingSet(), texts=known).table.drop_columns(["_row"])
    assert found.column_names == [*write_training_set.columns_written(WriteTrainingSet())]
    assert set(found.column_names) == {*table([([0], [1])]).column_names, "positives", "negatives"}


def test_an_id_without_a_text_is_an_error(known):
    rows = table([([0], [1])]).drop_columns(["positive_ids"]).append_column("positive_ids", pa.array([[b"x" * 16]], ids))
    with pytest.raises(KeyError, match="no text has the id 7878"):
        apply(write_training_set, rows, WriteTrainingSet(), texts=known)


def test_shards_are_cut_by_position():
    assert write_training_set.width(WriteTrainingSet(shard_rows=7)) == 7
    assert (write_training_set.key, write_training_set.publishes, write_training_set.closed) == ("position", True, True)


def test_masks_and_weights_are_carried_where_they_are_asked_for(known):
    given_table = table([([0], [1])]).append_column("masked_ids", pa.array([[IDS[2]]], ids)).append_column("weight", pa.array([0.5], pa.float32()))
    plain = apply(write_training_set, given_table, WriteTrainingSet(), texts=known).table.column_names
    assert not {"masked_ids", "weight"} & set(plain)
    out = apply(write_training_set, given_table, WriteTrainingSet(masks=True, weights=True), texts=known).table
    assert (out["masked_ids"].to_pylist(), out["weight"].to_pylist()) == ([[IDS[2]]], [0.5])
    assert out.column_names.index("masked_ids") == out.column_names.index("negative_ids") + 1


def test_a_shard_is_of_one_rank_or_says_whose_setting_differs(known):
    told = table([([0], [1])] * 4).append_column("stage", pa.array([0] * 4, pa.int32())).append_column("epoch", pa.array([0] * 4, pa.int32()))
    told = told.append_column("rank", pa.array([0, 0, 1, 1], pa.int32()))
    made = apply(write_training_set, told, WriteTrainingSet(schedule=True, shard_rows=2), texts=known).table
    assert made["rank"].to_pylist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match="shard_rows is 3, .* the same shard_rows"):
        apply(write_training_set, told, WriteTrainingSet(schedule=True, shard_rows=3), texts=known)
