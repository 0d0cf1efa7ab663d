"""Every row in is a row out or a reject, never both, and no other row is named."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import REJECTS, ROW, ContractError, Outcome, account
from operators.drop_duplicates import drop_duplicates

ROWS = st.lists(st.integers(0, 6), max_size=8)


@given(st.integers(0, 6), ROWS, ROWS)
def test_what_is_not_accounted_for_is_told(count: int, named: list[int], dropped: list[int]) -> None:
    bad = pa.table([pa.array(dropped, pa.int32()), pa.array([""] * len(dropped)), pa.array([""] * len(dropped))], schema=REJECTS)
    outcome = Outcome(pa.table({ROW: pa.array(named, pa.int32())}), bad)
    whole = {*named} | {*dropped} == {*range(count)} and not {*named} & {*dropped}
    if whole and len(named) == len({*named}):
        account(_op("fewer"), count, outcome)
        account(_op("same"), count, outcome)
    elif whole:
        account(_op("fewer"), count, outcome)
        with pytest.raises(ContractError, match="more than once"):
            account(_op("same"), count, outcome)
    else:
        with pytest.raises(ContractError, match=f"{count} rows in, {len(np.unique(named))} represented"):
            account(_op("fewer"), count, outcome)


def _op(rows):
    from dataclasses import replace

    return replace(drop_duplicates, rows=rows)
