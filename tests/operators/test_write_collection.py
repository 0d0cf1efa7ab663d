"""Shards by position hold what readers look for; ranks, representatives and remapped judgements against plain Python."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import index_ids
from operators.columns import content_id, content_ids, id_pairs, ranks
from operators.content import indexed
from operators.contract import InputError, apply, numbered, row_id, text
from operators.index_ids import IndexIds
from operators.index_texts import IndexTexts, index_texts
from operators.list_duplicates import ListDuplicates, list_duplicates
from operators.number_texts import NumberTexts, number_texts
from operators.read_corpus import ReadCorpus, read_corpus
from operators.remap_qrels import RemapQrels, example, remap_qrels
from operators.take_passages import TakePassages, parted, take_passages
from operators.write_collection import WriteCollection, write_collection
from operators.write_collection import example as documents

IDS = [bytes([i]) * 16 for i in range(6)]
ROW = st.tuples(st.sampled_from(IDS[:3]), st.sampled_from(IDS), st.sampled_from("ab"), st.sampled_from("xyz"))


def test_what_is_written_is_what_a_corpus_is_read_from(tmp_path):
    shown = documents()
    out = write_collection(shown.table, shown.params)
    pq.write_table(out, tmp_path / "c.parquet")
    p = ReadCorpus(path=str(tmp_path / "c.parquet"))
    [found] = [o.table.to_pylist() for o in read_corpus(read_corpus.items(p)[0], p)]
    rows = zip(found, shown.table.to_pylist(), strict=True)
    for name, of in (("source_id", "source_id"), ("title", "title"), ("text", "passage"), ("lang", "lang"), ("source", "source"), ("licence", "licence"), ("doc_id", "passage_id")):
        assert all(one[name] == other[of] for one, other in rows)


def test_a_given_source_and_licence_go_before_the_rows_own(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"text": "a b", "source": "web", "license": "MIT"}\n{"text": "c d"}\n')

    def told(**given):
        p = ReadCorpus(path=str(tmp_path / "c.jsonl"), **given)
        return [(r["source"], r["licence"]) for o in read_corpus(read_corpus.items(p)[0], p) for r in o.table.to_pylist()]

    assert told() == [("web", "MIT"), ("c", "")]
    assert told(source="all", licence="CC0-1.0") == [("all", "CC0-1.0")] * 2


def test_rows_of_one_position_stand_in_an_order_of_their_own():
    table = pa.table({
        "query_source_id": pa.array(["b", "a", "a"], text), "corpus_source_id": pa.array(["1", "2", "1"], text),
        "relevance": pa.array([1, 1, 1], pa.int32()), "position": pa.array([0, 0, 0], pa.int64()),
    })  # fmt: skip
    p = WriteCollection(rows="qrels")
    out = write_collection(table, p)
    assert out.equals(write_collection(table.take(pa.array([2, 0, 1])), p))
    assert out.column_names == ["query_id", "corpus_id", "score"]
    assert write_collection.check(WriteCollection(rows="qrels", lang="x"), {}) == ["lang does nothing where rows is not corpus; leave it out"]


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=8), st.lists(st.binary(min_size=16, max_size=16)))
def test_a_position_is_the_rank_of_the_id(said, others):
    ids, texts = indexed(said)
    asked = [*ids, *others]
    out = apply(number_texts, pa.table({"passage_id": pa.array(asked, row_id)}), NumberTexts(), texts=texts).table
    assert out["position"].to_pylist() == [sum(one < wanted for one in set(ids)) for wanted in asked]


def test_ids_of_one_upper_half_are_ranked_by_the_lower():
    ids = sorted([b"a" * 8 + b"b" * 8, b"a" * 8 + b"d" * 8, b"c" * 16])
    pairs = id_pairs(pa.array(ids, row_id))
    wanted = [*ids, b"a" * 16, b"a" * 8 + b"c" * 8, b"c" * 8 + b"a" * 8, b"c" * 8 + b"d" * 8, b"z" * 16]
    found = ranks(pairs["hi"], pairs["lo"], id_pairs(pa.array(wanted, row_id)))
    assert found.tolist() == [sum(one < other for one in ids) for other in wanted]


@given(st.lists(ROW, max_size=12))
def test_the_representative_is_the_first_row_of_the_classes_own_text(rows):
    rows = sorted(rows)
    table = pa.table({
        "class_id": pa.array([r[0] for r in rows], row_id), "passage_id": pa.array([r[1] for r in rows], row_id),
        "source": pa.array([r[2] for r in rows], text), "source_id": pa.array([r[3] for r in rows], text),
    })  # fmt: skip
    out = apply(list_duplicates, table, ListDuplicates()).table["representative"].to_pylist()
    for row, told in zip(rows, out, strict=True):
        own = sorted((r[2], r[3]) for r in rows if r[0] == row[0] == r[1])
        assert told == (own[0][1] if own else "")


@given(st.text("ab \n", max_size=8), st.text("ab \n", min_size=1, max_size=8))
def test_a_title_is_told_from_its_text(title, passage):
    one = content_id(title, passage)
    found = parted(one, f"{title}\n{passage}" if title else passage)
    assert content_id(*found) == one or title.count("\n") >= 4


def test_rows_take_the_title_and_the_text_of_their_id():
    told = [("Oak", "A tree."), ("", "One line\nand another.")]
    ids = content_ids([t for t, _ in told], [p for _, p in told])
    fold = index_texts(IndexTexts())
    fold.add(pa.table({"passage_id": ids, "title": [t for t, _ in told], "passage": [p for _, p in told]}), 0)
    table = pa.table({
        "passage_id": pa.array([*ids.to_pylist(), b"0" * 16], row_id), "title": pa.array(["x"] * 3, text), "passage": pa.array(["own"] * 3, text),
    })  # fmt: skip
    out = apply(take_passages, table, TakePassages(), texts=fold.finish()).table
    assert list(zip(out["title"].to_pylist(), out["passage"].to_pylist(), strict=True)) == [*told, ("x", "own")]


def test_judgements_follow_their_documents_and_what_is_gone_is_told():
    shown = example()
    out = apply(remap_qrels, shown.table, shown.params, **shown.used)
    assert [(r["query_source_id"], r["corpus_source_id"]) for r in out.table.to_pylist()] == [("q", "8"), ("q", "1")]
    assert list(zip(out.rejects["reason"].to_pylist(), out.rejects["value"].to_pylist(), strict=True)) == [
        ("document is not in the corpus", "gone"), ("query is not among the queries", "other"),
    ]  # fmt: skip
    fold = index_ids.index_ids(IndexIds(id="query_id"))
    none = apply(remap_qrels, shown.table, shown.params, documents=shown.used["documents"], queries=fold.finish())
    assert len(none.table) == 3, "without queries none is asked for"


def test_a_map_without_representatives_is_one_sentence():
    with pytest.raises(InputError, match=r"carry: \[representative\]"):
        remap_qrels(numbered(example().table), RemapQrels(), documents=index_ids.index_ids(IndexIds()).finish())
