"""Samples stand beside the set, `latest` moves only to what verified, rejects of a step that failed are shown."""

import json
from pathlib import Path

import pytest

from cluster.store import Store
from cluster.task import StepFailed
from flows.cli import main
from flows.config import CONFIGS
from tests.flows.test_run import FLOW, go, table, write


def corpus(tmp_path: Path, count: int = 30) -> Path:
    """The shipped flow of title-body pairs over a corpus of so many documents."""
    docs = [{"title": f"A title {i} of words", "text": f"The body of document {i} is some words long, so that it can be a passage that is kept."} for i in range(count)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(d) + "\n" for d in docs))
    text = (CONFIGS / "flows" / "structural.yaml").read_text().replace("flow: structural", "flow: asked")
    text = text.replace('path: "python-docs:"', "path: a.jsonl").replace("clusters: 10", "clusters: 1")
    return write(tmp_path, text.replace("batch_size: 64", "batch_size: 4"))


def said(capsys, *args: str) -> dict:
    main([*args, "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_sample_moves_no_latest_and_says_its_size(tmp_path, capsys):
    path, store = corpus(tmp_path), Store(str(tmp_path / "s"))
    go(path, store, sample=5)
    assert not store.exists("datasets/asked")
    whole = go(path, store)
    sampled = go(path, store, sample=5)
    assert store.read_text("datasets/asked/latest").strip() == whole.published.rsplit("/", 1)[1]
    assert sampled.published.startswith("datasets/asked.sample-5/")
    manifest = store.read_json(f"{sampled.published}/manifest.json")
    assert manifest["sample"] == 5 >= manifest["rows"] > 0
    assert "A sample: made of the 5 rows" in store.read_text(f"{sampled.published}/README.md")
    assert "sample" not in store.read_json(f"{whole.published}/manifest.json")


def test_a_sample_is_shown_tried_and_verified(tmp_path, capsys):
    path, store = corpus(tmp_path), Store(str(tmp_path / "s"))
    ran = go(path, store, sample=5)
    common = [str(path), "--store", store.uri, "--sample", "5"]
    assert len(said(capsys, "show", common[0], "pairs", *common[1:], "--rows", "9")["rows"]) == 5
    assert len(said(capsys, "try", common[0], "pairs", *common[1:], "--rows", "9")["output"]) == 5
    assert said(capsys, "verify", *common)["faults"] == []
    shard = next((tmp_path / "s" / ran.published).glob("*.parquet"))
    shard.write_bytes(b"other")
    assert "its bytes are not those that were published" in said(capsys, "verify", *common)["faults"][0]


def test_rejects_of_a_step_that_failed_are_shown(tmp_path, capsys):
    path, store = write(tmp_path, FLOW.replace("from: docs, max_rejected: 1", "from: docs")), Store(str(tmp_path / "s"))
    with pytest.raises(StepFailed, match="look with `pithead show FLOW loud --rejects`"):
        go(path, store)
    rows = said(capsys, "show", str(path), "loud", "--rejects", "--rows", "99", "--store", store.uri)["rows"]
    assert len(rows) == 20
    assert {r["reason"] for r in rows} == {"ends badly"}


def test_a_limit_that_was_tightened_later_holds_for_a_stored_step(tmp_path):
    path, store = write(tmp_path), Store(str(tmp_path / "s"))
    go(path, store)
    with pytest.raises(StepFailed, match=r"loud: 20 of 200 rows were rejected .*more than max_rejected 0.05 allows"):
        go(path, store, changes=["loud.max_rejected=0.05"])
    assert go(path, store).made == 0


def test_refresh_moves_latest_only_when_all_has_verified(tmp_path, monkeypatch, capsys):
    path, store = corpus(tmp_path), Store(str(tmp_path / "s"))
    refresh = ["refresh", str(path), "--store", store.uri, "--workers", "0"]
    assert main(refresh) == 0
    before = store.read_text("datasets/asked/latest")
    assert before
    corpus(tmp_path, 40)
    seen = []
    from flows import verify

    inner = verify.verify

    def look(flow, store, sample=None, **more):
        seen.append(store.read_text("datasets/asked/latest"))
        home = next(h for h in more["only"] if "structural_pairs" in h)
        part = next(p for p in sorted((tmp_path / "s" / home).glob("parts/*.parquet")))
        part.write_bytes(b"bad" if len(seen) == 1 else part.read_bytes())
        return inner(flow, store, sample, **more)

    monkeypatch.setattr(verify, "verify", look)
    assert main(refresh) == 1
    assert seen == [before], "latest had moved before the check"
    assert store.read_text("datasets/asked/latest") == before
    assert main(refresh) == 0
    assert store.read_text("datasets/asked/latest") not in ("", before)


def test_texts_are_indexed_whatever_order_their_rows_are_in(tmp_path):
    docs = [{"_id": str(i), "text": f"Document number {i} has some words. There is a second sentence {i} too."} for i in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(d) + "\n" for d in docs))
    path = write(tmp_path, """
flow: unsorted
steps:
  docs: {op: read_corpus, with: {path: a.jsonl}}
  cut: {op: split_passages, from: docs, with: {min_words: 1, max_words: 7}}
  one: {op: drop_duplicates, from: cut, with: {key: passage_id}}
  texts: {op: index_texts, from: cut}
  sorted: {op: index_texts, from: one}
""")
    store = Store(str(tmp_path / "s"))
    ran = go(path, store)
    assert len(table(path, store, "cut")) == 80
    homes = {f["step"]: f["home"] for f in ran.funnel}
    files = [store.read_json(f"{homes[n]}/manifest.json")["parts"][0]["files"] for n in ("texts", "sorted")]
    assert files[0] == files[1]
