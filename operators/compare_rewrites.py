"""Score a rewritten text against its original: cosine of an encoder, and the share of words that they have in common.

A paraphrase says the same (high cosine) in other words (low overlap): ParaNMT (arXiv:1711.05732), PTEB (arXiv:2510.06730).
With an encoder of many languages the cosine is VN-MTEB's check of a translation (arXiv:2507.21500).
"""

import re
from collections import Counter

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Example, Needs, Params, operator, score, text
from operators.engines.encoder import Encoder, Role
from operators.sentences import words

_EDGE = re.compile(r"^\W+|\W+$")


class CompareRewrites(Params):
    """Which two columns."""

    original: str = Field(default="passage", min_length=1, description="the column of the text as it was")
    rewrite: str = Field(min_length=1, description="the column of the text as it was written anew")
    role: Role = Field(default="passage", description="what the encoder takes both for")


@operator(
    "map", version="1", reads=lambda p: {p.original: text, p.rewrite: text}, rows="same", needs=Needs(batch_rows=4096),
    writes={"similarity": score, "overlap": score},
)  # fmt: skip
def compare_rewrites(table: pa.Table, p: CompareRewrites, *, encoder: Encoder) -> pa.Table:
    """Add ``similarity`` (cosine) and ``overlap`` (words in common / words of the shorter text)."""
    pairs = [table[name].to_pylist() for name in (p.original, p.rewrite)]
    distinct = list(dict.fromkeys(pairs[0] + pairs[1]))
    place = {t: i for i, t in enumerate(distinct)}
    vectors = encoder.encode(distinct, p.role)
    left, right = (vectors[[place[t] for t in side]].astype(np.float64) for side in pairs)
    cosine = np.einsum("ij,ij->i", left, right) if len(table) else np.zeros(0)
    shared = [overlap(a, b) for a, b in zip(*pairs, strict=True)]
    wide = columns.put(table, "similarity", pa.array(cosine.astype(np.float32), score))
    return columns.put(wide, "overlap", pa.array(shared, score))


def overlap(one: str, other: str) -> float:
    """Words in common by the words of the shorter text, as often as they occur; 0 where one has none."""
    bags = [Counter(w for a, b in words(t) if (w := _EDGE.sub("", t[a:b].casefold()))) for t in (one, other)]
    least = min(bag.total() for bag in bags)
    return (bags[0] & bags[1]).total() / least if least else 0.0


def example() -> Example:
    """Three rewrites: a paraphrase, a copy, another text; with the packaged encoder."""
    from operators.engines import load_model, packaged

    words_ = ["Iron rusts in rain.", "Owls hunt at night.", "Bread needs yeast."]
    rewrites = ["Wet weather corrodes iron.", "Owls hunt at night.", "The train was late again."]
    table = pa.table({"passage": pa.array(words_, text), "rewrite": pa.array(rewrites, text)})
    return Example(table, CompareRewrites(rewrite="rewrite"), {"encoder": load_model("encoder", packaged("encoder"))})
