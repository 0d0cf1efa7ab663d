"""A small share of `tests/bench/chaos.py`: runs that are hurt end in the bytes of one that is not, and make no part twice."""

import pytest

from tests.bench import chaos


@pytest.mark.slow
def test_runs_that_are_hurt_end_in_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(chaos, "PORT", 8533)
    rows = list(chaos.hurt([5, 9], ["local"] * 2, tmp_path))
    assert [(r["same_bytes"], r["parts_repeated"]) for r in rows] == [(True, 0)] * 2, rows
    assert all(r["statuses"].endswith("0") for r in rows) and sum(len(r["faults"].split(",")) for r in rows) > 3
