"""Refresh, diff, rollback, gc and purge of a set that a small corpus makes, through the command line."""

import json
import os
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from cluster.store import Store
from cluster.task import manifest_of
from flows.cli import main
from flows.config import find_flow
from flows.diff import _differs
from flows.drift import compare, ks, psi, statistics
from flows.flow import load
from flows.verify import verify
from flows.versions import steps_of

WORDS = ["ice", "iron", "rain", "owls", "bread", "sand", "birch", "stone"]
DOCS = {
    f"d{i}": (f"About {WORDS[i % 8]} {i}", f"{WORDS[i % 8].title()} number {i} is told of here. It has {i * 7} parts and a tail.")
    for i in range(30)
}


class Home:
    """A corpus, a store, and the verbs on them."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys, self.docs, self.flow = folder, capsys, dict(DOCS), "structural"
        self.store = Store(str(folder / "s"))
        self.sets = [f"corpus.path={folder / 'corpus.jsonl'}", "batches.batch_size=8", "centroids.clusters=2", "centroids.refit=always"]
        self.say()

    def say(self):
        lines = [json.dumps({"_id": n, "title": t, "text": d}) for n, (t, d) in self.docs.items()]
        (self.folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")

    def __call__(self, verb, *more, status=0):
        flags = [x for s in self.sets for x in ("--set", s)] + ["--store", self.store.uri, "--json"]
        engine = ["--workers", "0", "--buckets", "4"] if verb in ("run", "refresh") else []
        assert main([verb, self.flow, *more, *flags, *engine]) == status
        return json.loads(self.capsys.readouterr().out.splitlines()[-1])

    def rows(self, published):
        found = [pq.read_table(p).to_pylist() for p in sorted((self.store.local / published).glob("*.parquet"))]
        return {row["query"]: row for part in found for row in part}

    @property
    def latest(self):
        return self.store.read_text("datasets/structural/latest").strip()

    def faults(self):
        return verify(load(find_flow("structural"), self.sets), self.store)


@pytest.fixture
def home(tmp_path, capsys):
    made = Home(tmp_path, capsys)
    made("refresh")
    return made


def edit(home):
    del home.docs["d3"]
    home.docs["d4"] = (home.docs["d4"][0], "Something else is told of rain now. It is quite another text, with words of its own.")
    home.docs["n1"] = ("About glass", "Glass is told of here. It is new, it has a hundred parts and a tail, and it breaks.")
    home.say()


def test_a_refresh_says_what_changed_and_what_it_costs_then_publishes(home):
    first = home.latest
    assert home("refresh") | {"seconds": 0} == home("refresh") | {"seconds": 0}
    again = home("refresh")
    assert (again["new"], again["ran"]) == (False, [])
    edit(home)
    planned = home("refresh", "--dry-run")
    assert planned["inputs"]["corpus"] == {"added": 1, "changed": 1, "removed": 1, "rows": 30}
    assert home.latest == first
    assert next(c for c in planned["costs"] if c["step"] == "asked")["encoder_texts"] in (1, 2, 3, 4)
    ran = home("refresh")
    assert ran["new"] and home.latest != first
    assert home.faults() == []


def test_a_diff_tells_rows_by_what_they_are_and_why(home):
    first = home.latest
    edit(home)
    told = home("refresh")["diff"]
    assert (told["added"], told["changed"], told["removed"]) == (1, 1, 1)
    found = home("diff")
    assert (found["a"], found["b"]) == (first, home.latest)
    assert found["removed_by"] == {"input gone": 1} and found["added_by"] == {"new": 1}
    assert found["examples"]["added"][0]["query"] == "About glass"
    assert found["columns"]["positive_ids"]["step"] == "pairs" and found["columns"]["positive_ids"]["rows"] == 1
    assert "positives length" in found["statistics"]
    back = home("diff", home.latest.rsplit("-", 1)[1], first)
    assert (back["added"], back["removed"]) == (1, 1)
    home.sets.append("pairs.min_passage_words=15")
    home("refresh")
    found = home("diff")
    assert found["asked_otherwise"] == ["pairs"] and found["removed_by"]
    assert home("diff", "nothing", status=2)["faults"][0].startswith("datasets/structural: no version 'nothing'")


def test_what_drifted_too_far_or_does_not_verify_keeps_the_old_version(home):
    first = home.latest
    home.docs = {n: (t, d * (1 + int(n[1:]) % 5)) for n, (t, d) in DOCS.items()}
    home.say()
    told = home("refresh", "--max-drift", "0.2", status=1)
    assert "drifted: PSI" in told["faults"][0] and home.latest == first
    assert home("refresh", "--max-drift", "100")["new"] and home.latest != first


def test_rollback_moves_latest_and_refuses_what_is_not_whole(home):
    first = home.latest
    edit(home)
    home("refresh")
    second = home.latest
    del home.docs["d5"]
    home.say()
    home("refresh")
    assert home("rollback")["latest"] == second == home.latest
    assert home("rollback")["latest"] == first == home.latest
    assert "there is no version before" in home("rollback", status=2)["faults"][0]
    assert home("rollback", second)["latest"] == second
    assert "no version 'then'" in home("rollback", "then", status=2)["faults"][0]
    shard = next((home.store.local / "datasets/structural" / first).glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "is not as it was published" in home("rollback", first, status=1)["faults"][0]
    assert home.latest == second


def test_what_a_flow_publishes_beside_its_set_rolls_back_with_it(home):
    home.flow, home.sets = "curate", home.sets[:1]
    home("refresh")
    before = {name: home.store.read_text(f"datasets/{name}/latest").strip() for name in ("curate", "curate.ids")}
    edit(home)
    home("refresh")
    assert home.store.read_text("datasets/curate.ids/latest").strip() != before["curate.ids"]
    found = home("diff")
    assert found["key"] == "doc_id" and found["added"] == found["removed"] == 2
    assert home("rollback")["left"] == []
    assert {name: home.store.read_text(f"datasets/{name}/latest").strip() for name in before} == before


def test_gc_keeps_what_a_kept_version_needs(home):
    for i in range(3):
        home.docs[f"n{i}"] = (f"About glass {i}", f"Glass number {i} is told of here, with many words and a tail.")
        home.say()
        home("refresh")
    home.sets.append("batches.batch_size=4")  # most steps are those of the version before, too
    home("refresh")
    kept, steps = home.latest, home.store.names("steps")
    litter = next((home.store.local / "steps").glob("embed-*/parts")) / "00000-of-00004.dead-0.parquet"
    litter.write_bytes(b"x")
    assert home("gc", "--keep", "1")["steps"] == []  # all of it is young
    assert home("gc", "--keep", "1", "--older-than", "0")["removed"] is False
    assert home.store.names("steps") == steps
    found = home("gc", "--keep", "1", "--older-than", "0", "--yes")
    assert len(found["versions"]) == 4 and found["steps"]
    assert not litter.exists()
    made = steps_of(home.store.read_json(f"datasets/structural/{kept}/manifest.json"))
    assert all(manifest_of(home.store, one) for one in made.values())
    assert home.latest == kept and home.faults() == []
    before = home.rows(f"datasets/structural/{kept}")
    assert home("refresh")["new"] is False
    again = home("run")
    assert again["made"] == 0 and home.rows(again["published"]) == before


def test_gc_leaves_a_step_that_is_being_made_alone(home):
    edit(home)
    home("run", "--until", "pairs")
    found = home("gc", "--keep", "1", "--older-than", "0", "--orphans", "--yes")
    assert found["versions"] == [] and found["steps"] == []
    other = home.store.local / "steps" / "embed-0123456789abcdef" / "parts"
    other.mkdir(parents=True)
    (other / "00000-of-00004.a-0.parquet").write_bytes(b"x")
    assert home("gc", "--keep", "1", "--orphans", "--yes")["steps"] == []
    os.utime(other / "00000-of-00004.a-0.parquet", (time.time() - 90_000,) * 2)
    assert home("gc", "--keep", "1", "--yes")["steps"] == []
    assert home("gc", "--keep", "1", "--orphans", "--yes")["steps"] == ["steps/embed-0123456789abcdef"]


def bytes_with(home, said):
    """The files of the store in which a text stands, as parquet, Arrow or plain bytes."""
    found = []
    for path in home.store.local.rglob("*"):
        if path.suffix == ".parquet" and said in json.dumps(pq.read_table(path).to_pylist(), default=str):
            found.append(path)
        elif path.suffix == ".arrow":
            with pa.ipc.open_file(path) as file:
                found += [path] if said in str(file.read_all().to_pylist()) else []
        elif path.is_file() and said.encode() in path.read_bytes():
            found.append(path)
    return found


def test_a_purged_document_is_in_no_file_and_the_rest_stays_valid(home):
    first, before = home.latest, home.rows(f"datasets/structural/{home.latest}")
    said = "Iron number 9 is told"
    assert bytes_with(home, said)
    own, other = (before[f"About {name}"]["positive_ids"][0].hex() for name in ("iron 9", "rain 10"))
    lines = [json.dumps({"key": "k", "row": row, "text": f"an answer of {row}"}) for row in (own, other)]
    home.store.write("ledger/m/ask_llm/00000-of-00004/a-0.jsonl", ("\n".join(lines) + "\n{torn").encode())
    told = home("purge", "--document", "d9")
    assert told["removed"] is False and len(told["versions"]) == 1 and bytes_with(home, said) and home.latest == first
    assert told["ledgers"] == {"ledger/m/ask_llm/00000-of-00004/a-0.jsonl": 1}
    assert home("purge", "--document", "d9", "--yes")["versions"][0]["rows"] == 1
    assert home.store.read("ledger/m/ask_llm/00000-of-00004/a-0.jsonl").decode() == f"{lines[1]}\n{{torn"
    assert bytes_with(home, said) == [] and bytes_with(home, "d9\"") == []
    assert home.faults() == []
    assert home.latest != first
    left = home.rows(f"datasets/structural/{home.latest}")
    assert left.keys() == before.keys() - {"About iron 9"}
    assert all(left[q] == before[q] for q in left)
    assert "withdrawn" in home("rollback", first, status=2)["faults"][0]
    assert "no step has a document" in home("purge", "--document", "d9", status=2)["faults"][0]
    del home.docs["d9"]
    home.say()
    again = home("run")
    assert next(f for f in again["funnel"] if f["step"] == "asked")["reused"] == 29
    assert next(f for f in again["funnel"] if f["step"] == "asked")["counters"].get("encoder_texts", 0) == 0
    assert bytes_with(home, said) == [] and home.faults() == []
    fresh = Store(str(home.folder / "fresh"))
    home.store = fresh
    rebuilt = home("run")
    assert rebuilt["published"] == again["published"]


def test_a_text_of_two_documents_stays_with_the_other(home):
    home.docs["twin"] = home.docs["d9"]
    home.say()
    home("refresh")
    told = home("purge", "--document", "twin", "--yes")
    assert told["shared"] and told["versions"] == []
    assert bytes_with(home, "Iron number 9 is told")


def test_psi_and_ks_of_equal_and_of_other_samples():
    one = np.arange(1000.0)
    assert psi(np.full(10, 0.1), np.full(10, 0.1)) == 0 and ks(one, one) == 0
    assert ks(one, one + 1000) == 1
    drawn = [np.random.default_rng(i).normal(i / 5, size=300 + i) for i in range(4)]
    assert [ks(drawn[0], x) for x in drawn] == [round(ks_2samp(drawn[0], x).statistic, 4) for x in drawn]
    assert psi(np.array([0.5, 0.5]), np.array([0.25, 0.75])) == pytest.approx(0.2747, abs=1e-4)
    tables = [pa.table({"query": ["a" * n for n in sizes], "source": names}) for sizes, names in (([1, 2, 3], ["x"] * 3), ([30, 40, 50], ["y"] * 3))]
    found = compare(*map(statistics, tables))
    assert found["query length"]["ks"] == 1 and found["query length"]["after"] == 40
    assert found["source share"]["psi"] > 5


@given(st.lists(st.tuples(*[st.lists(st.sampled_from(["a", "b"]), max_size=2)] * 2), max_size=12))
def test_lists_differ_where_a_loop_says_so(rows):
    one, other = (pa.array([row[i] for row in rows], pa.list_(pa.string())) for i in (0, 1))
    assert _differs(one, other).tolist() == [a != b for a, b in rows]
