"""Read structures: records as `field: value`, and tables that every machine has."""

import json
from pathlib import Path

import pytest

from operators.contract import Outcome
from operators.read_structures import ReadStructures, read_structures, structure_of


def outcomes(p: ReadStructures) -> list[Outcome]:
    assert read_structures.items is not None
    return [outcome for item in read_structures.items(p) for outcome in read_structures(item, p)]


def test_records_are_told_and_empty_ones_rejected(tmp_path: Path) -> None:
    lines = [{"name": "Rhine", "length_km": 1230, "mouth": None}, {"name": None, "length_km": None, "mouth": ""}]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    found = outcomes(ReadStructures(path=str(tmp_path / "r.jsonl")))[0]
    assert found.table["structure"].to_pylist() == ["name: Rhine; length km: 1230"]
    assert found.rejects["reason"].to_pylist() == ["empty record"]
    only = outcomes(ReadStructures(path=str(tmp_path / "r.jsonl"), fields=("length_km",)))[0]
    assert only.table["structure"].to_pylist() == ["length km: 1230"]


def test_python_tables_are_hundreds_of_distinct_structures() -> None:
    found = outcomes(ReadStructures(path=".", format="python_tables"))[0].table["structure"].to_pylist()
    assert len(set(found)) == len(found) > 400
    assert "HTTP status code: 404; phrase: Not Found; description: Nothing matches the given URI" in found


@pytest.mark.parametrize(("record", "said"), [({"a": [1, 2], "b": 0}, "a: 1, 2; b: 0"), ({"a:b": "x;\ny"}, "ab: x, y"), ({}, "")])
def test_a_value_cannot_end_its_field(record: dict[str, object], said: str) -> None:
    assert structure_of(record) == said


def test_an_absent_file_or_field_is_named_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("name,born\nAda,1874\n")
    assert read_structures.check is not None
    assert "has no field 'died'" in read_structures.check(ReadStructures(path=str(tmp_path / "r.csv"), fields=("died",)), {})[0]
    assert read_structures.check(ReadStructures(path=str(tmp_path / "absent.csv")), {})
