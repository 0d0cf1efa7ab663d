"""Lists of attributes: every combination once, weights kept, any row alone, files part of the identity."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.flow import load
from operators.contract import InputError
from operators.list_attributes import ListAttributes, Sampler, list_attributes, permuted, read_list

LISTS = {"query_type": ["rare", "usual"], "language": ["de", "en", "zh"], "length": ["5", "10", "50", "100"]}


def rows(p: ListAttributes) -> list[dict[str, str]]:
    return [row for item in list_attributes.items(p) for out in list_attributes(item, p) for row in out.table.to_pylist()]


def combination(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in LISTS)


def test_with_rows_for_all_every_combination_comes_equally_often_in_an_order_of_the_seed() -> None:
    made = rows(ListAttributes(rows=48, attributes=LISTS, seed=3))
    assert set(Counter(map(combination, made)).values()) == {2}
    assert len({combination(r) for r in made[:24]}) == 24
    assert [combination(r) for r in made[:24]] != [combination(r) for r in made[24:]] != sorted(map(combination, made[:24]))
    assert made == rows(ListAttributes(rows=48, attributes=LISTS, seed=3))
    assert made != rows(ListAttributes(rows=48, attributes=LISTS, seed=4))
    assert len({r["task_id"] for r in made}) == 48


def test_fewer_rows_are_the_first_of_more_and_none_comes_twice() -> None:
    some, all_ = rows(ListAttributes(rows=10, attributes=LISTS)), rows(ListAttributes(rows=24, attributes=LISTS))
    assert some == all_[:10]
    assert len({combination(r) for r in some}) == 10


@given(st.integers(1, 300), st.integers(0, 2**40))
def test_a_permutation_takes_each_place_once(size: int, seed: int) -> None:
    assert sorted(permuted(i, size, seed) for i in range(size)) == list(range(size))


def test_the_first_place_is_any_place_over_seeds() -> None:
    firsts = Counter(permuted(0, 6, seed) for seed in range(6000))
    assert all(abs(n - 1000) < 150 for n in firsts.values())
    assert len(firsts) == 6


def test_weights_are_shares_and_their_order_means_nothing() -> None:
    sampler = Sampler({"language": {"en": 3, "de": 1, "zh": 0}}, 1)
    turned = Sampler({"language": {"zh": 0, "de": 1, "en": 3}}, 1)
    drawn = [sampler.draw(n)["language"] for n in range(4000)]
    assert abs(Counter(drawn)["en"] - 3000) < 120
    assert "zh" not in drawn
    assert drawn == [turned.draw(n)["language"] for n in range(4000)]


def test_a_file_gives_its_lines_and_its_content_is_the_identity(tmp_path: Path) -> None:
    (tmp_path / "people_of_this_test.txt").write_text("a nurse\n\n a mason \na nurse\n", encoding="utf-8")
    p = ListAttributes(rows=2, attributes={"persona": "people_of_this_test.txt"}, path=str(tmp_path))
    before = list_attributes.items(p)[0].digest
    assert {r["persona"] for r in rows(p)} == {"a nurse", "a mason"}
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "people_of_this_test.txt").write_text("a nurse\na mason\n")
    assert list_attributes.items(p.model_copy(update={"path": str(tmp_path / "copy")}))[0].digest == before
    (tmp_path / "people_of_this_test.txt").write_text("a nurse\na miller\n")
    assert list_attributes.items(p)[0].digest != before


def test_records_of_jsonl_give_the_field_of_the_attributes_name(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"persona": "a nurse", "id": 1}\n{"persona": "a mason"}\n')
    assert read_list(tmp_path / "p.jsonl", "persona") == ["a nurse", "a mason"]
    with pytest.raises(InputError, match="every line a record with 'job'"):
        read_list(tmp_path / "p.jsonl", "job")


def test_a_flow_finds_the_file_beside_it_and_the_folder_is_no_identity(tmp_path: Path) -> None:
    prints = []
    for name in ("a", "b"):
        home = tmp_path / name
        home.mkdir()
        (home / "people_of_this_test.txt").write_text("a nurse\na mason\n")
        (home / "flow.yaml").write_text(
            "flow: f\nsteps:\n  people: {op: list_attributes, with: {rows: 2, attributes: {persona: people_of_this_test.txt}}}\n"
        )
        flow = load(home / "flow.yaml")
        from flows.flow import recipe_of

        assert len(rows(flow.steps[0].params)) == 2
        prints.append(recipe_of(flow.steps[0], {}))
    assert prints[0] == prints[1]
    (home / "people_of_this_test.txt").unlink()
    with pytest.raises(InputError, match="persona: there is no file people_of_this_test.txt"):
        load(home / "flow.yaml")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"Query Type": ["a"]}, "name it in small letters"),
        ({"task_id": ["a"]}, "not task_id"),
        ({"a": []}, "at least one value"),
        ({"a": ["x", "x"]}, "each of them once"),
        ({"a": {"x": -1, "y": 2}}, "a weight is a number from 0 on"),
        ({"a": {"x": 0}}, "one of them is above it"),
        ({}, "at least 1 item"),
    ],
)
def test_lists_that_cannot_be_drawn_from_are_refused(attributes: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ListAttributes(rows=1, attributes=attributes)
