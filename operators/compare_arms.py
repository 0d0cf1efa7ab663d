"""Compare trained students with what they started from, and with each other, over queries: the table of an evaluation (C50)."""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.contract import Example, InputError, Params, operator, row_id
from operators.json_artifact import JsonArtifact
from operators.score_rankings import LABELS, METRICS
from operators.significance import DRAWS, difference, holm, interval

Array = np.ndarray[Any, Any]
_READS = {"query_id": row_id, **LABELS, **dict.fromkeys(METRICS, pa.float64())}


class CompareArms(Params):
    """Which arms are held against which. All comparisons of a build are corrected together."""

    pairs: tuple[tuple[str, str], ...] = Field(description="an arm and what it is compared with, on every collection of both")
    draws: int = Field(default=DRAWS, ge=1000, description="of the bootstrap and of the permutation test")
    seed: int = Field(default=0, ge=0, description="of these draws")

    @model_validator(mode="after")
    def _are_two(self) -> "CompareArms":
        if len(set(self.pairs)) < len(self.pairs) or any(a == b for a, b in self.pairs):
            raise ValueError("pairs: each pair once, of two arms")
        return self


class Comparison(JsonArtifact):
    """Rows, one an arm and collection, and one more for each other arm that it is compared with."""

    file: ClassVar[str] = "comparison.json"

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        """Take the rows."""
        self.rows = rows


class _Scores:
    """Scores of queries under way: some hundred bytes each."""

    def __init__(self, p: CompareArms) -> None:
        self.p = p
        self.tables: list[pa.Table] = []

    def add(self, table: pa.Table, turn: int) -> None:
        """Keep one part."""
        self.tables.append(table.select([*_READS]))

    def merge(self, later: "_Scores") -> None:
        """Keep later parts."""
        self.tables += later.tables

    def finish(self) -> Comparison:
        """Rows by collection and arm; `InputError` where two arms were not asked the same queries."""
        arms = _arms(pa.concat_tables(self.tables) if self.tables else pa.table({c: pa.array([], t) for c, t in _READS.items()}))
        rows = []
        for (collection, arm), (queries, by_seed) in sorted(arms.items()):
            held = [other for one, other in self.p.pairs if one == arm and (collection, other) in arms]
            said = _alone(collection, arm, by_seed, self.p)
            if not held:
                rows.append(said)
            for other in held:
                asked, theirs = arms[collection, other]
                if asked != queries:
                    raise InputError(f"compare_arms: on {collection} {arm} and {other} have not the same queries")
                told = difference(_pooled(by_seed), _pooled(theirs), self.p.seed, self.p.draws)
                rows.append({**said, "versus": other, **{k: _round(v) for k, v in vars(told).items()}})
        tested = [row for row in rows if "versus" in row]
        for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
            row["p_corrected"] = _round(p)
        return Comparison(rows)


def _arms(table: pa.Table) -> dict[tuple[str, str], tuple[list[bytes], dict[int, Array]]]:
    """(collection, arm) → its queries, and by seed their scores (Q, 3)."""
    by = ["collection", "arm", "seed", "query_id"]
    table = table.sort_by([(c, "ascending") for c in by]).combine_chunks()
    found: dict[tuple[str, str], tuple[list[bytes], dict[int, Array]]] = {}
    labels = list(zip(*(table[c].to_pylist() for c in by[:3]), strict=True))
    values = np.stack([table[c].to_numpy() for c in METRICS], axis=1)
    edges = [i for i, one in enumerate(labels) if i == 0 or one != labels[i - 1]]
    for start, end in zip(edges, [*edges[1:], len(labels)], strict=False):
        collection, arm, seed = labels[start]
        queries = table["query_id"].slice(start, end - start).to_pylist()
        known, by_seed = found.setdefault((collection, arm), (queries, {}))
        if known != queries or len(set(queries)) < len(queries):
            raise InputError(f"compare_arms: on {collection} the seeds of {arm} have not the same queries, or one twice")
        by_seed[seed] = values[start:end]
    return found


def _pooled(by_seed: dict[int, Array], metric: int = 0) -> Array:
    pooled: Array = np.mean([one[:, metric] for one in by_seed.values()], axis=0)
    return pooled


def _alone(collection: str, arm: str, by_seed: dict[int, Array], p: CompareArms) -> dict[str, Any]:
    """An arm by itself: means over queries and seeds, the interval of its nDCG@10, and how far its seeds lie apart."""
    ndcg = _pooled(by_seed)
    low, high = interval(ndcg, p.seed, p.draws)
    means = {name: _round(float(_pooled(by_seed, i).mean())) for i, name in enumerate(METRICS)}
    apart = np.std([float(one[:, 0].mean()) for one in by_seed.values()], ddof=1) if len(by_seed) > 1 else 0.0
    return {
        "collection": collection, "arm": arm, "queries": len(ndcg), "seeds": len(by_seed), **means,
        "mean_low": _round(low), "mean_high": _round(high), "seed_sd": _round(float(apart)),
    }  # fmt: skip


def _round(value: float) -> float:
    return round(value, 5)


def told(made: Comparison, p: Params) -> dict[str, int]:
    """How many comparisons there are, and how many hold after correction, for better and for worse."""
    sure = [row["gain"] > 0 for row in made.rows if row.get("p_corrected", 1.0) < 0.05]
    return {"compared": sum("versus" in row for row in made.rows), "better": sum(sure), "worse": len(sure) - sum(sure)}


@operator("build", version="1", reads=_READS, measure=told)
def compare_arms(p: CompareArms) -> _Scores:
    """One pass over the scores of every arm, collection and seed; held in memory."""
    return _Scores(p)


def example() -> Example:
    """Two arms, one of them of two seeds, on four queries."""
    queries = columns.content_ids(list("abcd"))
    told = {("base", 0): [0.1, 0.5, 0.3, 0.0], ("ours", 0): [0.2, 0.6, 0.3, 0.1], ("ours", 1): [0.2, 0.5, 0.4, 0.2]}
    tables = []
    for (arm, seed), values in told.items():
        labels = {"collection": ["toy"] * 4, "arm": [arm] * 4, "seed": [seed] * 4}
        table = pa.table({"query_id": queries, **{c: pa.array(v, LABELS[c]) for c, v in labels.items()}})
        for name in METRICS:
            table = table.append_column(name, pa.array(values))
        tables.append(table)
    return Example(pa.concat_tables(tables), CompareArms(pairs=(("ours", "base"),), draws=1000))
