"""Measure agreement: the only answer has none, equal answers have all, sides do not matter."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns import content_ids
from operators.contract import apply, text
from operators.measure_agreement import MeasureAgreement, example, measure_agreement


def agreement(said: list[str]) -> list[float]:
    table = pa.table({"query_id": content_ids(["a"] * len(said)), "t": pa.array(said, text)})
    found: list[float] = apply(measure_agreement, table, MeasureAgreement(column="t")).table["agreement"].to_pylist()
    return found


def test_two_that_say_the_same_support_each_other_and_a_stranger_has_no_support() -> None:
    case = example()
    out = apply(measure_agreement, case.table, case.params).table.to_pylist()
    found = {row["translation"]: row["agreement"] for row in out}
    assert found["Der Hund schläft."] == found["Der Hund schläft"] > 0.8
    assert found["Das Haus ist rot."] < 0.3
    assert found["Eis schmilzt."] == 0


@given(st.lists(st.text(max_size=12), min_size=2, max_size=5))
def test_agreement_lies_in_0_1_is_1_for_an_equal_answer_and_ignores_order(said: list[str]) -> None:
    found = agreement(said)
    assert all(0 <= v <= 1 for v in found)
    assert agreement(said[::-1]) == pytest.approx(found[::-1])
    assert agreement([*said, said[0]])[0] == 1
