"""Give each row the shard of its passage, so that a query is searched among the passages of its own positive's shard alone.

Arctic-Embed 2.0 (arXiv:2412.04506) cuts a dataset into shards of about three million and keeps a pair whose passage is
among the best twenty of its shard: `retrieve_dense` with ``alike: [shard]``, then `round_trip`.
"""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Params, operator, row_id, text


class AssignShards(Params):
    """How many, and by which id; pairs and passages say the same."""

    shards: int = Field(ge=2, le=2**32 - 1, description="about the rows of the corpus by three million, as Arctic has it")
    key: str = Field(default="passage_id", min_length=1, description="the id of the passage, of pairs that of the positive")
    into: str = Field(default="shard", min_length=1, description="the column to write")
    seed: int = Field(default=0, ge=0)


def _reads(p: AssignShards) -> Columns:
    return {p.key: row_id}


@operator("map", version="1", reads=_reads, writes=lambda p: {p.into: text}, rows="same")
def assign_shards(table: pa.Table, p: AssignShards) -> pa.Table:
    """Add the shard, a draw by the seed and the id alone: of P passages each holds about P / ``shards``."""
    # in draws of 32 bits: products with the count stay within 64
    place = columns.draws(table[p.key], columns.row_seed(p.seed, "shard")) >> np.uint64(32)
    number = (place * np.uint64(p.shards)) >> np.uint64(32)
    return columns.put(table, p.into, pa.array(number).cast(text))


def example() -> Example:
    """Four passages."""
    return Example(pa.table({"passage_id": columns.content_ids([""] * 4, list("abcd"))}), AssignShards(shards=2))
