"""Runs of the planted violations through the engine, which a test and a benchmark share."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from cluster.store import Store
from cluster.task import manifest_of
from flows.flow import load
from flows.plan import plan
from tests.flows.test_run import go, table
from tests.planted import BLOCKED, BRANCHES, CONTAMINATED, FLOW, TIERS, Plant, contaminated, plants

Rejects = dict[str, dict[str, tuple[str, str]]]  # step → source_id → (reason, value)


class Documents(NamedTuple):
    """Abstracts with their ids, and a text in each other language."""

    texts: dict[str, str]
    foreign: list[tuple[str, str]]


class Planted(NamedTuple):
    """What became of the abstracts without plants, and with them."""

    plants: list[Plant]
    before: Rejects
    rejects: Rejects
    lines: dict[str, dict[str, Any]]  # source_id → the row behind drop_lines
    funnel: list[dict[str, Any]]


class Tiers(NamedTuple):
    """How many rows of each kind each tier removed, of how many, and what the evaluation's measure counted."""

    hit: dict[str, Counter[str]]
    rows: Counter[str]
    counts: dict[str, int]


def documents(data: Path, count: int | None = None) -> Documents:
    """The first abstracts of scifact, and xquad's first text of some length in each of its eleven other languages."""
    said = pq.read_table(data / "scifact" / "corpus.parquet").slice(0, count).to_pylist()
    foreign = dict[str, str]()
    for row in pq.read_table(data / "xquad" / "corpus.parquet").to_pylist():
        if row["lang"] != "en" and len(row["text"]) > 300:
            foreign.setdefault(row["lang"], row["text"])
    return Documents({row["_id"]: row["text"] for row in said}, sorted(foreign.items()))


def planted(home: Path, store: Store, of: Documents, seeds: int = 1) -> Planted:
    """Run the abstracts alone, then with plants, so often as there are seeds, made of those that no rule rejects."""
    path, _ = ran(home / "before", store, FLOW, "docs.jsonl", [{"_id": k, "text": v} for k, v in of.texts.items()])
    before = rejects_of(path, store, BRANCHES)
    bad = {k for step in BRANCHES for k in before[step]}
    good = [v for k, v in of.texts.items() if k not in bad]
    made = [one for seed in range(seeds) for one in plants(good, of.foreign, seed)]
    rows = [{"_id": k, "text": v} for k, v in of.texts.items()] + [{"_id": f"plant {i}", "text": p.text} for i, p in enumerate(made)]
    path, result = ran(home / "after", store, FLOW, "docs.jsonl", rows)
    lines = {r["source_id"]: r for r in table(path, store, "lines").to_pylist() if r["source_id"].startswith("plant")}
    return Planted(made, before, rejects_of(path, store, BRANCHES), lines, list(result.funnel))


def tiers(home: Path, store: Store, data: Path, pairs: int, planted: int) -> Tiers:
    """Titles and texts of scifact, with queries and documents of cisi planted among them."""
    asked = pq.read_table(data / "cisi" / "queries.parquet")["text"].to_pylist()
    queries = [q for q in asked if 10 <= len(q.split()) <= 40][:planted]
    told = [t for t in pq.read_table(data / "cisi" / "corpus.parquet")["text"].to_pylist() if len(t.split()) >= 60][:planted]
    real = [(r["title"], r["text"]) for r in pq.read_table(data / "scifact" / "corpus.parquet").slice(0, pairs + 2 * planted).to_pylist()]
    rows = [("real", *one) for one in real[:pairs]] + list(contaminated(queries, told, real[pairs:]))
    write(home / "flow" / "evaluation.jsonl", [{"text": q} for q in queries])
    write(home / "flow" / "documents.jsonl", [{"title": "", "text": t} for t in told])
    written = [{"_id": f"{kind} {i}", "query": q, "positive": p} for i, (kind, q, p) in enumerate(rows)]
    path, result = ran(home / "flow", store, CONTAMINATED, "pairs.jsonl", written)
    hit = {tier: Counter(key.split()[0] for key in found) for tier, found in rejects_of(path, store, tuple(TIERS)).items()}
    counts = next(f["measured"] for f in result.funnel if f["step"] == "found")
    return Tiers(hit, Counter(kind for kind, _, _ in rows), counts)


def ran(home: Path, store: Store, flow: str, name: str, rows: list[dict[str, str]]) -> tuple[Path, Any]:
    """Write a flow with its rows and run it: (its path, the result)."""
    write(home / name, rows)
    (home / "blocked.txt").write_text("\n".join(BLOCKED))
    (home / "flow.yaml").write_text(flow)
    return home / "flow.yaml", go(home / "flow.yaml", store)


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Rows as lines of JSON."""
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rejects_of(path: Path, store: Store, steps: tuple[str, ...]) -> Rejects:
    """The rejects of steps by the ids of their sources."""
    homes = {p.step.name: p.task.home for p in plan(load(path), store)}
    found: Rejects = {}
    for step in steps:
        parts = [p["rejects"] for p in manifest_of(store, homes[step])["parts"] if "rejects" in p]
        rows = [row for part in parts for row in store.read_table(part).to_pylist()]
        found[step] = {row["source_id"]: (row["reason"], row["value"]) for row in rows}
        assert len(found[step]) == len(rows)
    return found
