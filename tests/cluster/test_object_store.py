"""A store behind the S3 protocol: the same sets as on a disk, few requests, faults retried, two runs at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.address import hidden
from cluster.committed import Gathered, commits
from cluster.store import Store
from flows.cli import main
from operators.contract import InputError
from tests.flows.test_run import go, table, write
from tests.s3 import CREDENTIALS, bucket, serving

ROOT = Path(__file__).parents[2]
FEW = ("--buckets", "2", "--workers", "0")
STEPS = ("docs", "loud", "unique", "share", "near")


@pytest.fixture(scope="module")
def s3():
    """(the server, its place)."""
    with pytest.MonkeyPatch.context() as patch, serving() as found:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield found


def test_a_flow_runs_end_to_end_and_its_rows_are_those_of_a_disk(s3, tmp_path):
    server, place = s3
    path, local, remote = write(tmp_path), Store(str(tmp_path / "s")), Store(bucket(place, "end-to-end"))
    go(path, local)
    server.fail_every = 7  # an S3 that is busy: every seventh request is refused
    server.requests.clear()
    go(path, remote, workers=2)
    server.fail_every = 0
    assert server.requests["failed"] > 10
    for step in STEPS:
        assert table(path, remote, step).equals(table(path, local, step))
    server.requests.clear()
    assert go(path, remote).made == 0
    assert server.requests["PUT"] <= 2 and server.requests["LIST"] < 10, server.requests  # whether it can be written


def test_a_hundred_thousand_parts_are_resumed_with_250_requests(s3):
    server, place = s3
    store, parts = Store(bucket(place, "listed")), 4000
    gathered = Gathered(store, "steps/a", "r")
    for i in range(parts):
        record = {"part": f"{i:05d}-of-{parts:05d}", "attempt": "r-0", "schema": [["a", "string"]], "rows": i}
        _put(store, f"steps/a/commits/{record['part']}.r-0.json", record)
        gathered.add(record)
    gathered.close()
    server.requests.clear()
    found = commits(store, "steps/a")
    assert len(found) == parts and all(found[f"{i:05d}-of-{parts:05d}"]["rows"] == i for i in range(parts))
    lists = parts // 1000 + 1  # S3 tells of a thousand at a time; of 100,000 these are 101 and all requests 202
    assert server.requests["LIST"] <= lists and sum(server.requests.values()) <= lists + 2 * parts // 2000, server.requests
    store.remove(f"steps/a/commits/00007-of-{parts:05d}.r-0.json")  # as `verify` does with a damaged part
    assert f"00007-of-{parts:05d}" not in commits(store, "steps/a")


def _put(store, name, record):
    """Into the server's own tables: 4,000 requests would take a minute."""
    from moto.s3.models import s3_backends

    name_of_bucket, _, key = store.path(name).partition("/")
    next(iter(s3_backends.values()))["aws"].put_object(name_of_bucket, key, json.dumps(record).encode())


def test_two_machines_at_once_end_in_one_sound_set(s3, tmp_path):
    _, place = s3
    uri = bucket(place, "two")
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"_id": f"{i}", "title": f"Title {i}", "text": f"word{i} of a text that says something. " * 8}) + "\n" for i in range(60)))
    command = [sys.executable, "-m", "flows", "run", "structural", "--store", uri, "--set", f"corpus.path={corpus}", "--json", *FEW]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [json.loads(one.communicate(timeout=300)[0].splitlines()[-1]) for one in both]
    assert [one["status"] for one in said] == [0, 0], said
    assert said[0]["published"] == said[1]["published"]
    assert main(["verify", "structural", "--store", uri, "--set", f"corpus.path={corpus}"]) == 0
    alone = str(tmp_path / "alone")
    assert main(["run", "structural", "--store", alone, "--set", f"corpus.path={corpus}", *FEW]) == 0
    mine, theirs = Store(alone), Store(uri)
    home = said[0]["published"]
    assert theirs.read(f"{home}/manifest.json") == mine.read(f"{home}/manifest.json")
    files = [f"{top}/{f}" for top in ("datasets", "steps", "recipes") for f in theirs.sizes(top) if f.endswith(".json")]
    secret = CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode()
    assert files and not any(secret in theirs.read(f) for f in files)


def test_an_address_never_holds_a_password_nor_a_word_that_does_nothing(monkeypatch):
    with pytest.raises(InputError, match=r"s3://\*\*\*@b/x: a password does not belong in an address"):
        Store("s3://me:hush@b/x")
    assert hidden("s3://me:hush@b/x") == "s3://***@b/x"
    with pytest.raises(InputError, match="endpoint is nothing that an s3:// address says; it may say region"):
        Store("s3://b/x?endpoint=here")
    with pytest.raises(InputError, match="no bucket; write s3://BUCKET"):
        Store("s3:///x")


def test_an_unreachable_store_is_one_sentence(s3, capsys):
    _, place = s3
    uri = f"s3://nobody-made-it/x?scheme=http&endpoint_override={place}"
    assert main(["run", "quickstart", "--store", uri]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"store {uri}: ") and "--store" in said and len(said.splitlines()) == 1, said
