"""Each cell of a table is told once, under its header; a text without a table stays, and a long line costs no time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import apply
from operators.linearise_tables import example, linearise_tables, linearised

WORD = st.text("abcxyz", min_size=1, max_size=5)


@given(st.integers(2, 4).flatmap(lambda n: st.tuples(st.lists(WORD, min_size=n, max_size=n, unique=True), st.lists(st.lists(WORD, min_size=n, max_size=n), min_size=1, max_size=5))), st.booleans())
def test_every_cell_stands_under_its_header(grid, bars):
    head, rows = grid
    edge = "|" if bars else ""
    lines = [f"{edge}{'|'.join(line)}{edge}" for line in (head, ["--"] * len(head), *rows)]
    said, count = linearised("Before.\n\n" + "\n".join(lines) + "\n\nAfter.")
    assert count == len(rows)
    assert said.split("\n\n") == ["Before.", *("; ".join(f"{h}: {c}" for h, c in zip(head, row, strict=True)) + "." for row in rows), "After."]


@pytest.mark.parametrize(
    "body",
    ["a | b\nno rule | here", "| a | b |\n|---|\n| 1 | 2 |", "```\n| a | b |\n|---|---|\n| 1 | 2 |\n```", "a\n---\nb", "| a | b |\n|---|---|", "x || y", "| a | b |\n|---|---| z\n| 1 | 2 |"],
)
def test_what_is_no_table_stays(body):
    assert linearised(body) == (body, 0)


def test_a_column_without_a_name_leads_and_odd_cells_are_kept():
    said, _ = linearised("| | x | y |\n|:-|-:|:-:|\n| r | 5 | a \\| b | more |\n| s | | |")
    assert said == "r, more. x: 5; y: a | b.\n\ns."


@pytest.mark.parametrize("line", ["|" * 200_000, " " * 200_000 + "|", "|" + "-" * 200_000, "a|b\n" + "-|" * 100_000 + "x", "a|b\n" + " " * 200_000 + "x"])
def test_long_lines_take_no_time_to_speak_of(line):
    linearised(f"{line}\n{line}\n{line}")  # with a step for each pair of places this would never end


def test_ids_are_of_the_new_text_and_rows_are_counted():
    shown = example()
    out = apply(linearise_tables, shown.table, shown.params).table
    assert out["table_rows"].to_pylist() == [2, 0, 0]
    assert [a != b for a, b in zip(out["doc_id"].to_pylist(), shown.table["doc_id"].to_pylist(), strict=True)] == [True, False, False]
    assert linearise_tables.measure(out, shown.params) == {"table rows": 2}
