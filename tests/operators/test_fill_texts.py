"""Fill texts: templates over columns as they were, ids made anew."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns import content_id
from operators.contract import apply, text
from operators.fill_texts import FillTexts, example, fill_texts


def test_columns_swap_because_all_are_filled_from_what_was() -> None:
    table = pa.table({"query": pa.array(["q"], text), "passage": pa.array(["p"], text)})
    p = FillTexts(texts={"query": "{passage}", "passage": "{query}"}, identify={"query_id": ["query", ""]})
    row = apply(fill_texts, table, p).table.to_pylist()[0]
    assert (row["query"], row["passage"], row["query_id"]) == ("p", "q", content_id("p", ""))


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_braces_in_a_value_mean_nothing(values: list[str]) -> None:
    table = pa.table({"passage": pa.array([v + "{passage}\\1" for v in values], text)})
    out = apply(fill_texts, table, FillTexts(texts={"query": "a {passage} b"})).table
    assert out["query"].to_pylist() == [f"a {v}{{passage}}\\1 b" for v in values]


def test_the_positive_is_the_passage_as_filled() -> None:
    case = example()
    for row in apply(fill_texts, case.table, case.params).table.to_pylist():
        assert row["positive_ids"] == [row["passage_id"]] == [content_id(row["title"], row["passage"])]


def test_without_identify_an_id_stays_that_of_the_original() -> None:
    table = pa.table(
        {"passage_id": pa.array([b"i" * 16], pa.binary(16)), "passage": pa.array(["p"], text), "more": pa.array(["m"], text)}
    )
    row = apply(fill_texts, table, FillTexts(texts={"passage": "{passage} {more}"}, positive=True)).table.to_pylist()[0]
    assert (row["passage"], row["passage_id"], row["positive_ids"]) == ("p m", b"i" * 16, [b"i" * 16])


def test_an_id_as_a_text_is_refused() -> None:
    with pytest.raises(ValueError, match="texts.positive_ids: that column holds no text"):
        FillTexts(texts={"positive_ids": "x"})
