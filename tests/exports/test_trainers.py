"""Each export is read by its trainer's own loader, in its own environment; what reached the loss or collator is what was written."""

import json
import secrets
from collections import Counter

import pytest
from transformers import AutoTokenizer

from operators.exporters.options import TEMPLATE, rendered
from tests.exporting import expected, exported, loaded, publish, table_of
from tests.exports.loaders.common import LENGTH, minilm


@pytest.fixture(scope="module")
def table():
    return table_of(24, seed=3)


@pytest.fixture(scope="module")
def cut():
    """What is left of a text where a model reads ``LENGTH`` tokens of it."""
    tokenizer = AutoTokenizer.from_pretrained(minilm())

    def one(text: str, length: int = LENGTH) -> str:
        return tokenizer.decode(tokenizer(text, truncation=True, max_length=length)["input_ids"], skip_special_tokens=True)

    return one


def counted(rows) -> Counter:
    return Counter(repr(row) for row in rows)


def prompted(row, template=TEMPLATE):
    return rendered(row["query"], row["instruction"], template)


TUPLES = [("MultipleNegativesRankingLoss", [], "first", 3), ("MultipleNegativesRankingLoss", ["positives=explode", "negatives=1"], "explode", 1),
          ("TripletLoss", [], "first", 1), ("MarginMSELoss", [], "first", 3), ("MarginMSELoss", ["negatives=1"], "first", 1),
          ("DistillKLDivLoss", [], "first", 3)]  # fmt: skip


@pytest.mark.parametrize(("loss", "sets", "positives", "negatives"), TUPLES)
def test_sentence_transformers_tuples(capsys, table, made, cut, tmp_path, loss, sets, positives, negatives):
    exported(capsys, made, "sentence-transformers", tmp_path / "out", f"loss={loss}", *sets)
    got = loaded("main", "sentence_transformers", tmp_path / "out", loss=loss)
    scored = loss in ("MarginMSELoss", "DistillKLDivLoss")
    rows = expected(table, positives, negatives)
    want = [([cut(t) for t in (prompted(r), *r["positives"], *r["negatives"])], [*r["positive_scores"], *r["negative_scores"]] if scored else None) for r in rows]  # fmt: skip
    reached = [(list(texts), b["labels"][i] if scored else None) for b in got["batches"] for i, texts in enumerate(zip(*b["texts"], strict=True))]
    assert counted(reached) == counted(want)
    assert got["steps"] == len(got["batches"]) > 3
    assert len(got["rows"]) > 3  # two sources, with and without instructions


def test_sentence_transformers_scored_pairs(capsys, table, made, cut, tmp_path):
    exported(capsys, made, "sentence-transformers", tmp_path / "out", "loss=CoSENTLoss", "positives=all", "negatives=all")
    got = loaded("main", "sentence_transformers", tmp_path / "out", loss="CoSENTLoss")
    want = [((cut(prompted(r)), cut(said)), rate) for r in expected(table, "all", "all")
            for side in ("positive", "negative") for said, rate in zip(r[f"{side}s"], r[f"{side}_scores"], strict=True)]  # fmt: skip
    reached = [(pair, rate) for b in got["batches"] for pair, rate in zip(zip(*b["texts"], strict=True), b["labels"], strict=True)]
    assert counted(reached) == counted(want)


@pytest.mark.parametrize(("loss", "sets"), [("BinaryCrossEntropyLoss", []), ("LambdaLoss", []), ("ListNetLoss", ["scores=true"])])
def test_sentence_transformers_cross_encoders(capsys, table, made, tmp_path, loss, sets):
    exported(capsys, made, "sentence-transformers", tmp_path / "out", f"loss={loss}", "positives=all", "negatives=all", "prompts=none", *sets)
    got = loaded("main", "sentence_transformers", tmp_path / "out", loss=loss)
    rows = expected(table, "all", "all")
    labels = [[*r["positive_scores"], *r["negative_scores"]] if sets else [1.0] * len(r["positives"]) + [0.0] * len(r["negatives"]) for r in rows]
    lists = [(r["query"], [*r["positives"], *r["negatives"]], label) for r, label in zip(rows, labels, strict=True)]
    reached = [one for b in got["batches"] for one in zip(*b["texts"], b["labels"], strict=True)]
    if loss == "BinaryCrossEntropyLoss":
        lists = [(query, said, int(label)) for query, texts, marks in lists for said, label in zip(texts, marks, strict=True)]
    assert counted(reached) == counted(lists)


@pytest.mark.parametrize("scores", [False, True])
def test_flag_embedding(capsys, table, made, cut, tmp_path, scores):
    exported(capsys, made, "FlagEmbedding", tmp_path / "out", "positives=first", f"scores={str(scores).lower()}", "negatives=3",
             f"in_batch_negatives={str(scores).lower()}")  # fmt: skip
    got = loaded("FlagEmbedding", "flag_embedding", tmp_path / "out", group=4, scores=scores, told=True)
    want = []
    for r in expected(table, "first", 3):
        beside = sorted(zip(map(cut, r["negatives"]), r["negative_scores"], strict=True))
        want.append((cut(f"{r['instruction']}|{r['query']}"), cut(r["positives"][0]), [t for t, _ in beside],
                     [r["positive_scores"][0], *(s for _, s in beside)] if scores else None))  # fmt: skip
    reached = []
    for row in got["rows"]:
        beside = sorted(zip(row["texts"][1:], (row["scores"] or [0.0] * 4)[1:], strict=True))
        reached.append((row["query"], row["texts"][0], [t for t, _ in beside],
                        [row["scores"][0], *(s for _, s in beside)] if scores else None))  # fmt: skip
    assert counted(reached) == counted(want)
    assert got["steps"] == 3


def test_flag_embedding_files_without_instructions_have_no_prompt(capsys, cut, tmp_path):
    plain = table_of(12, told=False)
    exported(capsys, publish(tmp_path, plain), "FlagEmbedding", tmp_path / "out", "negatives=1", "positives=first")
    got = loaded("FlagEmbedding", "flag_embedding", tmp_path / "out", group=2, scores=False, told=False)
    assert counted(r["query"] for r in got["rows"]) == counted(cut(r["query"]) for r in expected(plain, "first", 1))


@pytest.mark.parametrize("loader", ["beir", "mteb"])
def test_beir_and_mteb(capsys, table, made, tmp_path, loader):
    exported(capsys, made, "BEIR", tmp_path / "out", "split=dev")
    got = loaded(loader, loader, tmp_path / "out", split="dev")
    rows = expected(table, "all", "all")
    assert got["queries"] == {r["query_id"].hex(): r["query"] for r in rows}
    assert got["qrels"] == {r["query_id"].hex(): {i.hex(): 1 for i in r["positive_ids"]} for r in rows}
    texts = {i.hex(): t for r in rows for side in ("positive", "negative") for i, t in zip(r[f"{side}_ids"], r[f"{side}s"], strict=True)}
    assert got["corpus"] == {i: {"title": "", "text": t} for i, t in texts.items()}
    if loader == "mteb":
        assert got["instructions"] == {r["query_id"].hex(): r["instruction"] for r in rows}


def test_datasets(capsys, table, made, tmp_path):
    exported(capsys, made, "datasets", tmp_path / "out", "shard_rows=10")
    got = loaded("main", "hf_datasets", tmp_path / "out")
    assert got["rows"] == plain_rows(table)


@pytest.mark.parametrize(("home", "sets", "scores"), [("tevatron", [], False), ("tevatron-main", [], False), ("tevatron-main", ["scores=true"], True),
                                                      ("tevatron-main", ["layout=ids"], False)])  # fmt: skip
def test_tevatron(capsys, table, made, cut, tmp_path, home, sets, scores):
    exported(capsys, made, "Tevatron", tmp_path / "out", "positives=first", "negatives=3", *sets)
    got = loaded(home, "tevatron", tmp_path / "out", group=4, main=home == "tevatron-main", scores=scores)
    want = [(cut(prompted(r)), cut(r["positives"][0]), sorted(map(cut, r["negatives"]))) for r in expected(table, "first", 3)]
    assert [(r["query"], r["texts"][0], sorted(r["texts"][1:])) for r in got["rows"]] == want
    assert got["steps"] == 3


def test_pylate(capsys, table, made, cut, tmp_path):
    exported(capsys, made, "PyLate", tmp_path / "out", "shard_rows=7")
    got = loaded("pylate", "pylate", tmp_path / "out", ways=4)
    want = [(prompted(r), [*r["positives"], *r["negatives"]], [*r["positive_scores"], *r["negative_scores"]]) for r in expected(table, "first", 3)]
    assert [(r["query"], r["documents"], r["scores"]) for r in got["rows"]] == want
    for row in got["rows"]:  # it puts a mark before each text, and pads
        assert all(cut(said, 24) in reached for said, reached in zip(row["documents"], row["reached"], strict=True))
    assert got["steps"] == 2


def scored(row):
    return [*row["positive_scores"], *row["negative_scores"]]


@pytest.mark.parametrize("sets", [["scores=true"], ["positives=explode"]])
def test_contrastors(capsys, table, made, cut, tmp_path, sets):
    out = tmp_path / f"out-{secrets.token_hex(8)}"  # it keeps copies by the last four parts of a path
    exported(capsys, made, "contrastors", out, "shard_rows=6", f"bucket={out}/data", *sets)
    got = loaded("contrastors", "contrastors", out, negatives=3)
    rows = expected(table, "explode" if "positives=explode" in sets else "first", 3)
    want = counted((cut(prompted(r)), [cut(t) for t in (*r["positives"], *r["negatives"])], scored(r) if "scores=true" in sets else None) for r in rows)
    reached = counted((r["query"], r["texts"], r["scores"]) for r in got["rows"])
    assert not reached - want
    # Of each shard it drops what does not fill a batch of two.
    sizes = [size for counts in out.rglob("counts.json") for size in json.loads(counts.read_text()).values()]
    assert sum((want - reached).values()) == sum(size % 2 for size in sizes)


@pytest.mark.parametrize(("task", "sets", "positives"), [("embedding", [], "first"), ("reranker", ["positives=all"], "all")])
def test_swift(capsys, table, made, tmp_path, task, sets, positives):
    exported(capsys, made, "ms-swift", tmp_path / "out", f"task={task}", *sets)
    got = loaded("ms-swift", "swift", tmp_path / "out", task=task)
    role = "user" if task == "embedding" else "assistant"

    def lists(texts):
        return [[(role, t)] for t in texts]

    want = [([("system", r["instruction"])] * bool(r["instruction"]) + [("user", r["query"])], lists(r["positives"]), lists(r["negatives"]))
            for r in expected(table, positives, 3)]  # fmt: skip

    def plain(messages):
        return [(m["role"], m["content"]) for m in messages]

    assert [(plain(r["messages"]), [*map(plain, r["positive_messages"])], [*map(plain, r["negative_messages"])]) for r in got["rows"]] == want


@pytest.mark.parametrize("sets", [[], ["scores=true", "positives=all"], ["layout=inline"]])
def test_automodel(capsys, table, made, tmp_path, sets):
    exported(capsys, made, "NeMo-Automodel", tmp_path / "out", *sets)
    got = loaded("nemo-automodel", "automodel", tmp_path / "out", negatives=3, inline="layout=inline" in sets)
    want = [(prompted(r), [r["positives"][0], *r["negatives"]]) for r in expected(table, "first", 3)]
    assert [(r["query"], r["texts"]) for r in got["rows"]] == want


@pytest.mark.parametrize("scores", [False, True])
def test_lightning_ir(capsys, table, made, tmp_path, scores):
    exported(capsys, made, "lightning-ir", tmp_path / "out", "shard_queries=9", f"scores={str(scores).lower()}")
    got = loaded("lightning-ir", "lightning_ir", tmp_path / "out", targets="score" if scores else "relevance")
    assert got["rows"]
    rows = {r["query_id"].hex(): r for r in expected(table, "all", "all", least=1)}
    assert {r["id"] for r in got["rows"]} == {*rows}
    for one in got["rows"]:
        row = rows[one["id"]]
        lines = [(i.hex(), t, s, int(side == "positive")) for side in ("positive", "negative")
                 for i, t, s in zip(row[f"{side}_ids"], row[f"{side}s"], row[f"{side}_scores"], strict=True)]  # fmt: skip
        lines = sorted(lines, key=lambda x: -x[2]) if scores else lines
        assert one["query"] == prompted(row)
        assert [*zip(one["ids"], one["texts"], one["targets"], strict=True)] == [(i, t, s if scores else good) for i, t, s, good in lines]
        assert one["qrels"] == {i: good for i, _, _, good in lines}


def plain_rows(table):
    def plain(value):
        return value.hex() if isinstance(value, bytes) else [plain(v) for v in value] if isinstance(value, list) else value

    return [{k: plain(v) for k, v in row.items()} for row in table.to_pylist()]


def test_webdataset(capsys, table, made, tmp_path):
    exported(capsys, made, "WebDataset", tmp_path / "out", "shard_rows=7")
    assert loaded("webdataset", "webdataset", tmp_path / "out")["rows"] == plain_rows(table)


def test_mosaicml(capsys, table, made, tmp_path):
    exported(capsys, made, "MosaicML", tmp_path / "first", "shard_bytes=20000")
    # Two bytes less than a shard took: its last row has to go to the next one, as MDSWriter counts too.
    limit = (tmp_path / "first" / "shard.00000.mds").stat().st_size - 2
    exported(capsys, made, "MosaicML", tmp_path / "out", f"shard_bytes={limit}")
    got = loaded("mosaicml-streaming", "mosaicml", tmp_path / "out", bytes=limit)
    assert got["rows"] == plain_rows(table)
    assert got["shards"] > 1
    assert got["differ"] == []
