"""What files hold that are cut off, damaged, mixed or half wrong: each fault is told by its file, and its neighbours stay."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import formats
from operators.contract import InputError
from operators.read_corpus import ReadCorpus, read_corpus
from operators.read_pairs import ReadPairs, read_pairs
from operators.read_qrels import ReadQrels, read_qrels
from operators.read_queries import ReadQueries, read_queries


def rows(params, op=read_corpus):
    outcomes = [o for item in op.items(params) for o in op(item, params)]
    found = [r for o in outcomes for r in o.table.to_pylist()]
    bad = [r for o in outcomes for r in o.rejects.to_pylist()]
    assert sum(o.seen for o in outcomes) == len(found) + len(bad)
    return found, bad


def lines(count, start=0):
    return b"".join(json.dumps({"_id": str(i), "text": f"text {i} {i * 7919}"}).encode() + b"\n" for i in range(start, start + count))


def read_csv(tmp_path, body, name="c.csv"):
    (tmp_path / name).write_text(body, newline="")
    found, bad = rows(ReadCorpus(path=str(tmp_path / name)))
    return [(r["source_id"], r["text"]) for r in found], [(b["_row"], b["reason"]) for b in bad]


# 3: zst


def test_zstd_of_several_frames_and_of_none_is_read_whole(tmp_path):
    path = tmp_path / "c.jsonl.zst"
    path.write_bytes(zstandard.compress(lines(5)) + zstandard.compress(lines(5, 5)))
    assert [r["source_id"] for r in rows(ReadCorpus(path=str(path)))[0]] == [str(i) for i in range(10)]
    path.write_bytes(zstandard.compress(b""))
    assert rows(ReadCorpus(path=str(path))) == ([], [])


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01])
@pytest.mark.parametrize("before", [0, 1])
def test_zstd_that_is_cut_off_is_refused_by_name_wherever_it_is_cut(tmp_path, kept, before):
    frame = zstandard.compress(lines(20_000))
    (tmp_path / "c.jsonl.zst").write_bytes(frame * before + frame[: int(len(frame) * kept)])
    with pytest.raises(InputError, match=r"c\.jsonl\.zst: it ends early, its zstd is cut off; copy it again"):
        rows(ReadCorpus(path=str(tmp_path / "c.jsonl.zst")))


@pytest.mark.parametrize("body", [lines(3), zstandard.compress(lines(3)) + b"more of something else"])
def test_what_is_not_zstd_is_refused_by_name(tmp_path, body):
    (tmp_path / "c.jsonl.zst").write_bytes(body)
    with pytest.raises(InputError, match=r"c\.jsonl\.zst: it is not whole zstd"):
        rows(ReadCorpus(path=str(tmp_path / "c.jsonl.zst")))


# 11: values that no column takes

SURROGATES = {
    "corpus id": (read_corpus, ReadCorpus, {"_id": "\ud800", "text": "hello"}, "id holds half a surrogate pair"),
    "corpus lang": (read_corpus, ReadCorpus, {"_id": "1", "text": "hello", "lang": "\ud800"}, "lang holds half a surrogate pair"),
    "id of an empty text": (read_corpus, ReadCorpus, {"_id": "\ud800", "text": " "}, "id holds half a surrogate pair"),
    "NUL beside it": (read_corpus, ReadCorpus, {"_id": "1", "text": "\x00\ud800"}, "text holds a NUL character"),
    "too long": (read_corpus, ReadCorpus, {"_id": "1", "text": "\ud800" * 200}, "text is longer than max_chars"),
    "query id": (read_queries, ReadQueries, {"_id": "\ud800", "text": "hello"}, "id holds half a surrogate pair"),
    "pair id": (read_pairs, ReadPairs, {"query": "q", "positive": "p", "_id": "\ud800"}, "id holds half a surrogate pair"),
    "pair title": (read_pairs, ReadPairs, {"query": "q", "positive": "p", "title": "\ud800"}, "title holds half a surrogate pair"),
    "instruction": (read_pairs, ReadPairs, {"query": "q", "positive": "p", "prompt": "\ud800"}, "instruction holds half a surrogate pair"),
    "no positive": (read_pairs, ReadPairs, {"query": "\ud800", "positive": []}, "no positive"),
    "qrel": (read_qrels, ReadQrels, {"query_id": "\ud800", "corpus_id": "1"}, "query holds half a surrogate pair"),
    "grade": (read_qrels, ReadQrels, {"query_id": "1", "corpus_id": "1", "score": "\ud800"}, "relevance is not a number"),
}  # fmt: skip
GOOD = {"_id": "1", "text": "hello", "query": "q", "positive": "p", "query_id": "1", "corpus_id": "1"}


@pytest.mark.parametrize("name", SURROGATES)
def test_half_a_surrogate_pair_anywhere_is_a_reject_that_can_be_written_down(tmp_path, name):
    op, params, record, reason = SURROGATES[name]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (GOOD, record)))
    more = {} if op is read_qrels else {"max_chars": 100}
    found, bad = rows(params(path=str(tmp_path / "c.jsonl"), **more), op)
    assert len(found) == 1
    assert [(b["_row"], b["reason"]) for b in bad] == [(2, reason)]


@pytest.mark.parametrize("grade", ["1e30", "-3e9", "2147483648", "1" + "0" * 400])
def test_a_grade_out_of_range_is_a_reject(tmp_path, grade):
    (tmp_path / "q.jsonl").write_text(f'{{"query_id": "1", "corpus_id": "2", "score": {grade}}}\n{{"query_id": "1", "corpus_id": "3", "score": 2}}\n')
    found, bad = rows(ReadQrels(path=str(tmp_path / "q.jsonl")), read_qrels)
    assert [r["relevance"] for r in found] == [2]
    assert [b["reason"] for b in bad] == ["relevance is out of range"]


def test_parquet_with_a_damaged_page_is_refused_by_name(tmp_path):
    path = tmp_path / "c.parquet"
    draw = random.Random(1)
    table = pa.table({"_id": [str(i) for i in range(5000)], "text": ["".join(draw.choices("abcdefgh ", k=60)) for _ in range(5000)]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    body = bytearray(path.read_bytes())
    middle = len(body) // 2
    body[middle : middle + 4000] = bytes(4000)
    path.write_bytes(body)
    with pytest.raises(InputError, match=r"c\.parquet: what stands behind row 0 cannot be read \(.*\); copy it again"):
        rows(ReadCorpus(path=str(path)))


def test_parquet_whose_text_is_no_utf8_is_refused_by_name(tmp_path):
    raw = pa.array([b"fine", b"caf\xe9"], pa.binary())
    pq.write_table(pa.table({"text": pa.StringArray.from_buffers(2, raw.buffers()[1], raw.buffers()[2])}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet: what stands behind row 0 cannot be read"):
        rows(ReadCorpus(path=str(tmp_path / "c.parquet")))


# 12: neighbours

LONELY = {
    "corpus": (read_corpus, ReadCorpus, {"_id": "1", "text": "t"}, {"_id": "x"}, "empty text"),
    "queries": (read_queries, ReadQueries, {"_id": "1", "query": "t"}, {"_id": "x", "title": "another thing"}, "empty query"),
    "pairs": (read_pairs, ReadPairs, {"query": "q", "positive": "p"}, {"query": "q"}, "empty positive"),
    "qrels": (read_qrels, ReadQrels, {"query_id": "1", "corpus_id": "2"}, {"query_id": "1"}, "no query or no document"),
}


@pytest.mark.parametrize("name", LONELY)
@pytest.mark.parametrize("before", [formats.ROWS - 1, formats.ROWS, formats.ROWS + 1])
def test_a_record_means_the_same_whatever_stands_before_it(tmp_path, name, before):
    op, params, good, lonely, reason = LONELY[name]
    body = (json.dumps(good) + "\n") * before + json.dumps(lonely) + "\n"
    (tmp_path / "c.jsonl").write_text(body)
    found, bad = rows(params(path=str(tmp_path / "c.jsonl")), op)
    assert len(found) == before
    assert [(b["_row"], b["reason"]) for b in bad] == [(before + 1, reason)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(['{"text": "a", "_id": "1"}', '{"text": "b", "title": "T"}', '{"id": "2"}', "{oops", '{"body": "c"}']), max_size=12), st.integers(1, 5))
def test_what_a_record_means_does_not_hang_on_where_a_batch_ends_behind_the_head(tmp_path_factory, records, size):
    path = tmp_path_factory.mktemp("neighbours") / "c.jsonl"
    first = [json.dumps({"_id": "0", "title": "", "text": "head"})] * 5
    path.write_text("".join(x + "\n" for x in first + records))
    whole = rows(ReadCorpus(path=str(path)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "ROWS", size)
        cut = rows(ReadCorpus(path=str(path)))
    assert cut[0] == whole[0]
    assert sorted(map(str, cut[1])) == sorted(map(str, whole[1]))


def test_a_field_that_comes_late_in_a_file_is_taken(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"text": "t"}\n' * formats.ROWS + '{"text": "u", "title": "Late", "lang": "de"}\n')
    last = rows(ReadCorpus(path=str(tmp_path / "c.jsonl")))[0][-1]
    assert (last["title"], last["lang"]) == ("Late", "de")


def test_a_file_whose_head_is_bad_lines_is_told_by_its_first_records(tmp_path):
    (tmp_path / "c.jsonl").write_text("{oops\n" * (formats.ROWS - 1) + '{"_id": "x"}\n{"text": "t"}\n')
    found, bad = rows(params := ReadCorpus(path=str(tmp_path / "c.jsonl")))
    assert [r["text"] for r in found] == ["t"]
    assert len(bad) == formats.ROWS
    assert read_corpus.check(params, {}) == []
    (tmp_path / "c.jsonl").write_text('{"\\ud800": "x"}\n')
    with pytest.raises(InputError, match=r"no column for the text; it has \\ud800;"):
        rows(params)


# 18: which files are data


def published(folder):
    folder.mkdir()
    for i in range(2):
        table = pa.table({"query": [f"q{i}"], "positives": [[f"p{i}", f"r{i}"]], "negatives": [["n"]]})
        pq.write_table(table, folder / f"train-0000{i}-of-00002.parquet")
    names = sorted(p.name for p in folder.iterdir())
    (folder / "manifest.json").write_text(json.dumps({"flow": "f", "shards": [{"file": n, "rows": 1} for n in names]}))
    (folder / "README.md").write_text("---\nconfigs: []\n---\n\n# f\n")
    return folder


@pytest.mark.parametrize("path", ["set", "set/", "set/*", "s*/*.parquet"])
def test_a_published_set_is_read_with_the_default_format(tmp_path, path):
    published(tmp_path / "set")
    found, bad = rows(ReadPairs(path=f"{tmp_path}/{path}"), read_pairs)
    assert [(r["query"], r["passage"]) for r in found] == [("q0", "p0"), ("q0", "r0"), ("q1", "p1"), ("q1", "r1")]
    assert bad == []


def test_a_published_set_that_lacks_a_shard_is_refused_and_its_manifest_names_no_file_elsewhere(tmp_path):
    folder = published(tmp_path / "set")
    (folder / "train-00001-of-00002.parquet").rename(tmp_path / "elsewhere.parquet")
    with pytest.raises(InputError, match=r"train-00001-of-00002\.parquet: the manifest beside it names it, and it is not there"):
        formats.files_of(str(folder), "auto")
    (folder / "manifest.json").write_text('{"shards": [{"file": "../elsewhere.parquet"}]}')
    with pytest.raises(InputError, match="it is not there"):
        formats.files_of(str(folder), "auto")


def test_papers_beside_records_are_no_data_and_among_texts_they_are(tmp_path):
    for name in ("README.md", "LICENSE.txt", "guide.md"):
        (tmp_path / name).write_text("# Words\n\nMany.")
    names = [p.name for p in formats.files_of(str(tmp_path), "auto")]
    assert names == ["LICENSE.txt", "README.md", "guide.md"]
    (tmp_path / "c.jsonl").write_bytes(lines(1))
    (tmp_path / "manifest.json").write_text("[1]")
    assert [p.name for p in formats.files_of(str(tmp_path), "auto")] == ["c.jsonl", "guide.md"]
    assert [p.name for p in formats.files_of(str(tmp_path), "jsonl")] == ["c.jsonl"]
    assert [p.name for p in formats.files_of(str(tmp_path), "text")] == ["LICENSE.txt", "README.md", "guide.md"]


def test_a_file_whose_name_looks_like_a_glob_is_read_and_globs_still_are(tmp_path):
    (tmp_path / "br[1].jsonl").write_bytes(lines(1))
    assert [r["source_id"] for r in rows(ReadCorpus(path=str(tmp_path / "br[1].jsonl")))[0]] == ["0"]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a1.jsonl").write_bytes(lines(2))
    assert len(rows(ReadCorpus(path=str(tmp_path / "**" / "*.jsonl")))[0]) == 3
    assert len(rows(ReadCorpus(path=str(tmp_path / "deep" / "a**.jsonl")))[0]) == 2


# 19: quotes


def test_an_open_quote_costs_its_own_line_and_no_other(tmp_path):
    body = '_id,text\n1,one\n2,"two\n3,three\n4,four\n5,"five, and more"\n6,six\n'
    found, bad = read_csv(tmp_path, body)
    assert found == [("1", "one"), ("3", "three"), ("4", "four"), ("5", "five, and more"), ("6", "six")]
    assert bad == [(3, "not CSV")]


def test_a_quote_that_never_closes_is_refused_with_its_line(tmp_path):
    body = "_id,text\n1,one\n" + '2,"two\n' + "".join(f"{i},more\n" for i in range(3, 5000))
    with pytest.raises(InputError, match=r"c\.csv: in line 3 a quote opens that never closes"):
        read_csv(tmp_path, body)


def test_a_quoted_field_longer_than_a_line_may_be_is_refused_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "LINE", 1 << 16)
    body = '_id,text\n1,"' + "word and word\n" * 10_000 + '"\n2,two\n'
    with pytest.raises(InputError, match=r"c\.csv: in line 2 a quote opens that never closes"):
        read_csv(tmp_path, body)


@pytest.mark.parametrize("line", ['2,"two" and more', "2,two\rand more"])
@pytest.mark.parametrize("count", [1, formats.ROWS + 1])
def test_a_line_that_csv_cannot_read_is_a_reject(tmp_path, line, count):
    found, bad = read_csv(tmp_path, "_id,text\n1,one\n" + (line + "\n") * count + '3,"three\nlines\nlong"\n')
    assert found == [("1", "one"), ("3", "three\nlines\nlong")]
    assert bad == [(i + 3, "not CSV") for i in range(count)]


def test_a_header_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "c.csv").write_bytes(b"_id,text,caf\xe9\n1,one,x\n2,two,y\n")
    with pytest.raises(InputError, match=r"c\.csv: its header, line 1, cannot be read \(invalid UTF-8\)"):
        rows(ReadCorpus(path=str(tmp_path / "c.csv")))


TEXT = st.text(st.sampled_from('ab,"\n é'), min_size=1, max_size=8).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=6))
def test_what_a_csv_writer_writes_is_read_back(tmp_path_factory, texts):
    import csv

    path = tmp_path_factory.mktemp("csv") / "c.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["_id", "text"], *([str(i), x] for i, x in enumerate(texts))])
    found, bad = rows(ReadCorpus(path=str(path)))
    assert [r["text"] for r in found] == texts
    assert bad == []
