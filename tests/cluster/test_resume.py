"""A run that stopped goes on from what it committed, whatever has moved or gone in between."""

import json

import pytest

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench
from flows.flow import load
from flows.plan import plan
from flows.run import run
from tests.flows.test_run import go, table, write

READ = "flow: moved\nsteps:\n  docs: {op: read_corpus, with: {path: in, source: a}}\n"


class Stopped(Exception):
    """The run is killed here."""


class Stopping(LocalEngine):
    """Does so many units of a kind, then the run is killed."""

    def __init__(self, kind: str, after: int) -> None:
        super().__init__(0)
        self.kind, self.left = kind, after

    def run(self, work, needs):
        for one in work:
            if one.kind == self.kind and self.left == 0:
                raise Stopped
            self.left -= one.kind == self.kind
            yield from super().run([one], needs)


def stop(path, store, kind, after, buckets=4, changes=()):
    with pytest.raises(Stopped):
        run(load(path, changes), Bench(store, Stopping(kind, after), buckets))


@pytest.mark.parametrize("after", [1, 2])
def test_files_that_change_folders_between_two_runs_are_each_read_once(tmp_path, after):
    said = {name: [{"text": f"{name} says {i}"} for i in range(20)] for name in ("one", "two", "three")}
    for folder, words in zip("abc", said.values(), strict=True):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "x.jsonl").write_text("".join(json.dumps(d) + "\n" for d in words))
    path, store = write(tmp_path, READ), Store(str(tmp_path / "s"))
    stop(path, store, "scan", after)
    for old, new in ("at", "ba", "cb", "tc"):  # a → c, b → a, c → b
        (tmp_path / "in" / old).rename(tmp_path / "in" / new)
    go(path, store)
    found = table(path, store, "docs")["text"].to_pylist()
    assert sorted(found) == sorted(d["text"] for words in said.values() for d in words)


def test_equal_files_are_each_read(tmp_path):
    for folder in "ab":
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "x.jsonl").write_text('{"text": "the same"}\n')
    path, store = write(tmp_path, READ), Store(str(tmp_path / "s"))
    stop(path, store, "scan", 1)
    go(path, store)
    assert table(path, store, "docs")["text"].to_pylist() == ["the same"] * 2


CUT = """
flow: cut
steps:
  docs: {op: "tests.toy_ops:count_docs", with: {path: none, rows: 100}}
  STEP
"""


@pytest.mark.parametrize(("kind", "step"), [
    ("bucket", 'made: {op: "tests.toy_ops:first_of_key", from: docs}'),
    ("merge", 'made: {op: "tests.toy_ops:longest", from: docs, against: docs}'),
])  # fmt: skip
def test_an_input_that_is_cut_anew_between_two_runs_gives_each_row_once(tmp_path, kind, step):
    path, store, fresh = write(tmp_path, CUT.replace("STEP", step)), Store(str(tmp_path / "s")), Store(str(tmp_path / "fresh"))
    stop(path, store, kind, 1)
    store.remove(plan(load(path), store)[0].task.home)
    go(path, store, buckets=2, until="docs")
    go(path, store)
    go(path, fresh)
    assert table(path, store, "made").sort_by("doc_id").equals(table(path, fresh, "made"))
