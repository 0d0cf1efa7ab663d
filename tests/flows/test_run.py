"""The core: engines, store, resume, accounting, reuse, over toy operators of every shape."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench, StepFailed, manifest_of, parts_of
from flows.flow import load
from flows.plan import plan
from flows.run import run

FLOW = """
flow: toy
steps:
  docs:   {op: "tests.toy_ops:count_docs", with: {path: none, rows: 200}}
  loud:   {op: "tests.toy_ops:shout", from: docs, max_rejected: 1, with: {times: 2, reject_ending: 7 of words}}
  unique: {op: "tests.toy_ops:first_of_key", from: loud, max_rejected: 1}
  total:  {op: "tests.toy_ops:count_letters", from: unique}
  share:  {op: "tests.toy_ops:letter_share", from: unique, using: {total: total}}
  near:   {op: "tests.toy_ops:longest", from: share, against: docs}
"""


def write(tmp_path: Path, text: str = FLOW) -> Path:
    path = tmp_path / "flow.yaml"
    path.write_text(text)
    return path


def go(path: Path, store: Store, workers: int = 0, buckets: int = 4, changes=(), **more):
    engine = LocalEngine(workers)
    try:
        return run(load(path, changes), Bench(store, engine, buckets), **more)
    finally:
        engine.close()


def table(path: Path, store: Store, step: str, changes=()) -> pa.Table:
    home = next(p.task.home for p in plan(load(path, changes), store) if p.step.name == step)
    return pa.concat_tables([store.read_table(p["file"]) for p in parts_of(store, [home])])


def test_every_row_is_named_by_a_row_or_a_reject(tmp_path):
    ran = go(write(tmp_path), Store(str(tmp_path / "s")))
    funnel = {f["step"]: f for f in ran.funnel}
    assert funnel["docs"]["rows_out"] == 200
    assert funnel["loud"]["rejected"] == {"ends badly": 20}
    assert funnel["loud"]["rows_out"] == 360
    assert funnel["unique"]["rejected"] == {"duplicate": 180}
    assert funnel["near"]["rows_in"] == funnel["near"]["rows_out"] == 180


def test_a_second_run_does_nothing(tmp_path):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    assert go(path, store).made == 6
    assert go(path, store).made == 0


@pytest.mark.parametrize(("workers", "buckets"), [(0, 1), (2, 4), (3, 16)])
def test_workers_and_buckets_change_no_row(tmp_path, workers, buckets):
    path = write(tmp_path)
    one, other = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    go(path, one, 0, 4)
    go(path, other, workers, buckets)
    for step in ("loud", "share", "near"):
        assert table(path, one, step).equals(table(path, other, step))


def test_a_changed_input_computes_only_what_is_new(tmp_path):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    go(path, store)
    grown = ["steps.docs.with.rows=210"]
    ran = go(path, store, changes=grown)
    assert {f["step"]: f["reused"] for f in ran.funnel}["loud"] == 200
    fresh = Store(str(tmp_path / "fresh"))
    go(path, fresh, changes=grown)
    for step in ("loud", "share"):
        assert table(path, store, step, grown).equals(table(path, fresh, step, grown))


def test_reuse_holds_when_the_number_of_buckets_changes(tmp_path):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    go(path, store, buckets=4)
    ran = go(path, store, buckets=7, changes=["steps.docs.with.rows=201"])
    assert {f["step"]: f["reused"] for f in ran.funnel}["loud"] == 200


def test_a_part_that_kills_its_worker_is_named_after_three_attempts(tmp_path):
    text = FLOW.replace("times: 2", "kill_on: doc number 5 of words")
    store = Store(str(tmp_path / "s"))
    with pytest.raises(StepFailed, match=r"loud: part 0000\d-of-00004 \(\d+ rows\): its process died 3 times"):
        go(write(tmp_path, text), store, workers=2)  # a small step, too: the driver outlives it
    home = next(n for n in store.names("steps") if n.startswith("shout"))
    assert max(len(store.names(f"steps/{home}/attempts/{part}")) for part in store.names(f"steps/{home}/attempts")) == 3


def test_a_worker_that_dies_once_costs_one_attempt(tmp_path):
    text = FLOW.replace("times: 2", f"kill_on: doc number 5 of words, kill_flag: {tmp_path / 'flag'}, times: 2")
    path, store = write(tmp_path, text.replace("rows: 200", "rows: 4000")), Store(str(tmp_path / "s"))
    assert go(path, store, workers=2).made == 6


def test_an_exception_is_halved_down_to_its_row(tmp_path):
    import tests.toy_ops as toy
    from operators.contract import apply

    rows = pa.table({"text": ["a", "b explode", "c", "d"]})
    outcome = apply(toy.shout, rows, toy.Shout())
    assert outcome.table["shout"].to_pylist() == ["A 0", "C 0", "D 0"]
    assert outcome.rejects.to_pylist() == [{"_row": 1, "reason": "ValueError: it exploded", "value": ""}]


def test_too_many_rejects_fail_the_step_with_the_counts(tmp_path):
    text = FLOW.replace("from: docs, max_rejected: 1", "from: docs")
    with pytest.raises(StepFailed, match=r"loud: 20 of 200 rows were rejected \(20 ends badly\), more than max_rejected 0.01"):
        go(write(tmp_path, text), Store(str(tmp_path / "s")))


def test_a_step_resumes_at_the_missing_part(tmp_path):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    go(path, store)
    home = next(p.task.home for p in plan(load(path), store) if p.step.name == "loud")
    before = manifest_of(store, home)
    lost = before["parts"][1]
    store.remove(f"{home}/manifest.json")
    for name in store.names(f"{home}/commits"):
        if name.startswith(lost["part"]):
            store.remove(f"{home}/commits/{name}")
    go(path, store)
    after = manifest_of(store, home)
    assert [p["sha256"] for p in after["parts"]] == [p["sha256"] for p in before["parts"]]
    assert [p["file"] == q["file"] for p, q in zip(before["parts"], after["parts"], strict=True)] == [True, False, True, True]


def test_a_half_written_commit_record_counts_for_nothing(tmp_path):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    go(path, store, until="docs")
    home = next(p.task.home for p in plan(load(path), store) if p.step.name == "loud")
    store.write(f"{home}/commits/00000-of-00004.dead-0.json", b'{"part": "00000-of-0')
    assert go(path, store).made == 5


def test_a_sample_is_reused_by_the_full_run(tmp_path):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    sampled = go(path, store, sample=50)
    assert {f["step"]: f["rows_in"] for f in sampled.funnel}["loud"] == 50
    assert {f["step"]: f["reused"] for f in go(path, store).funnel}["loud"] == 50


def test_the_store_works_on_any_fsspec_file_system(tmp_path):
    path, store = write(tmp_path), Store("memory://pithead-test")
    assert go(path, store, until="share").made == 5
    assert json.loads(store.read(f"{next(p.task.home for p in plan(load(path), store))}/manifest.json"))["rows"] == 200


def test_a_long_file_is_read_in_lots_and_gives_the_same_parts(tmp_path, monkeypatch):
    from cluster import kinds

    (tmp_path / "docs.jsonl").write_text("".join(json.dumps({"text": f"document {i % 15_000}"}) + "\n" for i in range(20_000)))
    path = write(tmp_path, "flow: long\nsteps:\n  docs: {op: read_corpus, with: {path: docs.jsonl}}\n")
    parts = []
    for lot in (64 << 20, 1):
        monkeypatch.setattr(kinds, "LOT", lot)
        store = Store(str(tmp_path / f"s{lot}"))
        go(path, store)
        home = plan(load(path), store)[0].task.home
        parts.append([(p["part"], p["rows"], p["sha256"]) for p in parts_of(store, [home])])
    assert parts[0] == parts[1]
    assert sum(rows for _, rows, _ in parts[0]) == 20_000


def test_a_larger_corpus_is_cut_into_more_parts(tmp_path, monkeypatch):
    from flows import plan as planning

    (tmp_path / "docs.jsonl").write_text("".join(json.dumps({"text": f"document {i}"}) + "\n" for i in range(2_000)))
    path = write(tmp_path, "flow: long\nsteps:\n  docs: {op: read_corpus, with: {path: docs.jsonl}}\n")
    counts = {}
    for size in (planning.BUCKET, 1_000):
        monkeypatch.setattr(planning, "BUCKET", size)
        store = Store(str(tmp_path / f"s{size}"))
        go(path, store, buckets=0)
        counts[size] = len(parts_of(store, [plan(load(path), store)[0].task.home]))
    assert counts == {16 << 20: 8, 1_000: -(-(tmp_path / "docs.jsonl").stat().st_size // 1_000)}


def test_a_larger_dataset_is_cut_into_more_parts(tmp_path, monkeypatch):
    import datasets

    from flows import plan as planning

    datasets.Dataset.from_dict({"text": ["some words " * 20] * 100}).save_to_disk(tmp_path / "ds")
    path = write(tmp_path, "flow: long\nsteps:\n  docs: {op: read_corpus, with: {path: ds, format: datasets}}\n")
    monkeypatch.setattr(planning, "BUCKET", 1_000)
    assert 22 <= planning.buckets_for(plan(load(path), Store(str(tmp_path / "s")))) <= 24


SHARED = """
flow: shared
steps:
  a: {op: read_corpus, with: {path: a.jsonl, source: one}}
  b: {op: read_corpus, with: {path: b.jsonl, source: two}}
  p: {op: split_passages, from: [a, b], with: {min_words: 1}}
  u: {op: drop_duplicates, from: p, with: {key: passage_id}, max_rejected: 1}
  t: {op: structural_pairs, from: [a, b], max_rejected: 1}
  w: {op: drop_duplicates, from: [t, p], with: {key: passage_id}, max_rejected: 1}
"""


def test_rows_that_two_sources_share_do_not_depend_on_the_cut(tmp_path):
    docs = [f"title {i}\tsome  words of document {i} that are long enough to be a passage of their own" for i in range(300)]
    for name, gap, those in (("a", " ", docs), ("b", "  ", docs[::-1])):
        rows = [dict(zip(("title", "text"), d.replace("  ", gap).split("\t"), strict=True)) for d in those]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    path = write(tmp_path, SHARED)
    found = []
    for buckets in (1, 4, 16):
        store = Store(str(tmp_path / f"s{buckets}"))
        go(path, store, buckets=buckets)
        shown = [c for c in table(path, store, "u").column_names if not c.startswith("_")]
        found.append([table(path, store, step).select(shown).sort_by("passage_id").to_pylist() for step in ("u", "w")])
    assert found[0] == found[1] == found[2]
    assert {r["source"] for r in found[0][0]} == {"one"}


def test_a_budget_below_one_part_says_what_it_needs(tmp_path):
    from operators.contract import InputError

    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"document number {i} of this corpus"}) + "\n" for i in range(100)))
    path = write(tmp_path, """
flow: asked
steps:
  docs: {op: read_corpus, with: {path: a.jsonl}}
  passages: {op: split_passages, from: docs, with: {min_words: 1}}
  unique: {op: drop_duplicates, from: passages, with: {key: passage_id}}
  queries: {op: generate_queries, from: unique, using: {llm: smollm2}, with: {per_passage: 2}}
""")
    store = Store(str(tmp_path / "s"))
    engine = LocalEngine(0)
    with pytest.raises(InputError, match=r"queries: --max-calls is below the \d+ calls of the next part"):
        run(load(path), Bench(store, engine, 2, max_calls=5))
