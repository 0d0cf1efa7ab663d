"""Every format gives the same rows; a record that cannot be read is a reject with its reason."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from operators import formats
from operators.columns import content_id
from operators.contract import InputError
from operators.read_corpus import ReadCorpus, read_corpus
from operators.read_pairs import ReadPairs, read_pairs
from operators.read_qrels import ReadQrels, read_qrels
from operators.read_queries import ReadQueries, read_queries

DOCS = [{"_id": "1", "title": "Ice", "text": "It melts in the sun."}, {"_id": "2", "title": "", "text": "Iron rusts, é."}]


def rows(params, op=read_corpus):
    outcomes = [o for item in op.items(params) for o in op(item, params)]
    table = pa.concat_tables([o.table for o in outcomes]).to_pylist()
    return table, [r for o in outcomes for r in o.rejects.to_pylist()]


def lines(docs=DOCS):
    return "".join(json.dumps(d) + "\n" for d in docs).encode()


WRITERS = {
    "c.jsonl": lambda p: p.write_bytes(lines()),
    "c.jsonl.gz": lambda p: p.write_bytes(gzip.compress(lines())),
    "c.jsonl.zst": lambda p: p.write_bytes(zstandard.compress(lines())),
    "c.parquet": lambda p: pq.write_table(pa.Table.from_pylist(DOCS), p),
    "c.csv": lambda p: p.write_text('_id,title,text\n1,Ice,It melts in the sun.\n2,,"Iron rusts, é."\n'),
    "c.tsv": lambda p: p.write_text("_id\ttitle\ttext\n1\tIce\tIt melts in the sun.\n2\t\tIron rusts, é.\n"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(name, tmp_path):
    WRITERS[name](tmp_path / name)
    found, bad = rows(ReadCorpus(path=str(tmp_path / name)))
    assert [(r["source_id"], r["title"], r["text"], r["source"]) for r in found] == [
        ("1", "Ice", "It melts in the sun.", "c"), ("2", "", "Iron rusts, é.", "c")]  # fmt: skip
    assert found[0]["doc_id"] == content_id("Ice", "It melts in the sun.")
    assert bad == []


def test_a_folder_of_text_takes_its_titles_from_headings(tmp_path):
    (tmp_path / "a.md").write_text("# Mining\n\nCoal is mined.")
    (tmp_path / "b.txt").write_text("Just text.")
    found, _ = rows(ReadCorpus(path=str(tmp_path)))
    assert [(r["source_id"], r["title"]) for r in found] == [("a.md", "Mining"), ("b.txt", "b")]


def test_files_of_one_name_in_two_folders_keep_apart_and_the_folder_itself_may_move(tmp_path):
    for home, sub in (("one", "a"), ("one", "b"), ("two", "a"), ("two", "b")):
        (tmp_path / home / sub).mkdir(parents=True)
        (tmp_path / home / sub / "index.md").write_text(f"Text of {sub}.")
        (tmp_path / home / sub / "x.jsonl").write_text(json.dumps({"text": f"A line of {sub}."}) + "\n")
    for pattern, names in (("{}", ["a/index.md", "b/index.md"]), ("{}/**/*.jsonl", ["a/x.jsonl:1", "b/x.jsonl:1"]), ("{}/a/x.jsonl", ["x.jsonl:1"])):
        given = [ReadCorpus(path=pattern.format(tmp_path / home), format="auto" if "*" in pattern or "x" in pattern else "text") for home in ("one", "two")]
        assert [r["source_id"] for r in rows(given[0])[0] if r["source_id"] in names] == names
        assert [i.digest for i in read_corpus.items(given[0])] == [i.digest for i in read_corpus.items(given[1])]


def test_a_dataset_on_disk_and_a_beir_folder_are_read(tmp_path):
    import datasets

    datasets.Dataset.from_list(DOCS).save_to_disk(tmp_path / "ds")
    assert [r["source_id"] for r in rows(ReadCorpus(path=str(tmp_path / "ds")))[0]] == ["1", "2"], "told by its own files"
    (tmp_path / "beir").mkdir()
    (tmp_path / "beir" / "corpus.jsonl").write_bytes(lines())
    for path, kind in (("ds", "datasets"), ("beir", "beir"), ("beir", "auto")):
        assert len(rows(ReadCorpus(path=str(tmp_path / path), format=kind))[0]) == 2


def test_of_a_folder_with_a_corpus_queries_and_qrels_each_reader_takes_its_own_file(tmp_path):
    told = {"corpus": DOCS, "queries": [{"_id": "q", "text": "what rusts?"}], "qrels_train": [{"query_id": "q", "corpus_id": "2", "score": 1}],
            "qrels": [{"query_id": "q", "corpus_id": "1", "score": 1}]}  # fmt: skip
    for name, records in told.items():
        pq.write_table(pa.Table.from_pylist(records), tmp_path / f"{name}.parquet")
    (tmp_path / "SOURCE.md").write_text("Where it is from.")
    folder = str(tmp_path)
    assert [r["source_id"] for r in rows(ReadCorpus(path=folder))[0]] == ["1", "2"]
    assert [r["query"] for r in rows(ReadQueries(path=folder), read_queries)[0]] == ["what rusts?"]
    assert [r["corpus_source_id"] for r in rows(ReadQrels(path=folder), read_qrels)[0]] == ["2"]
    with pytest.raises(InputError, match=r"no qrels_dev.parquet, and of qrels it has qrels.parquet, qrels_train.parquet; give the file itself"):
        read_qrels.items(ReadQrels(path=folder, split="dev"))


def saved(folder, docs, **how):
    """A dataset made by a generator, whose name for it stays when the data changes."""
    import datasets

    made = datasets.Dataset.from_generator(lambda: iter(docs), cache_dir=str(folder / "cache"), fingerprint="same")
    made.save_to_disk(folder / "ds", **how)
    return made


def test_a_dataset_is_known_by_its_rows_not_by_how_it_was_made_or_cut(tmp_path):
    digests, names = [], []
    for name, docs, how in (
        ("a", DOCS, {}), ("b", [{**DOCS[0], "text": "Other words."}, *DOCS[1:]], {}), ("c", DOCS, {"num_shards": 2}),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        names.append(saved(tmp_path / name, docs, **how)._fingerprint)
        (item,) = read_corpus.items(ReadCorpus(path=str(tmp_path / name / "ds"), format="datasets"))
        assert item.size > sum(len(d["text"]) for d in docs)
        digests.append(item.digest)
    assert names == ["same"] * 3
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]


BAD = {
    "not JSON": (b"{oops\n", "not JSON", "{oops"),
    "not an object": (b"[1]\n", "not a JSON object", "[1]"),
    "invalid UTF-8": (b'{"text": "caf\xe9 au lait"}\n', "invalid UTF-8", "byte 13: {\"text\": \"caf\ufffd au lait\"}"),
    "NUL": (b'{"text": "a\\u0000b"}\n', "text holds a NUL character", "a\x00b"),
    "a number": (b'{"text": 7}\n', "text is int, not text", "7"),
    "a list": (b'{"text": ["a"]}\n', "text is list, not text", "['a']"),
    "null": (b'{"_id": "x", "text": null}\n', "empty text", "x"),
    "blank": (b'{"_id": "x", "text": " \\n "}\n', "empty text", "x"),
    "half a surrogate": (b'{"text": "\\ud800"}\n', "text holds half a surrogate pair", "?"),
    "too long": (json.dumps({"text": "y" * 5000}).encode() + b"\n", "text is longer than max_chars", None),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_a_reject_and_its_neighbours_stay(name, tmp_path):
    line, reason, value = BAD[name]
    (tmp_path / "c.jsonl").write_bytes(lines()[:-1] + b"\n" + line + lines([{"text": "a last one"}]))
    found, bad = rows(ReadCorpus(path=str(tmp_path / "c.jsonl"), max_chars=4000))
    assert len(found) == 3
    assert [(b["_row"], b["reason"]) for b in bad] == [(3, reason)]
    assert value is None or bad[0]["value"] == value


def test_a_line_of_fifty_megabytes_is_read_and_a_longer_one_is_a_reject(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "LINE", 1 << 20)
    body = lines() + b'{"text": "' + b"z" * (1 << 21) + b'"}\n' + lines([{"text": "after"}])
    (tmp_path / "c.jsonl").write_bytes(body)
    found, bad = rows(ReadCorpus(path=str(tmp_path / "c.jsonl")))
    assert [r["text"] for r in found][-1] == "after"
    assert [b["reason"] for b in bad] == ["a line longer than 1 MB"]
    monkeypatch.undo()
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "' + b"z" * (50 << 20) + b'"}\n')
    assert [b["reason"] for b in rows(ReadCorpus(path=str(tmp_path / "c.jsonl")))[1]] == ["text is longer than max_chars"]


def test_a_csv_row_with_other_fields_is_a_reject(tmp_path):
    (tmp_path / "c.csv").write_text("_id,text\n1,one\n2,two,too many\n3\n4,four\n")
    found, bad = rows(ReadCorpus(path=str(tmp_path / "c.csv")))
    assert [r["source_id"] for r in found] == ["1", "4"]
    assert len(bad) == 2


def test_several_positives_make_several_rows(tmp_path):
    (tmp_path / "p.jsonl").write_text(json.dumps({"query": "q", "positive": ["a", "b", ""]}) + "\n")
    found, bad = rows(ReadPairs(path=str(tmp_path / "p.jsonl")), read_pairs)
    assert [r["passage"] for r in found] == ["a", "b"]
    assert len({r["query_id"] for r in found}) == 1
    assert [b["reason"] for b in bad] == ["empty positive"]


def test_a_real_corpus_is_read_whole(data):
    found = read_corpus.items(p := ReadCorpus(path=str(data / "scifact" / "corpus.parquet")))
    assert sum(len(o.table) for o in read_corpus(found[0], p)) == 5183


def test_qrels_of_another_split_are_named(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n")
    with pytest.raises(InputError, match="has test: name one of them as `split:`"):
        read_qrels.items(ReadQrels(path=str(tmp_path)))
    assert len(rows(ReadQrels(path=str(tmp_path), split="test"), read_qrels)[0]) == 1
