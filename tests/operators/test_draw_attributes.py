"""Attributes of rows: drawn by the row's id, another for each copy, files read into the recipe."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators.contract import apply, row_id, text
from operators.draw_attributes import DrawAttributes, draw_attributes

LISTS = {"language": ["de", "en", "zh"], "length": ["5", "50"]}


def table(count: int) -> pa.Table:
    keys = pa.array([i.to_bytes(16, "big") for i in range(count)], row_id)
    return pa.table({"passage_id": keys, "passage": pa.array([f"p{i}" for i in range(count)], text)})


def test_copies_of_a_row_differ_while_there_are_combinations_left() -> None:
    made = apply(draw_attributes, table(20), DrawAttributes(attributes=LISTS, copies=6)).table
    assert made["copy"].to_pylist() == list(range(6)) * 20
    assert made["_row"].to_pylist() == [i for i in range(20) for _ in range(6)]
    drawn = list(zip(made["language"].to_pylist(), made["length"].to_pylist(), strict=True))
    assert all(len(set(drawn[i : i + 6])) == 6 for i in range(0, 120, 6))
    assert len({tuple(drawn[i : i + 6]) for i in range(0, 120, 6)}) > 15
    assert len(set(made["task_id"].to_pylist())) == 120
    assert made["passage"].to_pylist()[::6] == [f"p{i}" for i in range(20)]


def test_what_is_drawn_is_the_rows_own_and_even_over_rows() -> None:
    p = DrawAttributes(attributes={**LISTS, "level": {"easy": 1, "hard": 3}}, seed=5)
    made = apply(draw_attributes, table(3000), p).table.drop_columns(["_row"])
    assert apply(draw_attributes, table(3000).slice(77, 1), p).table.drop_columns(["_row"]).equals(made.slice(77, 1))
    assert all(abs(n - 1000) < 120 for n in Counter(made["language"].to_pylist()).values())
    assert abs(Counter(made["level"].to_pylist())["hard"] - 2250) < 120
    other = apply(draw_attributes, table(3000), p.model_copy(update={"seed": 6})).table
    assert made["language"].to_pylist() != other["language"].to_pylist()


def test_one_more_copy_changes_none_of_the_others() -> None:
    few = apply(draw_attributes, table(5), DrawAttributes(attributes=LISTS, copies=2)).table.to_pylist()
    more = apply(draw_attributes, table(5), DrawAttributes(attributes=LISTS, copies=3)).table.to_pylist()
    assert few == [r for r in more if r["copy"] < 2]


def test_a_files_values_are_part_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "personas.txt").write_text("a nurse\na mason\n")
    p = DrawAttributes.model_validate({"attributes": {"persona": "personas.txt"}}, context={"roots": [str(tmp_path)]})
    assert p.attributes == {"persona": ["a nurse", "a mason"]}
    assert DrawAttributes.model_validate_json(p.model_dump_json()) == p


@pytest.mark.parametrize(
    ("attributes", "said"),
    [({"passage_id": ["a"]}, "and not task_id or copy or passage_id"), ({"a": "none.txt"}, "no prompt file 'none.txt'"),
     ({"a": "large.txt"}, "above 1 MB"), ({"a": "empty.txt"}, "must hold texts")],
)  # fmt: skip
def test_what_cannot_be_drawn_from_is_refused(attributes: dict, said: str, tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_text("x" * 1_000_001)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValidationError, match=said):
        DrawAttributes.model_validate({"attributes": attributes}, context={"roots": [str(tmp_path)]})
