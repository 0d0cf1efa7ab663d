import importlib
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from flows.config import FlowConfig
from operators.columns import content_ids
from operators.contract import apply
from operators.sample_rows import SampleRows, sample_rows

ROWS = pa.table({"passage_id": content_ids([str(i) for i in range(5000)])})


def test_the_share_is_kept_and_a_larger_share_holds_the_smaller():
    small, large = (apply(sample_rows, ROWS, SampleRows(share=s)).table["passage_id"].to_pylist() for s in (0.1, 0.4))
    assert 400 < len(small) < 600
    assert set(small) <= set(large)


def test_another_seed_is_another_draw():
    one, other = (set(apply(sample_rows, ROWS, SampleRows(share=0.1, seed=s)).table["passage_id"].to_pylist()) for s in (1, 2))
    assert len(one & other) < 120


def test_shares_side_by_side_part_the_rows():
    parts = [SampleRows(share=0.5), SampleRows(share=0.3, offset=0.5), SampleRows(share=0.2, offset=0.8)]
    kept = [apply(sample_rows, ROWS, p).table["passage_id"].to_pylist() for p in parts]
    assert sorted(i for part in kept for i in part) == sorted(ROWS["passage_id"].to_pylist())
    assert all(abs(len(part) / 5000 - p.share) < 0.03 for part, p in zip(kept, parts, strict=True))


SEEDED = sorted(p.stem for p in Path(importlib.import_module("operators").__path__[0]).glob("*.py") if "    seed: int" in p.read_text())


@pytest.mark.parametrize("name", SEEDED)
def test_no_operator_takes_a_seed_below_zero(name):
    found = getattr(importlib.import_module(f"operators.{name}"), name).params
    with pytest.raises(ValidationError, match="seed\\n  Input should be greater than or equal to 0"):
        found(seed=-1)


def test_a_flow_takes_no_seed_below_zero_and_this_draw_none_of_more_than_64_bits():
    with pytest.raises(ValidationError, match="seed\\n  Input should be greater than or equal to 0"):
        FlowConfig(flow="f", seed=-1, steps={"a": {"op": "read_corpus"}})
    with pytest.raises(ValidationError, match="seed"):
        SampleRows(share=0.5, seed=2**64)
    assert len(apply(sample_rows, ROWS, SampleRows(share=0.5, seed=2**64 - 1)).table) > 2000
