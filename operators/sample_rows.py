"""Keep a share of the rows, drawn by the hash of their id: the same rows whatever else is there."""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.columns import id_pairs
from operators.contract import Example, Outcome, Params, operator, reject, row_id


class SampleRows(Params):
    """How much to keep, and of what."""

    share: float = Field(gt=0, le=1)  # of the ids
    offset: float = Field(default=0, ge=0, lt=1, description="where the share begins: 0, 0.5, 0.8 part rows 50, 30, 20 %")
    key: str = "passage_id"
    seed: int = Field(default=0, ge=0, lt=2**64)  # another seed is another draw


@operator("map", version="1", reads=lambda p: {p.key: row_id}, rows="fewer")
def sample_rows(table: pa.Table, p: SampleRows) -> Outcome:
    """Keep a row iff the hash of its id and the seed falls into the share; others are rejects.

    Shares that do not overlap part the rows, as quotas for several generators do (Nemotron, arXiv:2511.07025).
    """
    # the id's second half: buckets are ranges of the first, a draw by those would empty parts
    low = id_pairs(table[p.key])["lo"]
    mixed = (low ^ np.uint64(p.seed)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    place = (mixed >> np.uint64(11)).astype(np.float64) / 2**53
    return reject(table, (place < p.offset) | (place >= p.offset + p.share), "not in the sample")


def example() -> Example:
    """Four ids, about half of them kept."""
    keys = [bytes([i * 37 % 256] * 16) for i in range(4)]
    return Example(pa.table({"passage_id": pa.array(keys, row_id)}), SampleRows(share=0.5))
