"""Split rows for training and for looking at the training, by an id: no passage stands on both sides (CADET, arXiv:2505.19274).

A split by rows puts one passage's queries on both sides, and its dev score is too good (C45).
"""

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from operators import columns
from operators.contract import Example, Outcome, Params, operator, reject, row_id, text


class SplitRows(Params):
    """The shares, and which side passes on."""

    shares: dict[str, float] = Field(default={"train": 0.9, "dev": 0.1}, min_length=1, description="side: its share of the ids")
    keep: tuple[str, ...] = Field(default=(), description="the sides that pass on, the others are rejects; all where not said")
    key: str = Field(default="passage_id", min_length=1, description="the id that stays on one side")
    seed: int = Field(default=42, ge=0)

    @field_validator("shares")
    @classmethod
    def sum_to_one(cls, value: dict[str, float]) -> dict[str, float]:
        """Shares are above 0 and sum to 1."""
        if min(value.values()) <= 0 or abs(sum(value.values()) - 1) > 1e-6:
            raise ValueError(f"shares must be above 0 and sum to 1, they sum to {sum(value.values()):g}")
        return value


@operator("map", version="1", reads=lambda p: {p.key: row_id}, writes={"split": text}, rows="fewer")
def split_rows(table: pa.Table, p: SplitRows) -> Outcome:
    """Add ``split`` by the hash of the id and the seed."""
    names, ends = list(p.shares), np.cumsum(list(p.shares.values()))
    place = np.array([columns.row_seed(p.seed, key) / 2**63 for key in table[p.key].to_pylist()])
    side = [names[min(int(i), len(names) - 1)] for i in np.searchsorted(ends, place, side="right")]
    out = columns.put(table, "split", pa.array(side, text))
    return reject(out, [bool(p.keep) and s not in p.keep for s in side], "in another split", side)


def example() -> Example:
    """Six rows of three passages, half of these kept."""
    keys = [bytes([i * 37 % 256] * 16) for i in (0, 1, 2, 0, 1, 2)]
    shares = {"train": 0.5, "dev": 0.5}
    return Example(pa.table({"passage_id": pa.array(keys, row_id)}), SplitRows(shares=shares, keep=("train",)))
