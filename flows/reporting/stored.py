"""What the stored steps above a set still tell: scores of candidates, what became of queries, vectors, real queries."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.store import Store
from cluster.task import manifest_of
from flows import calibrate
from flows.reporting.sample import RowSample
from operators import columns
from operators.content import Array
from operators.select_negatives import RISK

BATCH = 8192  # rows of a step read at once
SEARCHES = ("retrieve_dense", "retrieve_bm25", "retrieve_ivf")


class Steps:
    """The steps of a set's lineage that are still stored, by name, in the flow's order."""

    def __init__(self, store: Store | None, manifest: dict[str, Any]) -> None:
        self.store = store or Store(".")
        self.lineage: list[dict[str, Any]] = manifest["lineage"]
        found = [(s, manifest_of(store, f"steps/{s['operator']}-{s['fingerprint']}")) for s in self.lineage] if store else []
        self.manifests: dict[str, dict[str, Any]] = {s["step"]: m for s, m in found if m is not None}

    def having(self, *names: str) -> list[dict[str, Any]]:
        """The stored steps whose rows have all these columns."""
        return [s for s in self.lineage if set(names) <= self.columns(s["step"])]

    def columns(self, step: str) -> set[str]:
        """The columns of a stored step; none where it is gone."""
        return {name for name, _ in self.manifests[step]["schema"]} if step in self.manifests else set()

    def tables(self, step: str, names: Sequence[str]) -> Iterator[pa.Table]:
        """These columns of a stored step, in its order."""
        for part in self.manifests[step]["parts"]:
            if part["rows"]:
                with self.store.parquet(part["file"]) as file:
                    for batch in file.iter_batches(BATCH, columns=list(names)):
                        yield pa.Table.from_batches([batch])

    def published(self, manifest: dict[str, Any]) -> str:
        """The step whose parts the set is a copy of; the last one where it is gone."""
        shards = [s["sha256"] for s in manifest["shards"]]
        for step, found in reversed(self.manifests.items()):
            if [p["sha256"] for p in found["parts"] if p["rows"]] == shards:
                return step
        return self.lineage[-1]["step"] if self.lineage else ""

    def above(self, step: str) -> set[str]:
        """The steps whose rows a step took, and theirs, with itself."""
        sources, found, waiting = {s["step"]: s["from"] for s in self.lineage}, set[str](), [step]
        while waiting:
            one = waiting.pop()
            waiting += [] if one in found else sources.get(one, [])
            found.add(one)
        return found


def candidates(steps: Steps, wanted: int) -> tuple[dict[str, Any], calibrate.Scored] | None:
    """How the scores lie of the last step that holds candidates, as `show --scores` tells it; None where none is stored."""
    for step in reversed(steps.having("candidate_ids", "positive_ids")):
        have = steps.columns(step["step"])
        for column in (c for c in calibrate.KNOWN if c in have):
            if column != "teacher_scores" and not _beside_candidates(steps, step["step"]):
                continue
            extra = ("positive_scores", "dense_scores", RISK)
            names = dict.fromkeys(["candidate_ids", "positive_ids", column, *(c for c in extra if c in have)])
            table = _head(steps.tables(step["step"], list(names)))
            if table is None or not _aligned(table, column):
                continue
            found = calibrate.scored(table, column)
            if not len(found.value):
                continue
            told: dict[str, Any] = {"step": step["step"], "scores": column, "rows": len(table), "negatives": wanted}
            shown = {"positives": found.positive, "candidates": found.value}
            told["distributions"] = {key: calibrate.percentiles(numbers) for key, numbers in shown.items() if len(numbers)}
            told["queries_without_a_scored_positive"] = int(np.isinf(found.lowest).sum())
            return calibrate.judged(told, table, found, wanted), found
    return None


def _beside_candidates(steps: Steps, step: str) -> bool:
    """Whether a search's scores stand beside `candidate_ids`: they were fused, or there was one search."""
    above = steps.above(step)
    made = [s["operator"] for s in steps.lineage if s["step"] in above]
    return "fuse_rankings" in made or sum(name in SEARCHES for name in made) == 1


def _head(tables: Iterator[pa.Table]) -> pa.Table | None:
    """The first rows by id, which is a hash, so a fair draw."""
    found: list[pa.Table] = []
    rows = 0
    for table in tables:
        found.append(table.slice(0, calibrate.ROWS - rows))
        rows += len(found[-1])
        if rows >= calibrate.ROWS:
            break
    return pa.concat_tables(found).combine_chunks() if found else None


def _aligned(table: pa.Table, column: str) -> bool:
    kind = table.schema.field(column).type
    if not pa.types.is_list(kind) or not pa.types.is_floating(kind.value_type):
        return False
    return np.array_equal(columns.flat(table[column])[0], columns.flat(table["candidate_ids"])[0])


def yields(steps: Steps, last: str) -> dict[str, Any] | None:
    """Rows by prompt (`query_type`) and generator at each step from where queries were written to the set ``last``.

    Only steps that rows went through are told, and of those the first and the ones that lost some.
    """
    above = steps.above(last)
    path = [s for s in steps.having("query_id", "query_type", "generator") if s["step"] in above]
    counted: list[tuple[str, Counter[tuple[str, str]]]] = []
    for step in path:
        rows = Counter[tuple[str, str]]()
        for table in steps.tables(step["step"], ["query_type", "generator"]):
            found = table.group_by(["query_type", "generator"]).aggregate([([], "count_all")])
            told = (found[c].to_pylist() for c in ("query_type", "generator", "count_all"))
            for kind, generator, count in zip(*told, strict=True):
                rows[kind or "", generator or ""] += count
        if not counted or rows != counted[-1][1]:
            counted.append((step["step"], rows))
    if not counted:
        return None
    kinds = sorted({key for _, rows in counted for key in rows})
    table_of = [{"query_type": k, "generator": g, "rows": [rows[k, g] for _, rows in counted]} for k, g in kinds]
    return {"steps": [name for name, _ in counted], "kinds": table_of}


def encoders(steps: Steps) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Stored steps that embedded queries and passages with one model, the latest first."""
    made = [s for s in steps.lineage if s["operator"] == "embed" and s["step"] in steps.manifests]
    asked, told = ([s for s in made if key in steps.columns(s["step"])] for key in ("query_id", "passage_id"))
    asked = [s for s in asked if s["params"].get("column") == "query"]
    return [(q, p) for q in reversed(asked) for p in reversed(told) if _space(q) == _space(p)]


def _space(step: dict[str, Any]) -> tuple[Any, Any]:
    return step["models"], step["params"].get("dims")


def vectors(steps: Steps, step: dict[str, Any], key: str, wanted: pa.Array) -> Array | None:
    """The stored vectors (N, d) of these ids, in their order; None where one has none."""
    column = step["params"].get("into", "vector")
    if column not in steps.columns(step["step"]):
        return None
    distinct = pc.unique(wanted)
    out: Array | None = None
    have = np.zeros(len(distinct), bool)
    for table in steps.tables(step["step"], [key, column]):
        at = pc.index_in(table[key], value_set=distinct).combine_chunks()
        hit = pc.is_valid(at)
        if pc.any(hit).as_py():
            found = columns.vectors(table[column].filter(hit))
            out = np.zeros((len(distinct), found.shape[1]), np.float32) if out is None else out
            places = at.filter(hit).to_numpy()
            out[places], have[places] = found, True
    if out is None or not have.all():
        return None
    rows: Array = out[pc.index_in(wanted, value_set=distinct).to_numpy()]
    return rows


def real_queries(steps: Steps, count: int) -> tuple[str, list[str]] | None:
    """The step that read people's queries, and a draw of them; None where the flow has none."""
    for step in steps.having("query_id", "query"):
        if step["operator"] == "read_queries":
            drawn = RowSample(count)
            for table in steps.tables(step["step"], ["query"]):
                drawn.add(table)
            rows = drawn.finish()
            if rows is not None:
                return step["step"], rows["query"].to_pylist()
    return None
