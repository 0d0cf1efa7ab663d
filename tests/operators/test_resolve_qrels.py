"""Judgements become queries with positives, or rejects that name the unknown id."""

import pyarrow as pa
import pytest

from operators import index_ids
from operators.columns import content_id
from operators.contract import InputError, apply, numbered
from operators.index_ids import IndexIds
from operators.resolve_qrels import ResolveQrels, example, resolve_qrels


def test_a_split_document_gives_all_its_passages_or_the_first() -> None:
    shown = example()
    out = apply(resolve_qrels, shown.table, shown.params, **shown.used).table
    birch, bark = content_id("", "birch"), content_id("", "bark")
    assert out["positive_ids"].to_pylist() == [[content_id("", "oak")], [birch, bark]]
    assert out["query"].to_pylist() == ["what is oak?", "what is birch?"]
    assert out["query_id"].to_pylist() == [content_id(q, "") for q in out["query"].to_pylist()]
    first = apply(resolve_qrels, shown.table, ResolveQrels(first_only=True), **shown.used).table
    assert first["positive_ids"].to_pylist() == [[content_id("", "oak")], [birch]]


def test_the_order_of_judgements_changes_none_of_them() -> None:
    shown = example()
    turned = shown.table.take(pa.array([4, 2, 1, 3, 0]))
    out = apply(resolve_qrels, turned, shown.params, **shown.used).table
    assert out["query"].to_pylist() == ["what is birch?", "what is oak?"]
    two = [content_id("", "birch"), content_id("", "bark")]
    assert out["positive_ids"].to_pylist() == [two, [content_id("", "oak")]]


def test_what_refers_to_nothing_or_says_no_is_rejected() -> None:
    shown = example()
    rejects = apply(resolve_qrels, shown.table, shown.params, **shown.used).rejects.to_pylist()
    assert [(r["_row"], r["reason"], r["value"]) for r in rejects] == [
        (2, "unknown query id", "q9"),
        (3, "unknown document id", "d9"),
        (4, "below min_relevance", "0"),
    ]
    graded = apply(resolve_qrels, shown.table, ResolveQrels(min_relevance=2), **shown.used)
    assert graded.table["_row"].to_pylist() == [1]


def test_a_map_without_the_query_text_is_refused() -> None:
    shown = example()
    bare = index_ids.index_ids(IndexIds(id="query_id")).finish()
    with pytest.raises(InputError, match="carry"):
        resolve_qrels(numbered(shown.table), ResolveQrels(), passages=shown.used["passages"], queries=bare)
