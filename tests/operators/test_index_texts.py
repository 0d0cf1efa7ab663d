"""Texts come back by id, whatever the cut of the fold."""

import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from operators import columns, spill
from operators.contract import row_id, text
from operators.index_texts import IndexTexts, Texts, TextsFold, example, index_texts

index_texts_module = importlib.import_module("operators.index_texts")


def passages(count: int) -> pa.Table:
    titles = [f"T{i}" if i % 3 else "" for i in range(count)]
    words = [f"passage № {i} " + "wörd " * (i % 7) for i in range(count)]
    columns_ = {"title": pa.array(titles, text), "passage": pa.array(words, text)}
    table = pa.table(columns_).append_column("passage_id", columns.content_ids(titles, words))
    return table.sort_by("passage_id")


def fold(table: pa.Table, cut: int | None = None) -> TextsFold:
    under_way: TextsFold = index_texts(IndexTexts())
    for part in columns.slices(table, cut or max(len(table), 1)):
        under_way.add(part, 0)
    return under_way


def saved(under_way: TextsFold, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    under_way.finish().save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_texts_come_back_in_the_order_asked_with_their_title_on_a_line_above(tmp_path: Path) -> None:
    table = passages(1000)
    fold(table, 77).finish().save(tmp_path)
    texts = Texts.load(tmp_path)
    asked = table.take(pa.array(np.random.default_rng(0).integers(0, 1000, 400)))
    rows = zip(asked["title"].to_pylist(), asked["passage"].to_pylist(), strict=True)
    whole = [f"{a}\n{b}" if a else b for a, b in rows]
    assert texts.take(asked["passage_id"]).to_pylist() == whole
    assert texts.lengths(asked["passage_id"]).tolist() == [len(w) for w in whole]
    assert len(texts) == 1000


@pytest.mark.parametrize("at", [0, 1, 255, 256, 300, 700])
def test_a_merge_of_two_folds_writes_the_bytes_of_one_fold(tmp_path: Path, at: int) -> None:
    table = passages(700)
    merged = fold(table.slice(0, at), 50)
    merged.merge(fold(table.slice(at)))
    assert saved(merged, tmp_path / "a") == saved(fold(table), tmp_path / "b")


def test_of_equal_ids_the_first_stays_also_across_a_merge() -> None:
    table = passages(10)
    twice = pa.concat_tables([table, table]).sort_by("passage_id")
    assert len(fold(twice, 3).finish()) == 10
    merged = fold(twice.slice(0, 7))
    merged.merge(fold(twice.slice(7)))
    texts = merged.finish()
    assert len(texts) == 10
    assert texts.has(table["passage_id"]).all()


@pytest.mark.parametrize("cut", [1, 90, 700])
@pytest.mark.parametrize("held", [1, 32 << 20])
def test_passages_in_any_order_give_the_bytes_of_sorted_ones(
    tmp_path: Path, cut: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(spill, "_HELD", held)
    table = passages(700)
    for name, order in (("b", np.random.default_rng(0).permutation(700)), ("c", np.r_[0:600, 699:599:-1])):
        mixed = table.take(pa.array(order))
        assert saved(fold(mixed, cut), tmp_path / name) == saved(fold(table), tmp_path / f"{name}-sorted")
        merged = fold(mixed.slice(0, 350), cut)
        merged.merge(fold(mixed.slice(350), cut))
        assert saved(merged, tmp_path / f"{name}-merged") == saved(fold(table), tmp_path / f"{name}-again")


def test_of_equal_ids_out_of_order_the_first_that_arrived_stays() -> None:
    table = passages(40)
    other = table.set_column(1, "passage", pa.array(["later"] * 40, text))
    texts = fold(pa.concat_tables([table.take(pa.array(np.arange(40)[::-1])), other]), 7).finish()
    assert len(texts) == 40
    assert not any("later" in t for t in texts.take(table["passage_id"]).to_pylist())


def test_an_unknown_id_is_named_and_a_null_stays_null() -> None:
    table = passages(5)
    texts = fold(table).finish()
    ids = pa.array([None, table["passage_id"][2].as_py()], row_id)
    assert texts.take(ids).to_pylist()[0] is None
    assert texts.keys(ids).to_pylist()[0] is None
    assert texts.lengths(ids)[0] == 0
    assert texts.has(ids).tolist() == [False, True]
    assert b"x" * 16 not in texts
    with pytest.raises(KeyError, match="78787878"):
        texts.take(pa.array([b"x" * 16], row_id))


def test_ids_that_share_their_upper_half_are_told_apart() -> None:
    ids = [b"\0" * 16, b"\0" * 15 + b"\2", b"\0" * 15 + b"\4", b"\xff" * 16]
    table = pa.table(
        {"passage_id": pa.array(ids, row_id), "title": [""] * 4, "passage": ["p", "q", "r", "s"]}
    )
    texts = fold(table).finish()
    assert texts.take(pa.array(ids[::-1], row_id)).to_pylist() == ["s", "r", "q", "p"]
    assert not texts.has(pa.array([b"\0" * 15 + b"\3", b"\0" * 15 + b"\5"], row_id)).any()


def test_nothing_gives_an_empty_index(tmp_path: Path) -> None:
    fold(passages(1).slice(0, 0)).finish().save(tmp_path)
    texts = Texts.load(tmp_path)
    assert len(texts) == 0
    for none in (pa.array([], row_id), pa.array([]), pa.chunked_array([], row_id)):
        assert texts.take(none).to_pylist() == []
        assert texts.keys(none).type == row_id
    assert not texts.has(pa.array([b"x" * 16], row_id)).any()


def test_the_key_is_of_the_content_without_title_case_and_spaces() -> None:
    shown = example()
    texts = fold(shown.table).finish()
    names = shown.table["passage"].to_pylist()
    by_text = dict(zip(names, shown.table["passage_id"].to_pylist(), strict=True))
    pair = texts.keys(pa.array([by_text["The river"], by_text["the  RIVER"], by_text["stone"]], row_id))
    assert pair[0] == pair[1] != pair[2]


def test_a_slice_of_ids_is_read_from_where_it_starts() -> None:
    table = passages(20)
    texts = fold(table).finish()
    ids = table["passage_id"].combine_chunks()
    assert texts.take(ids.slice(5, 3)).to_pylist() == texts.take(ids).to_pylist()[5:8]


def test_parts_that_are_done_at_once_leave_the_count_of_what_is_held_right(monkeypatch: pytest.MonkeyPatch) -> None:
    table = passages(256 * 40)
    texts = fold(table).finish()
    monkeypatch.setattr(index_texts_module, "_CACHED", sum(texts._block(n).nbytes for n in range(8)))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            draws = [np.random.default_rng(seed).integers(0, len(table), 50) for seed in range(200)]
            found = list(pool.map(lambda at: texts.take(table["passage_id"].take(pa.array(at))), draws))
    finally:
        sys.setswitchinterval(before)
    assert all(len(one) == 50 for one in found)
    assert texts._held == sum(block.nbytes for block in texts._blocks.values())
    assert len(texts._blocks) > 4  # counted twice, a block was never given back, and in the end one block was kept


def test_documents_are_known_by_their_own_ids_before_they_are_split():
    titles, bodies = ["Oak", ""], ["a tree", "The river"]
    table = pa.table({"doc_id": columns.content_ids(titles, bodies), "title": titles, "text": bodies}).sort_by("doc_id")
    fold = index_texts(IndexTexts(of="documents"))
    fold.add(table, 0)
    assert fold.finish().take(columns.content_ids(titles, bodies)).to_pylist() == ["Oak\na tree", "The river"]
    assert {*index_texts.columns_read(IndexTexts(of="documents"))} == {"doc_id", "title", "text"}
