"""Score how much a row's text and its candidates say the same: ROUGE-L, and BM25 by the scores of each with itself (C27).

Both cost a pair, so they verify what a search among evaluation texts proposed (`retrieve_bm25`, `retrieve_dense`). ROUGE-L
(Lin, 2004, §3) is the F-measure of the longest common subsequence of words; Self-Instruct (arXiv:2212.10560) filters by it.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns, topk
from operators.content import Array, indexed, parents
from operators.contract import ARTIFACTS, Columns, Example, InputError, Needs, Params, ids, operator, row_id, scores, text
from operators.fit_bm25 import Bm25Statistics, FitBm25, analyse
from operators.index_texts import Texts
from operators.ngrams import folded
from operators.retrieve_bm25 import score_matrix

_LONG = 1 << 14  # characters of a candidate whose words are not kept by the thousand
_COLUMN = {"rouge_l": "rouge_scores", "bm25": "bm25_shares"}


class ScoreOverlap(Params):
    """Which text, which candidates, and which scores of them."""

    column: str = Field(default="query", min_length=1, description="the text column")
    candidates: tuple[str, ...] = Field(default=("bm25_ids",), min_length=1, description="columns of ids, taken together")
    measures: tuple[Literal["rouge_l", "bm25"], ...] = Field(
        default=("rouge_l",), min_length=1, description="bm25 needs using: {statistics: STEP}, as the search had"
    )


def _check(p: ScoreOverlap, using: Mapping[str, Any]) -> list[str]:
    return _lacks(p, "statistics" in using[ARTIFACTS]) if ARTIFACTS in using else []


def _lacks(p: ScoreOverlap, there: bool) -> list[str]:
    if there == ("bm25" in p.measures):
        return []
    return ["statistics do nothing without the measure bm25" if there else "the measure bm25 lacks using: {statistics: STEP}"]


def _reads(p: ScoreOverlap) -> Columns:
    return {p.column: text, **dict.fromkeys(p.candidates, ids)}


@operator(
    "map", version="1", reads=_reads, rows="same", needs=Needs(batch_rows=512), check=_check,
    writes=lambda p: {"overlap_ids": ids, **{_COLUMN[m]: scores for m in p.measures}},
)  # fmt: skip
def score_overlap(table: pa.Table, p: ScoreOverlap, *, texts: Texts, statistics: Bm25Statistics | None = None) -> pa.Table:
    """Add the candidates, each once, in the order of their ids, with their scores in 0..1 beside them."""
    if fault := _lacks(p, statistics is not None):
        raise InputError(fault[0])
    row, found = _together(table, p.candidates)
    ends = np.searchsorted(row, np.arange(len(table) + 1))
    wide = columns.put(table, "overlap_ids", columns.lists(ends, found))
    said, known = table[p.column].to_pylist(), texts.take(found).to_pylist()
    values = {}
    if "rouge_l" in p.measures:
        values["rouge_l"] = _rouge(said, known, ends.tolist())
    if statistics is not None:
        values["bm25"] = _bm25(said, known, row, statistics)
    for measure in p.measures:
        wide = columns.put(wide, _COLUMN[measure], columns.lists(ends, pa.array(values[measure].astype(np.float32))))
    return wide


def _together(table: pa.Table, names: Sequence[str]) -> tuple[Array, pa.Array]:
    """(rows, ids) of all lists, by row, then by id, each id once a row."""
    flat = [columns.flat(table[name]) for name in names]
    row, found = np.concatenate([parents(offsets) for offsets, _ in flat]), pa.concat_arrays([values for _, values in flat])
    found = found.cast(row_id)
    order = topk.ranked(row, np.zeros(len(row), np.float32), found, len(table), len(row) + 1)[1]
    return row[order], found.take(pa.array(order))


def _rouge(said: list[str], known: list[str], ends: list[int]) -> Array:
    from rapidfuzz.distance import LCSseq

    kept = lru_cache(maxsize=1024)(folded)  # rows share candidates; of documents, all would be a gigabyte
    values = np.zeros(len(known))
    for one, (start, end) in zip(said, pairwise(ends), strict=True):
        mine = folded(one) if end > start else []
        for i in range(start, end):
            theirs = (kept if len(known[i]) <= _LONG else folded)(known[i])
            both = len(mine) + len(theirs)
            values[i] = 2 * LCSseq.similarity(mine, theirs) / both if both else 0.0
    return values


def _bm25(said: list[str], known: list[str], row: Array, statistics: Bm25Statistics) -> Array:
    """The BM25 score of each pair by the higher of what its two texts score against themselves, at most 1.

    By both: a short text that stands in a long one is not the long one.
    """
    from scipy import sparse

    if not statistics.length:  # of texts without a term; BM25 divides by their mean length
        return np.zeros(len(known))
    every = list(dict.fromkeys([*said, *known]))
    place = {one: i for i, one in enumerate(every)}
    weight, vocabulary = score_matrix(every, statistics)
    terms = [[vocabulary[t] for t in one] for one in analyse(every, statistics.settings)] if every else []
    at = (np.repeat(np.arange(len(every)), [len(one) for one in terms]), np.array([t for one in terms for t in one], np.int64))
    asked = sparse.csr_matrix((np.ones(len(at[0])), at), shape=(len(every), len(vocabulary)))
    asked.sum_duplicates()  # terms in the order of the alphabet: sums round alike in every cut
    scored = sparse.csr_matrix(weight.T)
    scored.sort_indices()
    one, other = np.array([place[s] for s in said], np.int64)[row], np.array([place[k] for k in known], np.int64)
    own = np.asarray(asked.multiply(scored).sum(axis=1)).reshape(-1)
    both = np.asarray(asked[one].multiply(scored[other]).sum(axis=1)).reshape(-1)
    best = np.maximum(own[one], own[other])
    share: Array = np.minimum(np.divide(both, best, out=np.zeros(len(both)), where=best > 0), 1.0)
    return share


def example() -> Example:
    """Three rows with candidates: one in other words, one cut short, one of nothing in common."""
    passages = ["which tree grows tall by the river", "the price of bread in winter", "a stone"]
    keys, texts = indexed(passages)
    asked = ["which tree by the river grows tall", "the price of bread", "owls"]
    table = pa.table({"query": pa.array(asked, text), "bm25_ids": pa.array([keys[:2], keys[1:], []], ids)})
    statistics = Bm25Statistics(FitBm25())
    blank = pa.array([""] * 3, text)
    statistics.add(pa.table({"title": blank, "passage": pa.array(passages, text)}), 0)
    return Example(table, ScoreOverlap(measures=("rouge_l", "bm25")), {"texts": texts, "statistics": statistics})
