import pyarrow as pa
import pytest
from pydantic import ValidationError

from operators.columns import content_ids
from operators.contract import apply
from operators.split_rows import SplitRows, split_rows

KEYS = content_ids([str(i // 6) for i in range(12000)])


def split(**params):
    return apply(split_rows, pa.table({"passage_id": KEYS}), SplitRows(**params))


def test_nine_of_ten_passages_train_and_no_passage_is_on_both_sides():
    table = split().table
    sides = {}
    for key, side in zip(table["passage_id"].to_pylist(), table["split"].to_pylist(), strict=True):
        sides.setdefault(key, set()).add(side)
    assert all(len(s) == 1 for s in sides.values())
    share = sum(s == {"train"} for s in sides.values()) / len(sides)
    assert 0.88 < share < 0.92


def test_the_sides_kept_apart_are_the_whole_and_the_rest_is_rejected_by_its_side():
    train, dev = split(keep=["train"]), split(keep=["dev"])
    assert len(train.table) + len(dev.table) == 12000
    assert set(train.rejects["value"].to_pylist()) == {"dev"}


def test_another_seed_is_another_split_and_the_same_seed_the_same():
    assert split().table["split"].equals(split().table["split"])
    assert not split().table["split"].equals(split(seed=43).table["split"])


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValidationError, match="sum to 1, they sum to 0.9"):
        SplitRows(shares={"train": 0.8, "dev": 0.1})
