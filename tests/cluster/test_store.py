"""What is written is what is read, whatever its columns; a file's digest is of its bytes."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.store import LONG, Store

KINDS = {
    "passage_id": pa.binary(16), "query": pa.string(), "batch": pa.int64(), "candidate_ids": pa.list_(pa.binary(16)),
    "scores": pa.list_(pa.float32()), "vector": pa.list_(pa.float32()), "weight": pa.float32(),
}  # fmt: skip


def table(rows: int, names: list[str], size: int) -> pa.Table:
    """Columns of every kind that a step writes; vectors of ``size`` numbers."""
    rng = np.random.default_rng(rows)
    value = {
        "passage_id": lambda: rng.bytes(16), "query": lambda: "owls " * int(rng.integers(3)), "batch": lambda: int(rng.integers(9)),
        "candidate_ids": lambda: [rng.bytes(16) for _ in range(rng.integers(4))], "weight": lambda: float(rng.normal()),
        "scores": lambda: [None, 0.5][: rng.integers(3)], "vector": lambda: rng.normal(size=size).astype("f4").tolist(),
    }  # fmt: skip
    return pa.table({name: pa.array([value[name]() for _ in range(rows)], KINDS[name]) for name in names})


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=3), st.lists(st.sampled_from(sorted(KINDS)), min_size=1, unique=True),
    st.sampled_from([3, LONG, 100]), st.booleans(),
)  # fmt: skip
def test_a_table_is_read_as_it_was_written(tmp_path_factory, rows, names, size, told):
    store, tables = Store(str(tmp_path_factory.mktemp("store"))), [table(n, names, size) for n in rows]
    digest, count = store.write_table("a/b.parquet", iter(tables), tables[0].schema if told else None)
    assert count == sum(rows)
    assert store.read_table("a/b.parquet").equals(pa.concat_tables(tables))
    assert digest == store.digest("a/b.parquet") == hashlib.sha256((store.local / "a/b.parquet").read_bytes()).hexdigest()


def test_numbers_of_vectors_are_split_by_their_bytes_and_nothing_else_is(tmp_path):
    store = Store(str(tmp_path))
    store.write_table("a.parquet", [table(4, sorted(KINDS), LONG)])
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0)
    split = [c.path_in_schema for c in map(group.column, range(group.num_columns)) if "BYTE_STREAM_SPLIT" in c.encodings]
    assert split == ["vector.list.element"]


def test_a_long_manifest_is_a_line_a_part_and_reads_as_any_other(tmp_path):
    store = Store(str(tmp_path))
    value = {"parts": [{"part": str(i), "rows": i, "file": "ä"} for i in range(2000)], "a": {"b": [1, "x"]}, "none": [], "z": None}
    store.write_json("m.json", value)
    assert store.read_json("m.json") == value
    assert len(store.read_text("m.json").splitlines()) == 2000 + 7
    store.write_json("n.json", dict(reversed(value.items())))
    assert store.read("m.json") == store.read("n.json")
