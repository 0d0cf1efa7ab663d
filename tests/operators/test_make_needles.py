"""Make needles: documents of the length asked, the needle once and anywhere, every query its own."""

from collections import Counter
from pathlib import Path

import pytest

from operators.contract import InputError
from operators.make_needles import MakeNeedles, make_needles


def rows(p: MakeNeedles) -> list[dict[str, object]]:
    assert make_needles.items is not None
    return [row for item in make_needles.items(p) for outcome in make_needles(item, p) for row in outcome.table.to_pylist()]


def test_lengths_are_as_asked_and_the_answer_stands_in_the_passage_once() -> None:
    for row in rows(MakeNeedles(lengths=(256, 1024), per_length=5)):
        passage, query, length = str(row["passage"]), str(row["query"]), row["length_bucket"]
        assert isinstance(length, int)
        assert abs(len(passage.split()) - length * 3 / 4) <= 1
        who = (
            query.removeprefix("What is the pass key of ").rstrip("?")
            if row["query_type"] == "passkey"
            else query.split(" the ", 1)[1].split(",")[0]
        )
        assert passage.count(who) == 1
        assert row["positive_ids"] == [row["passage_id"]]


def test_queries_and_documents_are_distinct_and_depths_uniform() -> None:
    made = rows(MakeNeedles(lengths=(256, 512), per_length=200))
    assert len({r["query"] for r in made}) == len({r["passage_id"] for r in made}) == len(made) == 800
    thirds = Counter(min(int(3 * float(str(r["depth"]))), 2) for r in made)
    assert all(210 < thirds[i] < 325 for i in range(3))


def test_a_seed_fixes_the_set_and_another_makes_another() -> None:
    p = MakeNeedles(lengths=(256,), per_length=3)
    assert rows(p) == rows(p) != rows(p.model_copy(update={"seed": 1}))


def test_filler_comes_from_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("Foxes run. Hares hide. " * 3)
    made = rows(MakeNeedles(kinds=("needle",), lengths=(256,), per_length=2, path=str(tmp_path / "f.txt")))
    assert all("Foxes run. Hares hide." in str(r["passage"]) for r in made)
    with pytest.raises(InputError, match="cannot be read as UTF-8 text"):
        rows(MakeNeedles(path=str(tmp_path / "absent.txt")))


def test_more_documents_than_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="questions would come twice"):
        MakeNeedles(lengths=(256,), per_length=5000)
