import pyarrow as pa

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
