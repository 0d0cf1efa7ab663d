"""Score each query's ranking by its judgements: nDCG@10, MRR@10, recall@100, by `ir_measures` (arXiv:2111.13466)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import codes, parents
from operators.contract import Columns, Example, Params, ids, operator, row_id, scores, text
from operators.group_judgements import grades

Array = np.ndarray[Any, Any]
METRICS = {"ndcg10": "nDCG@10", "mrr10": "RR@10", "recall100": "R@100"}  # column → as `ir_measures` calls it
LABELS = {"collection": text, "arm": text, "seed": pa.int32()}


class ScoreRankings(Params):
    """Which ranking, and what it is of: `compare_arms` tells arms apart by these names."""

    collection: str = Field(min_length=1)
    arm: str = Field(min_length=1, description="what was trained on what; base and bm25 are the untouched ones")
    seed: int = Field(default=0, ge=0, description="of the training")
    ids: str = Field(default="candidate_ids", min_length=1)
    scores: str = Field(default="dense_scores", min_length=1, description="best first")


def _reads(p: ScoreRankings) -> Columns:
    return {"query_id": row_id, "judged_ids": ids, "grades": grades, p.ids: ids, p.scores: scores}


def _check(p: ScoreRankings, using: Mapping[str, Any]) -> list[str]:
    import importlib.util

    if importlib.util.find_spec("ir_measures") is None:
        return ["score_rankings needs the library ir-measures; install it with: pip install 'pithead[eval]'"]
    return []


@operator(
    "map", version="1", reads=_reads, rows="same", closed=True, check=_check,
    writes={"query_id": row_id, **LABELS, **dict.fromkeys(METRICS, pa.float64())},
)  # fmt: skip
def score_rankings(table: pa.Table, p: ScoreRankings) -> pa.Table:
    """N queries in, their three numbers out; a query that nothing was found for has zeros.

    The order is the list's own, (−score, id): what scores alike is told apart as the search did.
    """
    import ir_measures

    found, judged = columns.flat(table[p.ids]), columns.flat(table["judged_ids"])
    number, wanted = codes([found[1], judged[1]])
    place = np.arange(len(number)) - found[0][parents(found[0])]
    grade = columns.flat(table["grades"])[1].to_numpy()
    run = [ir_measures.ScoredDoc(str(q), str(d), -float(r)) for q, d, r in zip(parents(found[0]), number, place, strict=True)]
    qrels = [ir_measures.Qrel(str(q), str(d), int(g)) for q, d, g in zip(parents(judged[0]), wanted, grade, strict=True)]
    measures = {ir_measures.parse_measure(name): column for column, name in METRICS.items()}
    told = {column: np.zeros(len(table)) for column in METRICS}
    for one in ir_measures.iter_calc([*measures], qrels, run) if qrels else ():
        told[measures[one.measure]][int(one.query_id)] = one.value
    out = table.select(["query_id", *(c for c in table.column_names if c == "_row")])
    for name, value in {"collection": p.collection, "arm": p.arm, "seed": p.seed}.items():
        out = out.append_column(name, pa.array([value] * len(table), LABELS[name]))
    for name, values in told.items():
        out = out.append_column(name, pa.array(values))
    return out


def example() -> Example:
    """Three queries: one found at ranks 1 and 3, one at rank 2, one not at all."""
    a, b, c, d = (bytes([n] * 16) for n in (4, 3, 2, 1))
    table = pa.table({
        "query_id": columns.content_ids(["x", "y", "z"]), "judged_ids": pa.array([[a, c], [b], [d]], ids),
        "grades": pa.array([[2, 1], [1], [1]], grades), "candidate_ids": pa.array([[a, b, c], [a, b], []], ids),
        "dense_scores": pa.array([[0.9, 0.8, 0.7], [0.5, 0.5], []], scores),
    })  # fmt: skip
    return Example(table, ScoreRankings(collection="toy", arm="base"))
