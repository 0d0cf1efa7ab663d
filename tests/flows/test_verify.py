"""What was damaged is found, said in one sentence each, and mended by the next run, to the same bytes."""

import json
from pathlib import Path

import pytest

from cluster.store import Store
from flows.cli import main
from flows.flow import load
from flows.verify import verify
from tests.flows.test_run import go, write
from tests.flows.test_samples import corpus

SCANS = """
flow: scans
steps:
  docs: {op: read_corpus, with: {path: a.jsonl}, max_rejected: 1}
  cut: {op: split_passages, from: docs, max_rejected: 1, with: {min_words: 4}}
"""
GARBAGE = {
    "empty": lambda body: b"", "cut off": lambda body: body[: len(body) // 2], "zeros": lambda body: bytes(len(body)),
    "another": lambda body: b"{}\n", "a list": lambda body: b"[]\n", "a flipped key": lambda body: body.replace(b'"sha256"', b'"sha255"', 1),
}  # fmt: skip


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def published(tmp_path):
    path, store = corpus(tmp_path), Store(str(tmp_path / "s"))
    return path, store, tmp_path / "s" / go(path, store).published


def test_a_damaged_published_manifest_is_a_fault_and_is_published_again(published, capsys):
    path, store, folder = published
    flow, before = load(path), bytes_of(folder)
    assert verify(flow, store) == []
    for damage in GARBAGE.values():
        (folder / "manifest.json").write_bytes(damage(before["manifest.json"]))
        (fault,) = verify(flow, store)
        assert fault == f"{folder.relative_to(store.local)}/manifest.json: it cannot be read as a manifest; the next run publishes it again"
        assert main(["run", str(path), "--store", store.uri, "--workers", "0"]) == 0
        assert bytes_of(folder) == before and verify(flow, store) == []


@pytest.mark.parametrize("damage", ["no manifest", "half a manifest", "no shard", "half a shard", "no card"])
def test_a_run_publishes_again_what_it_can_see_is_not_whole(published, damage):
    path, store, folder = published
    before, shard = bytes_of(folder), next(folder.glob("*.parquet"))
    file = {"manifest": folder / "manifest.json", "shard": shard, "card": folder / "README.md"}[damage.split()[-1]]
    file.unlink() if damage.startswith("no ") else file.write_bytes(file.read_bytes()[:99])
    go(path, store)
    assert bytes_of(folder) == before
    assert [p.name for p in folder.parent.iterdir() if p.is_dir()] == [folder.name]


def test_what_was_damaged_on_another_day_is_mended_where_it_lies(published):
    path, store, folder = published
    old = folder.rename(folder.with_name("2020-01-01-" + folder.name.rsplit("-", 1)[1]))
    before = bytes_of(old)
    (old / "manifest.json").unlink()
    assert go(path, store).published.endswith(old.name)
    assert bytes_of(old) == before


@pytest.mark.parametrize("name", ["README.md", "train-00000-of-00001.parquet"])
def test_a_flipped_byte_of_a_set_is_found_and_mended(published, name):
    path, store, folder = published
    before = bytes_of(folder)
    body = bytearray(before[name])
    body[len(body) // 2] ^= 1
    (folder / name).write_bytes(body)
    (fault,) = verify(load(path), store)
    assert fault.endswith(f"{name}: its bytes are not those that were published; the next run publishes it again")
    go(path, store)
    assert bytes_of(folder) == before and verify(load(path), store) == []


def test_a_damaged_manifest_of_a_step_is_a_fault_and_is_written_again(tmp_path):
    path, store = scans(tmp_path), Store(str(tmp_path / "s"))
    file = tmp_path / "s" / go(path, store).funnel[0]["home"] / "manifest.json"
    before = file.read_bytes()
    for damage in GARBAGE.values():
        file.write_bytes(damage(before))
        (fault,) = verify(load(path), store)
        assert fault.endswith("manifest.json: it cannot be read as a manifest; the next run makes it again")
        assert go(path, store).made == 1
        assert file.read_bytes() == before and verify(load(path), store) == []


def scans(tmp_path: Path) -> Path:
    """Lines of which some are no JSON, and documents of which some are too short."""
    docs = [json.dumps({"text": f"number {i}" if i % 3 else f"document number {i} of words."}) for i in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join([*docs, "{oops"]) + "\n")
    return write(tmp_path, SCANS)


@pytest.mark.parametrize("step", [0, 1])
def test_damaged_rejects_are_found_and_made_again(tmp_path, step):
    path, store = scans(tmp_path), Store(str(tmp_path / "s"))
    home = tmp_path / "s" / go(path, store).funnel[step]["home"]
    rejects = sorted((home / "rejects").iterdir())
    before = [p.read_bytes() for p in rejects]
    rejects[0].write_bytes(before[0][:-1] + b"?")
    (fault,) = verify(load(path), store)
    assert fault.startswith(f"steps/{home.name}/rejects/{rejects[0].name}: its bytes are not those that were committed")
    assert go(path, store).made == 1
    assert verify(load(path), store) == []
    named = json.loads((home / "manifest.json").read_text())
    assert sorted((tmp_path / "s" / p["rejects"]).read_bytes() for p in named["parts"] + named["scanned"] if "rejects" in p) == sorted(before)


def test_the_card_names_the_licences_of_the_rows(tmp_path):
    path, store = corpus(tmp_path), Store(str(tmp_path / "s"))
    for licence in ("", "CC-BY-4.0"):
        card = store.read_text(f"{go(path, store, changes=[f'corpus.licence={licence!r}']).published}/README.md")
        stated = card.split("## Licence of the input\n\n")[1].split("\n")[0]
        assert stated == (licence or "None was stated: give `licence:` to the reader.")
