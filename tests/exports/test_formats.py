"""The files themselves, trap by trap, as the trainers' code reads them: holds where no trainer is installed."""

import gzip
import json
import tarfile
from collections import Counter, defaultdict
from importlib import import_module

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.exporters.files import named
from operators.exporters.options import TEMPLATE, rendered
from operators.exporters.sentence_transformers import _FAMILIES, LOSSES, SentenceTransformers, usage
from tests.exporting import expected, exported, publish, table_of


@pytest.fixture(scope="module")
def table():
    return table_of(40, seed=7)


def strict(line):
    """JSON as the standard has it: NaN and infinity are none."""
    return json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def read(path):
    """Lines are cut at newlines alone: a text may hold U+2028, which `str.splitlines` takes for one."""
    return [strict(line) for line in path.read_bytes().split(b"\n")[:-1]]


def asked(row):
    return rendered(row["query"], row["instruction"], TEMPLATE)


@pytest.mark.parametrize("told", [True, False])
def test_flag_embedding_takes_lists_of_a_file_a_source_and_a_prompt_everywhere_or_nowhere(capsys, tmp_path, told):
    table = table_of(40, seed=7, told=told)
    exported(capsys, publish(tmp_path, table), "FlagEmbedding", tmp_path / "out", "scores=true")
    rows = expected(table, "all", "all", least=1)
    files = {path.name: read(path) for path in (tmp_path / "out" / "train").iterdir()}
    assert {*files} == {f"{named(source)}.jsonl" for source in {r["source"] for r in rows}}
    for source in {r["source"] for r in rows}:
        want = [{"query": r["query"], "pos": r["positives"], "neg": r["negatives"], "pos_scores": r["positive_scores"],
                 "neg_scores": r["negative_scores"], **({"prompt": r["instruction"]} if told else {}), "type": "normal"}
                for r in rows if r["source"] == source]  # fmt: skip
        assert files[f"{named(source)}.jsonl"] == want
        assert all(len(r["pos"]) and len(r["neg"]) for r in want)


def test_flag_embedding_files_say_by_their_name_alone_whether_negatives_of_the_batch_count(capsys, made, tmp_path):
    for on in ("true", "false"):
        exported(capsys, made, "FlagEmbedding", tmp_path / on, f"in_batch_negatives={on}")
        assert {p.stem.endswith("no_in_batch_neg") for p in (tmp_path / on / "train").iterdir()} == {on == "false"}


def test_tevatron_reads_text_and_joins_no_title(capsys, made, table, tmp_path):
    rows = expected(table, "all", "all", least=1)
    exported(capsys, made, "Tevatron", tmp_path / "texts", "scores=true")
    assert read(tmp_path / "texts" / "train.jsonl") == [
        {"query_id": r["query_id"].hex(), "query": asked(r), **{f"{side}_passages": [
            {"docid": i.hex(), "text": t, "score": s} for i, t, s in zip(r[f"{side}_ids"], r[f"{side}s"], r[f"{side}_scores"], strict=True)
        ] for side in ("positive", "negative")}} for r in rows
    ]  # fmt: skip
    exported(capsys, made, "Tevatron", tmp_path / "ids", "layout=ids")
    corpus = read(tmp_path / "ids" / "corpus.jsonl")
    assert {*map(tuple, corpus)} == {("docid", "text", "image")} and all(one["text"] for one in corpus)
    _resolves([one["docid"] for one in corpus], [
        i for r in read(tmp_path / "ids" / "train.jsonl") for side in ("positive", "negative") for i in r[f"{side}_document_ids"]
    ])  # fmt: skip


def _resolves(known, wanted):
    assert max(Counter(known).values()) == 1, "a document stands twice"
    assert {*known} == {*wanted}


@pytest.mark.parametrize("positives", ["first", "explode"])
def test_contrastors_offsets_are_bytes_of_the_stream_and_keys_those_of_the_path(capsys, made, table, tmp_path, positives):
    exported(capsys, made, "contrastors", tmp_path / "out", "shard_rows=5", "bucket=s3://b/c", f"positives={positives}", "scores=true")
    found = []
    for folder in (tmp_path / "out" / "data").iterdir():
        counts, offsets = json.loads((folder / "counts.json").read_text()), strict(gzip.decompress((folder / "offsets.json.gz").read_bytes()))
        assert {*counts} == {*offsets} == {f"b/c/{folder.name}/{p.name}" for p in folder.glob("shard*")}
        for key, count in counts.items():
            stream = gzip.decompress((folder / key.split("/")[-1]).read_bytes())
            assert stream.isascii()
            assert [*offsets[key]] == [str(i) for i in range(count)]
            lines = [stream[a:b] for a, b in offsets[key].values()]
            assert b"".join(lines) == stream
            found += map(strict, lines)
    want = [(asked(r), r["positives"][0], r["negatives"], r["positive_scores"][0], r["negative_scores"]) for r in expected(table, positives, 3)]
    told = [(r["query"], r["document"], r["negatives"], r["document_score"], r["negatives_scores"]) for r in found]
    assert sorted(told) == sorted(want)


def test_swift_has_one_positive_to_embed_and_as_many_negatives_in_every_row(capsys, made, table, tmp_path):
    exported(capsys, made, "ms-swift", tmp_path / "out", "positives=explode")
    rows = read(tmp_path / "out" / "train.jsonl")
    assert len(rows) == len(expected(table, "explode", 3))
    assert {(len(r["positive_messages"]), len(r["negative_messages"])) for r in rows} == {(1, 3)}


def test_automodel_is_one_json_document_whose_ids_resolve(capsys, made, table, tmp_path):
    exported(capsys, made, "NeMo-Automodel", tmp_path / "out", "scores=true", "positives=all")
    whole = strict((tmp_path / "out" / "train.json").read_bytes())
    assert whole["corpus"] == [{"path": "corpus"}]
    for got, row in zip(whole["data"], expected(table, "all", 3), strict=True):
        assert (got["question"], got["corpus_id"]) == (asked(row), "corpus")
        for side, name in (("positive", "pos_doc"), ("negative", "neg_doc")):
            pairs = zip(row[f"{side}_ids"], row[f"{side}_scores"], strict=True)
            assert got[name] == [{"id": i.hex(), "score": s} for i, s in pairs]
    corpus = pq.read_table([*(tmp_path / "out" / "corpus").glob("*.parquet")])
    assert [(f.name, str(f.type)) for f in corpus.schema] == [("id", "string"), ("text", "string")]
    _resolves(corpus["id"].to_pylist(), [d["id"] for r in whole["data"] for d in (*r["pos_doc"], *r["neg_doc"])])
    assert strict((tmp_path / "out" / "corpus" / "merlin_metadata.json").read_text()) == {"class": "TextQADataset", "corpus_id": "corpus"}


def test_pylate_lists_stand_positive_first_and_every_id_is_a_document(capsys, made, table, tmp_path):
    exported(capsys, made, "PyLate", tmp_path / "out", "positives=explode")
    train, queries, documents = (pq.read_table(tmp_path / "out" / name).to_pylist() for name in ("train", "queries", "documents"))
    want = [([i.hex() for i in (*r["positive_ids"], *r["negative_ids"])], [*r["positive_scores"], *r["negative_scores"]])
            for r in expected(table, "explode", 3)]  # fmt: skip
    assert [(r["document_ids"], r["scores"]) for r in train] == want
    _resolves([d["document_id"] for d in documents], [i for r in train for i in r["document_ids"]])
    _resolves([q["query_id"] for q in queries], [r["query_id"] for r in train])


@pytest.mark.parametrize("scores", ["true", "false"])
def test_lightning_ir_runs_hold_whole_queries_with_falling_scores(capsys, made, table, tmp_path, scores):
    exported(capsys, made, "lightning-ir", tmp_path / "out", "shard_queries=9", f"scores={scores}")
    queries = []
    for run in sorted((tmp_path / "out" / "runs").iterdir()):
        mine = defaultdict(list)
        for line in pq.read_table(run).to_pylist():
            mine[line["query_id"]].append(line)
        assert len(mine) <= 9
        queries += mine
        for lines in mine.values():
            assert [x["rank"] for x in lines] == [*range(1, len(lines) + 1)]
            assert [x["score"] for x in lines] == sorted((x["score"] for x in lines), reverse=True)
    assert queries == [r["query_id"].hex() for r in expected(table, "all", "all", least=1)]


def test_beir_judges_positives_alone_and_its_ids_resolve(capsys, made, table, tmp_path):
    exported(capsys, made, "BEIR", tmp_path / "out")
    rows = expected(table, "all", "all")
    head, *lines = (tmp_path / "out" / "qrels" / "train.tsv").read_text().split("\n")[:-1]
    assert head == "query-id\tcorpus-id\tscore"
    assert lines == [f"{r['query_id'].hex()}\t{i.hex()}\t1" for r in rows for i in r["positive_ids"]]
    _resolves([d["_id"] for d in read(tmp_path / "out" / "corpus.jsonl")], [i.hex() for r in rows for side in ("positive", "negative") for i in r[f"{side}_ids"]])
    _resolves([q["_id"] for q in read(tmp_path / "out" / "queries.jsonl")], [r["query_id"].hex() for r in rows])


def test_webdataset_keys_rise_over_its_files(capsys, made, table, tmp_path):
    exported(capsys, made, "WebDataset", tmp_path / "out", "shard_rows=7")
    names = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as file:
            names += file.getnames()
    assert names == sorted(names) == [f"{i:09d}.json" for i in range(len(table))]


def test_each_loss_is_where_the_readme_says_it_is():
    for loss in LOSSES:
        p = SentenceTransformers(loss=loss)
        home = _FAMILIES[p.family]
        assert hasattr(import_module(f"{home}.losses"), loss), loss
        for said in ("", "Trainer", "TrainingArguments"):
            assert hasattr(import_module("sentence_transformers"), p.family + said)
        assert f"{p.family}Trainer(model=model" in usage(p)
    assert SentenceTransformers(loss="MSELoss").family == "CrossEncoder"


def test_datasets_keeps_a_file_a_rank_in_turn_and_others_say_that_they_do_not(capsys, table, tmp_path):
    """Two ranks, seven rows a file, as `operators.batches.laid_out` has them."""
    ranked = table.append_column("rank", pa.array([i // 7 % 2 for i in range(40)], pa.int32()))
    made = publish(tmp_path, ranked, shards=1)
    told = exported(capsys, made, "datasets", tmp_path / "out")
    files = [pq.read_table(path) for path in sorted((tmp_path / "out" / "data").iterdir())]
    assert [len(f) for f in files] == [7, 7, 7, 7, 7, 5]
    assert all(set(f["rank"].to_pylist()) == {i % 2} for i, f in enumerate(files))
    assert [q for f in files for q in f["query_id"].to_pylist()] == [r.hex() for r in table["query_id"].to_pylist()]
    assert "ranks" not in told["order"]
    assert "files for ranks are cut anew" in exported(capsys, made, "WebDataset", tmp_path / "tar")["order"]
    refused = exported(capsys, made, "datasets", tmp_path / "x", "shard_rows=6", status=2)
    assert "2 ranks share the set in files of 7 rows in turn; give 7 or more" in str(refused)
    alone = table.append_column("rank", pa.array([0] * 40, pa.int32()))
    exported(capsys, publish(tmp_path / "alone", alone), "datasets", tmp_path / "y", "shard_rows=15")
    assert [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "y" / "data").iterdir())] == [15, 15, 10]
