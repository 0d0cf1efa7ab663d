"""Rows are taken over from every set of a recipe that is whole, each key from the newest that knows it."""

import json
import shutil

import pyarrow as pa
import pytest

from cluster.recipes import MOST
from cluster.store import Store
from cluster.task import StepFailed, manifest_of
from tests.flows.test_run import FLOW, go, table, write

TWO = """
flow: two
steps:
  a:  {op: "tests.toy_ops:count_docs", with: {path: none, rows: 60}}
  b:  {op: read_corpus, with: {path: b.jsonl, source: b}}
  la: {op: "tests.toy_ops:shout", from: a, max_rejected: 1, with: {times: 2, reject_ending: 7 of words}}
  lb: {op: "tests.toy_ops:shout", from: b, max_rejected: 1, with: {times: 2, reject_ending: 7 of words}}
"""


def corpus(tmp_path, said):
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": s}) + "\n" for s in said))


def reused(ran):
    return {f["step"]: f["reused"] for f in ran.funnel if not f["stored"]}


def test_two_corpora_of_one_recipe_each_find_their_rows_again(tmp_path):
    corpus(tmp_path, [f"another number {i}" for i in range(40)])
    path, store = write(tmp_path, TWO), Store(str(tmp_path / "s"))
    go(path, store)
    corpus(tmp_path, [f"another number {i}" for i in range(41)])
    assert reused(go(path, store, changes=["a.rows=61"]))["lb"] == 40
    assert reused(go(path, store, changes=["a.rows=62"])) == {"a": 0, "la": 61}
    assert len(store.names("recipes")) == 1


def test_a_sample_in_between_and_another_flow_cost_no_row(tmp_path):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    go(path, store, until="loud")
    go(path, store, until="loud", changes=["docs.rows=20"])
    go(path, store, sample=5, until="loud")
    go(write(tmp_path, FLOW.replace("flow: toy", "flow: other").replace("rows: 200", "rows: 30")), store, until="loud")
    grown = ["docs.rows=210"]
    assert reused(go(write(tmp_path), store, until="loud", changes=grown)) == {"docs": 0, "loud": 200}
    fresh = Store(str(tmp_path / "fresh"))
    go(path, fresh, until="loud", changes=grown)
    assert table(path, store, "loud", grown).equals(table(path, fresh, "loud", grown))


def test_a_set_that_was_removed_or_lost_its_files_is_no_error(tmp_path):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    homes = [go(path, store, until="loud", changes=[f"docs.rows={n}"]).funnel[1]["home"] for n in (60, 80, 100)]
    shutil.rmtree(tmp_path / "s" / homes[2])
    shutil.rmtree(tmp_path / "s" / homes[1] / "parts")
    store.write(f"recipes/{store.names('recipes')[0]}/99-torn.json", b'{"ho')
    assert reused(go(path, store, until="loud", changes=["docs.rows=120"]))["loud"] >= 60


def test_only_the_newest_sets_are_remembered(tmp_path):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    homes = [go(path, store, 0, 1, until="loud", changes=[f"docs.rows={n}"]).funnel[1]["home"] for n in range(30, 32 + MOST)]
    folder = f"recipes/{store.names('recipes')[0]}"
    assert [store.read_json(f"{folder}/{n}")["home"] for n in store.names(folder)] == homes[-MOST:]


def test_equal_rows_are_taken_over_as_often_as_they_stand_there(tmp_path):
    said = [f"word {i % 10} of words" for i in range(40)]
    corpus(tmp_path, said)
    path, store, fresh = write(tmp_path, TWO), Store(str(tmp_path / "s")), Store(str(tmp_path / "fresh"))
    go(path, store)
    corpus(tmp_path, [*said, "one more"])
    assert reused(go(path, store))["lb"] == 40
    go(path, fresh)
    assert len(table(path, store, "lb")) == 2 * 37
    assert table(path, store, "lb").equals(table(path, fresh, "lb"))


def test_what_is_taken_over_is_accounted_for(tmp_path):
    corpus(tmp_path, [f"document {i}" for i in range(9)])
    path = write(tmp_path, """
flow: filled
steps:
  b: {op: read_corpus, with: {path: b.jsonl, source: b}}
  f: {op: fill_texts, from: b, with: {texts: {title: "Of {text}"}, identify: {}}}
""")
    store = Store(str(tmp_path / "s"))
    part = manifest_of(store, go(path, store, 0, 1).funnel[1]["home"])["parts"][0]
    rows = store.read_table(part["file"])
    twice = [rows.set_column(rows.column_names.index("_ord"), "_ord", pa.array([i] * 9, pa.int32())) for i in (0, 1)]
    store.write_table(part["file"], [pa.concat_tables(twice)])  # as if other code of the same version had made it
    corpus(tmp_path, [f"document {i}" for i in range(10)])
    with pytest.raises(StepFailed, match="fill_texts: a row came out more than once, declared the same"):
        go(path, store, 0, 1)


def test_a_map_that_reads_nothing_keeps_all_its_rows(tmp_path):
    steps = FLOW.split("  loud:")[0] + '  marked: {op: "tests.toy_ops:stamp", from: docs}\n'
    path, store = write(tmp_path, steps), Store(str(tmp_path / "s"))
    assert go(path, store).funnel[-1]["rows_out"] == 200
    assert go(path, store, changes=["docs.rows=203"]).funnel[-1]["rows_out"] == 203
    assert table(path, store, "marked", ["docs.rows=203"])["stamp"].to_pylist() == ["seen"] * 203
