"""Measure entities: numbers, values, links, code and names of a structure in a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import apply
from operators.measure_entities import MeasureEntities, entities, example, measure_entities, stands_in


def test_recall_names_what_is_missing() -> None:
    case = example()
    out = apply(measure_entities, case.table, case.params).table
    assert out["entity_recall"].to_pylist() == [1, 0.5, 1]
    assert out["missing_entities"].to_pylist() == [[], ["410"], []]


def wanted(given_: str, *kinds: str) -> list[str]:
    return entities(given_, MeasureEntities.model_validate({"structure": "a", "column": "b", "kinds": kinds}))


def test_each_kind_is_found() -> None:
    said = "In Bergen Nadia Haas paid 1,204.50 for `rm -rf` and -3, see https://a.org/x_1."
    assert wanted(said, "numbers") == ["1,204.50", "-3"]
    assert wanted(said, "links") == ["https://a.org/x_1"]
    assert wanted(said, "code") == ["`rm -rf`"]
    assert wanted(said, "names") == ["Bergen Nadia Haas", "x_1"]
    assert wanted("name: Ada Berg; born: 1874; told: one two three four five", "values") == ["Ada Berg", "1874"]


@pytest.mark.parametrize(
    ("entity", "said", "there"),
    [("404", "code 404.", True), ("404", "code 4040", False), ("404", "v404", False), ("1,204", "1204 nurses", True),
     ("1204", "1.204 Menschen", True), ("1,20", "1.20 Euro", True), ("12", "1.2", False), ("Ada Berg", "ada  berg was", True),
     ("Ada", "Adam", False), ("C++", "in C++, of", True), ("-3", "at 3 degrees", False)],
)  # fmt: skip
def test_an_entity_stands_there_as_a_whole(entity: str, said: str, there: bool) -> None:
    assert stands_in(entity, said) is there


@given(st.integers(-(10**9), 10**9), st.text(st.characters(categories=["Ll"]), max_size=10))
def test_a_number_stands_in_every_text_that_holds_it_between_spaces(number: int, around: str) -> None:
    assert wanted(f"{around} {number} {around}", "numbers") == [str(number)]
    assert stands_in(str(number), f"{around} {number:,} {around}")
    assert not stands_in(str(number), f"{around} {number + 1} {around}")
