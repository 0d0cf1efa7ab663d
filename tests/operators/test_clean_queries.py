"""Clean queries: each rule rejects by its own name, with the raw answer."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import columns
from operators.clean_queries import CleanQueries, clean_queries, example, fault
from operators.contract import apply, ids, text
from operators.index_texts import IndexTexts, Texts, TextsFold

PASSAGE = "Iron rusts in rain because water and oxygen react with the metal, and salt makes it faster."
P = CleanQueries()


@pytest.mark.parametrize(
    ("query", "kind", "reason"),
    [
        ("why does iron rust", "question", ""),
        ("", "question", "empty"),
        ("rust", "question", "too short"),
        ("rust", "keywords", ""),
        ("rust " + " ".join(f"word{c}" for c in "abcdefghijklmnopqrstuvwxyzabcdefg"), "question", "too long"),
        ("because water and oxygen react with the metal", "claim", "copies the passage"),
        ("iron rusts in rain because water and oxygen react", "title", ""),
        ("iron rusts in rain because water and oxygen react with the metal", "title", "copies the passage"),
        ("How do barn owls locate prey they cannot see?", "question", "repeats a few-shot example"),
        ("почему ржавеет железо", "question", "wrong script"),
        ("鉄はなぜ錆びるのか", "question", "wrong script"),
        ("12 34 5", "question", "degenerate"),
        ("the salt of the salt of the salt of the salt", "question", "degenerate"),
        ("why rust Text: iron", "question", "degenerate"),
        ("why rust \ufffd iron", "question", "degenerate"),
    ],
)
def test_each_rule_has_its_reason(query: str, kind: str, reason: str) -> None:
    assert fault(query, kind, [PASSAGE], P) == reason


def test_a_language_without_spaces_is_counted_by_its_characters() -> None:
    passage = "鉄は雨の中で水と酸素に反応して錆びる。"
    assert fault("鉄はなぜ錆びるのか", "question", [passage], P) == ""
    assert fault("鉄", "question", [passage], P) == "too short"
    assert fault("雨の中で水と酸素に反応して", "question", [passage], P) == "copies the passage"
    assert fault("why does iron rust", "question", [passage], P) == "wrong script"
    assert fault("why does iron rust", "question", [passage], CleanQueries(allow_scripts="any")) == ""


@settings(deadline=None)
@given(st.text(max_size=60), st.sampled_from(["question", "keywords"]))
def test_what_passes_has_letters_and_its_length(query: str, kind: str) -> None:
    if not fault(query, kind, [PASSAGE], P):
        assert any(c.isalpha() for c in query)
        assert len(query.split()) <= P.max_words


def _texts(passages: list[str]) -> tuple[Texts, list[bytes]]:
    keys = columns.content_ids([""] * len(passages), passages)
    fold = TextsFold(IndexTexts())
    table = pa.table({"passage_id": keys, "title": pa.array([""] * len(passages), text), "passage": pa.array(passages, text)})
    fold.add(table.sort_by("passage_id"), 0)
    return fold.finish(), keys.to_pylist()


def test_of_queries_with_one_id_the_first_that_is_good_stays() -> None:
    texts, (iron, owls) = _texts([PASSAGE, "Owls hunt at night; iron rusts in rain when water is near the owls."])
    queries = ["iron rusts in rain when water is near"] * 3
    table = pa.table(
        {
            "query": pa.array(queries, text), "query_id": columns.content_ids(queries, [""] * 3),
            "query_type": pa.array(["question"] * 3, text), "raw": pa.array(["r0", "r1", "r2"], text),
            "fault": pa.array([""] * 3, text),
            "positive_ids": pa.array([[owls], [iron], [iron]], ids),
        }
    )  # fmt: skip
    out = apply(clean_queries, table, P, texts=texts)
    assert out.table["raw"].to_pylist() == ["r1"]
    reasons = list(zip(out.rejects["reason"].to_pylist(), out.rejects["value"].to_pylist(), strict=True))
    assert reasons == [("copies the passage", "r0"), ("duplicate query", queries[2])]


def test_kept_and_rejected_add_up() -> None:
    case = example()
    out = apply(clean_queries, case.table, case.params, **case.used)
    assert sorted(out.table["query"].to_pylist()) == ["how owls find mice", "why does iron rust"]
    assert sorted(out.rejects["reason"].to_pylist()) == ["copies the passage", "duplicate query", "empty"]
    assert apply(clean_queries, case.table.slice(0, 0), case.params, **case.used).table.num_rows == 0


def test_an_answer_that_failed_is_rejected_by_its_own_reason() -> None:
    case = example()
    table = case.table.set_column(case.table.column_names.index("fault"), "fault", pa.array(["answer cut off"] * 5, text))
    out = apply(clean_queries, table, case.params, **case.used)
    assert len(out.table) == 0 and set(out.rejects["reason"].to_pylist()) == {"answer cut off"}
