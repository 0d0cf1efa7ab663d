"""Sign each text by MinHash and cut the signature into bands: texts that share a band are likely near-duplicates.

Locality-sensitive hashing by bands (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, §3.4): two texts of Jaccard s
share one of b bands of r rows with probability 1 - (1 - s**r)**b.
"""

from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import indexed
from operators.contract import ROW, Columns, Example, Outcome, operator, reject, row_id
from operators.index_texts import Texts
from operators.shingles import Shingles, cut_as, mixed, signatures

Array = np.ndarray[Any, Any]
COUNT, ORDER = pa.int32(), pa.uint64()


class SignBands(Shingles):
    """How long a signature is, and how sure a pair at the threshold is to be found: they choose the bands."""

    key: str = Field(default="passage_id", description="the column of the texts' ids")
    permutations: int = Field(default=60, ge=8, le=1024, description="numbers of a signature")
    threshold: float = Field(default=0.8, ge=0.3, le=1)  # Jaccard from which on texts are near-duplicates
    recall: float = Field(default=0.98, gt=0, lt=1, description="least share of the pairs at the threshold that shares a band")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if (best := self.found(self.threshold, 1)) < self.recall:
            told = f"{self.permutations} permutations find a pair of {self.threshold} with {best:.4f} at best"
            raise ValueError(f"recall: {told}; give more permutations, or ask for less")
        return self

    @property
    def rows(self) -> int:
        """Rows of a band: the most with which a pair at the threshold is found as surely as asked. 5, of 12 bands, by default."""
        return max(r for r in range(1, self.permutations + 1) if self.found(self.threshold, r) >= self.recall)

    def found(self, jaccard: float, rows: int) -> float:
        """The probability that a pair of this Jaccard shares a band."""
        return float(1 - (1 - jaccard**rows) ** (self.permutations // rows))


def _reads(p: SignBands) -> Columns:
    return {p.key: row_id}


def _writes(p: SignBands) -> Columns:
    return {"band": row_id, p.key: row_id, "length": COUNT, "order": ORDER}


@operator(
    "map", version="3", reads=_reads, writes=_writes, rows="many", closed=True,
    agrees=cut_as, rises=lambda p: {"jaccard": p.threshold},
)  # fmt: skip
def sign_bands(table: pa.Table, p: SignBands, *, texts: Texts) -> Outcome:
    """N texts in, N × bands rows out: the key of a band, which holds the band's number, and the text's id and length.

    ``order`` is of two numbers of the next band: sorted by it, the texts of a large bucket stand beside those that they share
    more with (LSH Forest; Bawa, Condie, Ganesan, WWW 2005). A text of blanks alone has no shingle and is a reject.
    """
    ids = pa.concat_arrays([pa.array([], row_id), *table[p.key].chunks])
    known = texts.has(ids)
    said = texts.take(ids.filter(pa.array(known)))
    signed, has = np.zeros((len(ids), p.permutations), np.uint32), np.zeros(len(ids), bool)
    signed[known], has[known] = signatures(said, p, p.permutations)
    outcome = reject(table, ~has, ["no text" if one else "no text has this id" for one in known])
    keys, order = _bands(signed[has], p.rows)
    bands = keys.shape[1]
    wide = columns.repeat(outcome.table.select([p.key, ROW]), bands)  # nothing else passes on
    raw = np.ascontiguousarray(keys.astype(">u8"))
    made = {
        "band": pa.Array.from_buffers(row_id, len(wide), [None, pa.py_buffer(raw)]),
        "length": pa.array(np.repeat(texts.lengths(ids.filter(pa.array(has))), bands), COUNT),
        "order": pa.array(order.reshape(-1), ORDER),
    }
    for name, values in made.items():
        wide = columns.put(wide, name, values)
    return Outcome(wide, outcome.rejects)


def _bands(signed: Array, rows: int) -> tuple[Array, Array]:
    """Of signatures (N, permutations): the key of each band, (N, bands, 2) uint64, and the order in it, (N, bands) uint64."""
    bands = signed.shape[1] // rows
    cut = signed[:, : bands * rows].reshape(len(signed), bands, rows).astype(np.uint64)
    number = np.broadcast_to(np.arange(bands, dtype=np.uint64), cut.shape[:2])
    told = [number, *(cut[:, :, i] for i in range(rows))]
    keys = np.stack([mixed([one.reshape(-1) for one in told], seed) for seed in (1, 2)], axis=-1)
    after = np.roll(cut, -1, axis=1)
    return keys.reshape(len(signed), bands, 2), (after[:, :, 0] << np.uint64(32)) | after[:, :, -1]


def example() -> Example:
    """Two descriptions that differ in a word and in case, a short one, one of blanks alone."""
    said = ["A library that reads and writes archives of many kinds", "a library that reads and writes ARCHIVES of any kind"]
    ids, texts = indexed([*said, "Owls", " "])
    return Example(pa.table({"passage_id": pa.array(ids, row_id)}), SignBands(), {"texts": texts})
