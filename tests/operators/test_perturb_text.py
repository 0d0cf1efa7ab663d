"""Perturb text: always another text, near the one given, the same for the same row."""

from collections import Counter

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from operators import columns
from operators.contract import apply, text
from operators.perturb_text import PerturbText, perturb_text

SAID = st.lists(st.text("abcdefgh,", min_size=1, max_size=8), max_size=9).map(" ".join)


def run(said: list[str], p: PerturbText) -> list[dict[str, str]]:
    table = pa.table({"query_id": columns.content_ids(said, [""] * len(said)), "query": pa.array(said, text)})
    outcome = apply(perturb_text, table, p)
    assert set(outcome.rejects["reason"].to_pylist()) <= {"too short to perturb"}
    rows: list[dict[str, str]] = outcome.table.to_pylist()
    return rows


@example([", , a a"], 0)
@given(st.lists(SAID, min_size=1, max_size=5), st.integers(0, 3))
def test_a_variant_differs_and_each_kind_does_what_it_says(said: list[str], seed: int) -> None:
    for row in run(said, PerturbText(seed=seed)):
        old, new = row["query"].split(), row["perturbed"].split()
        assert new
        assert new != old
        if row["perturbation"] == "word_order":
            assert Counter(new) == Counter(old)
        elif row["perturbation"] == "typos":
            assert sum(a != b for a, b in zip(old, new, strict=True)) == 1
        else:
            assert len(old) / 2 <= len(new) < len(old) or "," in row["query"]


def test_all_kinds_come_and_a_seed_fixes_them() -> None:
    said = [f"why does iron number{i} rust in the rain" for i in range(60)]
    assert {r["perturbation"] for r in run(said, PerturbText())} == {"typos", "word_order", "phrase_split"}
    assert run(said, PerturbText()) == run(said, PerturbText())
    assert run(said, PerturbText()) != run(said, PerturbText(seed=1))
    assert {r["perturbation"] for r in run(said, PerturbText(kinds=("typos",)))} == {"typos"}
