"""Link near-duplicates: candidate pairs whose texts' shingles have a Jaccard of the threshold at least.

The candidates of MinHash (Broder 1997) are a guess; here both texts are read and compared. A pair hangs on its two texts
alone, so a refresh compares only pairs that are new.
"""

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import codes, indexed
from operators.contract import Example, Needs, Outcome, operator, reject, row_id, score
from operators.index_texts import Texts
from operators.shingles import Shingles, cut_as, likeness


class LinkDuplicates(Shingles):
    """From what Jaccard on two texts are near-duplicates: at least that of `sign_bands`, which finds few pairs below its own."""

    threshold: float = Field(default=0.8, gt=0, le=1)


@operator(
    "map", version="3", reads={"id_a": row_id, "id_b": row_id}, writes={"jaccard": score}, rows="fewer",
    agrees=cut_as, rises=lambda p: {"jaccard": p.threshold},
    needs=Needs(batch_rows=1 << 17),  # each batch reads the texts of its pairs, which stand anywhere
)  # fmt: skip
def link_duplicates(table: pa.Table, p: LinkDuplicates, *, texts: Texts) -> Outcome:
    """Pairs in, edges out with their Jaccard; pairs below the threshold are rejects that tell it."""
    count = len(table)
    both = pa.concat_arrays([pa.array([], row_id), *table["id_a"].chunks, *table["id_b"].chunks])
    known = texts.has(both)
    known = known[:count] & known[count:]
    told = both.filter(pa.array(np.tile(known, 2)))
    number = codes([told])[0]  # in the order of ids
    _, first = np.unique(number, return_index=True)
    one, other = np.split(number, 2)
    found = np.zeros(count, np.float32)
    found[known] = likeness(texts, told.take(pa.array(first)), one, other, p)
    low = found < np.float32(p.threshold)
    reasons = ["below the threshold" if one else "no text has this id" for one in known]
    return reject(columns.put(table, "jaccard", pa.array(found, score)), low, reasons, [f"{one:.3f}" for one in found])


def example() -> Example:
    """Three pairs: one text in another case, one that is longer by a word, one of another text."""
    said = ["a library that reads many archives", "A library that reads many ARCHIVES", "Owls hunt mice by night"]
    ids, texts = indexed([*said, said[0] + " fast"])
    pairs = [(0, 1), (0, 3), (0, 2)]
    table = pa.table({name: pa.array([ids[one[i]] for one in pairs], row_id) for i, name in enumerate(("id_a", "id_b"))})
    return Example(table, LinkDuplicates(), {"texts": texts})
