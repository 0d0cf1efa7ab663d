"""How a scorer's scores lie, and what each rule of `select_negatives` would keep of them: before a margin is chosen.

A margin of 5 % suits one model and drops 84 % of another's candidates (sentence-transformers#3279).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.store import Store
from cluster.task import manifest_of
from flows.faults import not_stored
from flows.flow import Step
from flows.plan import Planned
from operators import columns
from operators.content import Array, codes, floats, in_row, parents
from operators.contract import InputError
from operators.select_negatives import RISK

ROWS = 10_000  # rows looked at: the first by id, which is a hash, so a fair draw
PAIRS = 2_000  # random pairs
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
KNOWN = ("teacher_scores", "dense_scores", "bm25_scores", "fused_scores")
MARGINS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
WEIGHTS = (0.1, 0.2, 0.3, 0.5, 0.8, 1.3, 2.0)
ENOUGH = 0.9  # share of the queries that a suggested margin leaves enough negatives
RISKY = 0.05  # share of false negatives that a suggested weight expects


def calibrate(steps: Sequence[Planned], store: Store, name: str, column: str, wanted: int) -> dict[str, Any]:
    """Distributions of ``column`` ("": the first known one), and what each margin keeps where ``wanted`` negatives are.

    Raises `InputError` where the step holds no such scores.
    """
    table, column = _read(steps, store, name, column)
    found = scored(table, column)
    shown = {"positives": found.positive, "candidates": found.value, "random pairs": _random(steps, store, name, column)}
    answer: dict[str, Any] = {"step": name, "scores": column, "rows": len(table), "negatives": wanted}
    answer["distributions"] = {key: percentiles(numbers) for key, numbers in shown.items() if len(numbers)}
    answer["queries_without_a_scored_positive"] = int(np.isinf(found.lowest).sum())
    return judged(answer, table, found, wanted)


@dataclass(frozen=True)
class Scored:
    """The scores of positives (P,); of other candidates (M,) with the row of each; each row's lowest positive (N,), else inf."""

    positive: Array
    rows: Array
    value: Array
    lowest: Array
    own: Array  # whether each candidate, scored or not, is a positive of its row
    of: Array  # the row of each of them


def scored(table: pa.Table, column: str) -> Scored:
    """The scores of ``candidate_ids`` in a column that stands beside them."""
    offsets, found = columns.flat(table["candidate_ids"])
    owners, told = columns.flat(table["positive_ids"])
    rows, value = parents(offsets), floats(columns.flat(table[column])[1])
    number, of_number = codes([found, told])
    own = in_row(rows, number, parents(owners), of_number)
    if column == "teacher_scores" and "positive_scores" in table.column_names:
        at, positive = parents(owners), floats(columns.flat(table["positive_scores"])[1])
    else:
        at, positive = rows[own], value[own]
    lowest = np.full(len(table), np.inf)
    np.minimum.at(lowest, at, np.where(np.isnan(positive), np.inf, positive))
    rest = ~own & ~np.isnan(value)
    return Scored(positive, rows[rest], value[rest], lowest, own, rows)


def judged(answer: dict[str, Any], table: pa.Table, found: Scored, wanted: int) -> dict[str, Any]:
    """The answer with what each margin or weight keeps, and the one that is suggested."""
    answer["margins"] = _margins(found.rows, found.value, found.lowest, wanted)
    if RISK in table.column_names and "dense_scores" in table.column_names:
        answer["risk_weights"] = _weights(table, found.of, found.own, wanted)
    answer["suggested"] = _suggested(answer)
    return answer


def _read(steps: Sequence[Planned], store: Store, name: str, column: str) -> tuple[pa.Table, str]:
    home = next(p.task.home for p in steps if p.step.name == name)
    manifest = manifest_of(store, home)
    if manifest is None:
        raise not_stored(store, name)
    have = [field for field, _ in manifest["schema"]]
    column = column or next((c for c in KNOWN if c in have), "")
    lacks = [c for c in ("candidate_ids", "positive_ids", column or "teacher_scores") if c not in have]
    if lacks:
        told = ", ".join(c for c in have if c.endswith("_scores")) or "none"
        raise InputError(f"{name}: it has no column {', '.join(lacks)}; --scores takes a step behind a search, of these: {told}")
    reads = ("candidate_ids", "positive_ids", "positive_scores", "dense_scores", RISK, column)
    wanted = [c for c in reads if c in have]
    tables, rows = [], 0
    for part in manifest["parts"]:
        if rows < ROWS:
            tables.append(store.read_table(part["file"], list(dict.fromkeys(wanted))).slice(0, ROWS - rows))
            rows += len(tables[-1])
    table = pa.concat_tables(tables).combine_chunks()
    kind = table.schema.field(column).type
    aligned = pa.types.is_list(kind) and pa.types.is_floating(kind.value_type) and not _of_its_own(steps, name, column)
    if not aligned or not np.array_equal(columns.flat(table[column])[0], columns.flat(table["candidate_ids"])[0]):
        raise InputError(f"{name}: {column} does not hold the scores of candidate_ids; ask behind fuse_rankings")
    return table, column


def _of_its_own(steps: Sequence[Planned], name: str, column: str) -> bool:
    """Whether a search wrote the column beside ids of its own, so that as many scores say nothing."""
    for step in _upwards(steps, name):
        if column in (writes := step.op.columns_written(step.params)):
            return step.op.shape == "cross" and "candidate_ids" not in writes
    return False


def _upwards(steps: Sequence[Planned], name: str) -> Iterator[Step]:
    """The step and those whose rows it took, the nearest first; of several sources the first."""
    known, above = {p.step.name: p.step for p in steps}, name
    while step := known.get(above):
        yield step
        above = step.sources[0] if step.sources else ""


def _search(steps: Sequence[Planned], name: str, column: str) -> Step | None:
    """The nearest dense search above ``name`` that wrote the column: its vectors are stored."""
    dense = (step for step in _upwards(steps, name) if step.op.name in ("retrieve_dense", "retrieve_ivf"))
    return next((step for step in dense if column in step.op.columns_written(step.params)), None)


def _random(steps: Sequence[Planned], store: Store, name: str, column: str) -> Array:
    """Scores of queries with passages drawn from all; of a dense search alone, both sides of which are stored."""
    search = _search(steps, name, column)
    if search is None or search.against is None:
        return np.empty(0)
    homes = {p.step.name: p.task.home for p in steps}
    vector = getattr(search.params, "vector", "vector")  # `retrieve_ivf` names none
    queries, passages = (_head(store, homes[side], vector) for side in (search.sources[0], search.against))
    if not len(queries) or not len(passages) or queries.shape[1] != passages.shape[1]:
        return np.empty(0)
    rng = np.random.default_rng(0)
    q, p = rng.integers(len(queries), size=PAIRS), rng.integers(len(passages), size=PAIRS)
    scored: Array = np.einsum("nd,nd->n", queries[q], passages[p], dtype=np.float64)
    return scored


def _head(store: Store, home: str, column: str) -> Array:
    """The first vectors of a stored step; none where it has been removed."""
    manifest = manifest_of(store, home)
    parts = [p["file"] for p in manifest["parts"] if p["rows"]] if manifest else []
    if not parts:
        return np.empty((0, 0))
    with store.parquet(parts[0]) as file:
        batch = next(file.iter_batches(batch_size=PAIRS, columns=[column]))
    return columns.vectors(batch.column(0))


def percentiles(numbers: Array) -> dict[str, float]:
    """How many are known, and their `PERCENTILES`."""
    known = numbers[np.isfinite(numbers)]
    found = np.percentile(known, PERCENTILES) if len(known) else [float("nan")] * len(PERCENTILES)
    return {"count": len(known), **{f"p{p}": round(float(v), 4) for p, v in zip(PERCENTILES, found, strict=True)}}


def _margins(rows: Array, value: Array, lowest: Array, wanted: int) -> list[dict[str, Any]]:
    """What each margin leaves to queries with a scored positive: shares of candidates, and of queries that keep ``wanted``."""
    out = []
    asked, asked_of = max(int(np.isfinite(lowest).sum()), 1), np.isfinite(lowest[rows])
    for policy in ("percentage", "margin"):
        for margin in MARGINS:
            limit = lowest - (np.abs(lowest) * margin if policy == "percentage" else margin)
            kept = (value < limit[rows]) & asked_of
            enough = np.bincount(rows[kept], minlength=len(lowest)) >= wanted
            out.append({
                "policy": policy, "margin": margin, "candidates_kept": round(float(kept.sum()) / max(int(asked_of.sum()), 1), 4),
                "queries_kept": round(float(enough.sum()) / asked, 4),
            })  # fmt: skip
    return out


def _weights(table: pa.Table, rows: Array, own: Array, wanted: int) -> list[dict[str, Any]]:
    """What each weight of the risk chooses: how hard, and the share of false negatives that the risks expect."""
    dense, risk = (floats(columns.flat(table[c])[1]) for c in ("dense_scores", RISK))
    use = np.flatnonzero(~own & ~np.isnan(dense) & ~np.isnan(risk))
    out = []
    for weight in WEIGHTS:
        order = use[np.lexsort((-(dense - weight * risk)[use], rows[use]))]
        chosen = order[np.arange(len(order)) - np.searchsorted(rows[order], rows[order]) < wanted]
        mean = [round(float(x[chosen].mean()), 4) if len(chosen) else 0.0 for x in (dense, risk)]
        out.append({"risk_weight": weight, "hardness": mean[0], "expected_false_negatives": mean[1]})
    return out


def _suggested(answer: dict[str, Any]) -> str:
    """One sentence; the reader decides."""
    wanted = answer["negatives"]
    if "risk_weights" in answer:
        low = next((w for w in answer["risk_weights"] if w["expected_false_negatives"] <= RISKY), None)
        few = f"expects at most {RISKY:.0%} false negatives"
        if low is None:
            return f"no risk_weight up to {WEIGHTS[-1]} {few}: add max_risk, or retrieve deeper"
        told = f"policy: utility, risk_weight: {low['risk_weight']}, the smallest that {few}"
        return f"{told} among {wanted} a query (hardness {low['hardness']})"
    good = [m for m in answer["margins"] if m["policy"] == "percentage" and m["queries_kept"] >= ENOUGH]
    enough = f"leaves {ENOUGH:.0%} of the queries {wanted} negatives"
    if not good:
        best = max(m["queries_kept"] for m in answer["margins"])
        return f"no margin {enough} ({best:.0%} at best): retrieve deeper, or take fewer"
    return f"policy: percentage, margin: {good[-1]['margin']}, the largest that {enough}"


def told(answer: dict[str, Any]) -> str:
    """The answer as lines for people."""
    head = f"{'':<14}{'count':>9}" + "".join(f"{f'p{p}':>9}" for p in PERCENTILES)
    lines = [f"{answer['scores']} of {answer['rows']} rows of {answer['step']}", head]
    for name, said in answer["distributions"].items():
        lines.append(f"{name:<14}" + "".join(f"{v:>9}" for v in said.values()))
    if "random pairs" not in answer["distributions"]:
        lines.append("random pairs are not told: only a dense search's vectors are stored to score them by")
    if lost := answer["queries_without_a_scored_positive"]:
        lines.append(f"{lost} queries have no score of a positive: a margin keeps nothing of them")
    for policy in ("percentage", "margin"):
        lines += ["", f"policy: {policy:<12}candidates kept   queries kept"]
        for m in (m for m in answer["margins"] if m["policy"] == policy):
            lines.append(f"  margin {m['margin']:<11}{m['candidates_kept']:>15.1%}{m['queries_kept']:>15.1%}")
    if "risk_weights" in answer:
        lines += ["", f"policy: {'utility':<12}       hardness   false negatives expected"]
        for w in answer["risk_weights"]:
            lines.append(f"  risk_weight {w['risk_weight']:<6}{w['hardness']:>15.3f}{w['expected_false_negatives']:>15.1%}")
    return "\n".join([*lines, "", f"suggested: {answer['suggested']}"])
