"""BM25 top-k over any part of the corpus with corpus-wide statistics (bm25s, arXiv:2407.03618).

bm25s computes its scores when it indexes; the one override here gives it the whole corpus's document
frequencies, count and mean length in place of the part's, so a cut anywhere scores as one index would.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import topk
from operators.columns import content_ids, id_pairs
from operators.contract import ROW, Columns, Example, Params, ids, operator, row_id, scores, text
from operators.filters import barred, split
from operators.fit_bm25 import Bm25Statistics, FitBm25, analyse, passage_texts
from operators.index_documents import Documents

Array = np.ndarray[Any, Any]
CELLS = 1 << 23  # scores held at a time: queries of a block × passages of the part


class RetrieveBm25(Params):
    """How many to keep, of which passages, and the names of the columns."""

    top_k: int = Field(default=50, ge=1)
    alike: tuple[str, ...] = Field(default=(), description="text columns, such as lang, that must be equal on both sides")
    other_documents: bool = Field(
        default=False, description="leave out the other passages of the positives' documents; needs using: {documents: STEP}"
    )
    ids: str = Field(default="bm25_ids", min_length=1, description="the column to write")
    scores: str = Field(default="bm25_scores", min_length=1, description="the column to write")


def merge_bm25(partials: list[pa.Table], p: RetrieveBm25) -> pa.Table:
    """Merge what different ranges of the corpus gave."""
    return topk.merge((p.ids, p.scores), partials, p.top_k)


def _reads(p: RetrieveBm25) -> Columns:
    own = {"positive_ids": ids} if p.other_documents else {}
    return {"query": text, **own, **dict.fromkeys(p.alike, text)}


@dataclass(frozen=True)
class _Side:
    """Passages that are alike: what each term scores in each of them, and how their rows form ids."""

    matrix: Any  # (V, M) sparse
    vocabulary: Mapping[str, int]
    rows: int
    groups: tuple[Array, Array] | None
    names: pa.Array


Sides = Mapping[tuple[str, ...], _Side]


def prepare_bm25(right: pa.Table, p: RetrieveBm25, *, statistics: Bm25Statistics, **used: Any) -> Sides:
    """The passages' scores by the columns in which they are alike."""
    made = {}
    for value, (_, told) in split(right, p.alike).items():
        scored = score_matrix(passage_texts(told), statistics)
        made[value] = _Side(*scored, len(told), *_distinct(topk.single(told["passage_id"])))
    return made


@operator(
    "cross", version="4", reads=_reads, prepare=prepare_bm25, merge=merge_bm25, rows="same",
    against=lambda p: {"passage_id": row_id, "title": text, "passage": text, **dict.fromkeys(p.alike, text)},
    writes=lambda p: {p.ids: ids, p.scores: scores},
)  # fmt: skip
def retrieve_bm25(
    left: pa.Table, right: Sides, p: RetrieveBm25, *, statistics: Bm25Statistics, documents: Documents | None = None
) -> pa.Table:
    """N queries against M passages; passages that share no term with a query are not returned."""
    rows, names, found = [np.empty(0, np.int64)], [pa.array([], row_id)], [np.empty(0, np.float32)]
    for value, (where, asked) in split(left, p.alike).items():
        if value in right:
            queries = analyse(asked["query"].to_pylist(), statistics.settings) if len(asked) else []
            row, at, score = _nearest(queries, right[value], barred(asked, right[value].names, documents, p.other_documents), p)
            rows.append(where[row])
            names.append(right[value].names.take(pa.array(at)))
            found.append(score)
    every = np.concatenate(rows), np.concatenate(found), pa.concat_arrays(names)
    return topk.partial((p.ids, p.scores), left[ROW], *every, p.top_k)


def _nearest(
    queries: Sequence[Sequence[str]], side: _Side, bars: tuple[Array, Array], p: RetrieveBm25
) -> tuple[Array, Array, Array]:
    """(rows, places, scores) of every query's best."""
    from scipy import sparse

    out = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    size = max(1, CELLS // max(side.rows, 1))
    for start in range(0, len(queries), size):
        block = queries[start : start + size]
        at = [(i, side.vocabulary[t]) for i, terms in enumerate(block) for t in terms if t in side.vocabulary]
        if not at:
            continue
        i, j = np.array(at).T
        asked = sparse.csr_matrix((np.ones(len(i)), (i, j)), shape=(len(block), len(side.vocabulary)))
        asked.sort_indices()  # terms in the order of the alphabet: sums round alike in every cut
        scored = (asked @ side.matrix).toarray().astype(np.float32)
        scored = scored if side.groups is None else _at_best(scored, side.groups)
        mine = slice(*np.searchsorted(bars[0], [start, start + size]))
        scored[bars[0][mine] - start, bars[1][mine]] = 0
        row, place, score = _best(scored, side.names, p.top_k)
        out.append((row + start, place, score))
    row, place, score = (np.concatenate(x) for x in zip(*out, strict=True))
    return row, place, score


def _distinct(names: pa.Array) -> tuple[tuple[Array, Array] | None, pa.Array]:
    """((the rows by id, where each id starts), each id once); None and the ids as they are where none repeats."""
    if not topk.again(names).any():
        return None, names
    pairs = id_pairs(names)
    order = np.lexsort((pairs["lo"], pairs["hi"]))
    starts = np.flatnonzero(np.concatenate([[True], pairs[order][1:] != pairs[order][:-1]]))
    return (order, starts), names.take(pa.array(order[starts]))


def _at_best(scored: Array, groups: tuple[Array, Array]) -> Array:
    """The best score of each distinct id."""
    order, starts = groups
    best: Array = np.maximum.reduceat(scored[:, order], starts, axis=1)
    return best


def _best(scored: Array, names: pa.Array, top_k: int) -> tuple[Array, Array, Array]:
    """(rows, places, scores) of each row's top k above 0, so that a block leaves no more than that behind."""
    at = scored > 0
    if top_k < scored.shape[1]:
        last = scored.shape[1] - top_k
        at &= scored >= np.partition(scored, last, axis=1)[:, last : last + 1]
    row, place = np.nonzero(at)
    order = topk.ranked(row, scored[row, place], names.take(pa.array(place)), len(scored), top_k)[1]
    return row[order], place[order], scored[row[order], place[order]]


def score_matrix(texts: list[str], statistics: Bm25Statistics) -> tuple[Any, dict[str, int]]:
    """The (V, M) float64 matrix of each term's score in each passage, and the terms' rows."""
    import bm25s
    from bm25s import scoring
    from scipy import sparse

    class Part(bm25s.BM25):  # type: ignore[misc]
        def build_index_from_ids(self, unique_token_ids: Any, corpus_token_ids: Any, **_: Any) -> dict[str, Any]:
            # held statistics may not know a term of a new passage: it stands in one passage at least
            frequencies = {i: max(statistics.frequencies[t], 1) for t, i in vocabulary.items()}
            idf = scoring._build_idf_array(
                frequencies, statistics.docs, scoring._select_idf_scorer(self.idf_method), dtype=self.dtype
            )
            # bm25s sizes its arrays by the part's own frequencies
            local = Counter(t for terms in corpus_token_ids for t in set(terms))
            data, docs, terms = scoring._build_scores_and_indices_for_matrix(
                corpus_token_ids, idf, statistics.mean_length, local, self.k1, self.b, self.delta,
                nonoccurrence_array=None, method=self.method, dtype=self.dtype, int_dtype=self.int_dtype, show_progress=False,
            )  # fmt: skip
            shape = (len(vocabulary), len(corpus_token_ids))
            return {"matrix": sparse.csr_matrix((data, (terms, docs)), shape=shape, dtype=self.dtype)}

    tokens = analyse(texts, statistics.settings) if texts else []
    vocabulary = {t: i for i, t in enumerate(sorted({t for terms in tokens for t in terms}))}
    if not vocabulary:
        return sparse.csr_matrix((0, len(texts))), vocabulary
    settings = statistics.settings
    part = Part(method="lucene", k1=settings.k1, b=settings.b, dtype="float64")
    built = part.build_index_from_ids([*vocabulary.values()], [[vocabulary[t] for t in terms] for terms in tokens])
    return built["matrix"], vocabulary


def example() -> Example:
    """Two queries, four passages."""
    passages = ["ice melts in the sun", "iron rusts in the rain", "rain falls on ice", "the sun shines"]
    columns = {"title": pa.array([""] * 4, text), "passage": pa.array(passages, text)}
    right = pa.table({"passage_id": content_ids([""] * 4, passages), **columns})
    statistics = Bm25Statistics(FitBm25())
    statistics.add(right, 0)
    left = pa.table({"query": pa.array(["melting ice", "rain and rust", "unheard"], text)})
    return Example(left, RetrieveBm25(top_k=3), {"statistics": statistics}, right)
