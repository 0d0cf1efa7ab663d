"""Run one step: find what is committed, hand the rest to an engine, write the manifest last."""

import contextlib
import json
import os
import platform
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cluster.code import code_of
from cluster.damage import PASSING, Lost
from cluster.folding import is_sum
from cluster.limits import over_limit
from cluster.phases import PHASES
from cluster.recipes import remember
from cluster.store import Store
from cluster.task import RUN, Bench, StepFailed, Task, manifest_of
from cluster.versions import versions
from cluster.work import ATTEMPTS
from operators.contract import InputError


def run_task(task: Task, bench: Bench) -> dict[str, Any]:
    """Make what is missing of a step; returns its manifest."""
    if whole := manifest_of(bench.store, task.home):
        return whole
    started, task = time.time(), replace(task, columns=_columns(task, bench.store))
    try:
        records = _made(task, bench)
    except (InputError, StepFailed):
        if whole := manifest_of(bench.store, task.home):  # another run finished it, and removed what was passing
            _remove_passing(task, bench.store)
            return whole
        raise
    return finish(task, bench, records, started)


def _made(task: Task, bench: Bench) -> list[dict[str, Any]]:
    """The step's records; what is passing and was lost is made again at once, three times in all."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(Lost):
            return PHASES[task.op.shape](task, bench)
    return PHASES[task.op.shape](task, bench)


def _remove_passing(task: Task, store: Store) -> None:
    for folder in ("exchange", "partial"):
        with contextlib.suppress(OSError):  # another run writes into it; that run will find the manifest
            store.remove(f"{task.home}/{folder}")


def _columns(task: Task, store: Store) -> list[str]:
    """Of several inputs, the columns that all have, in the first one's order: their rows go into one table."""
    if len(task.inputs) < 2 or task.op.shape in ("source", "build"):
        return []
    manifests = [found for home in task.inputs if (found := manifest_of(store, home)) and found["schema"]]
    # parquet calls a list's inner field element, Arrow item
    schemas = [{c: k.replace("<element:", "<item:") for c, k in m["schema"] if not c.startswith("_")} for m in manifests]
    wanted = None if task.keep is None else {*task.keep, *task.op.columns_read(task.params)}
    return [c for c, kind in schemas[0].items() if (wanted is None or c in wanted) and all(s.get(c) == kind for s in schemas)]


def finish(task: Task, bench: Bench, records: list[dict[str, Any]], started: float) -> dict[str, Any]:
    """Check the counts, write provenance, then the manifest unless another run was first, then remove what was passing."""
    made = [r for r in records if not r["part"].startswith(PASSING)]
    entry = [r for r in records if r["part"].startswith("x")] if task.op.shape == "source" else made
    rejected: dict[str, int] = {}
    for record in {id(r): r for r in [*made, *entry]}.values():
        for cause, count in record["rejected"].items():
            rejected[cause] = rejected.get(cause, 0) + count
    rows_in = sum(r["rows_in"] for r in entry)
    if fault := over_limit(task.name, rows_in, rejected, task.max_rejected):
        raise StepFailed(fault)
    measured: dict[str, int] = {}
    for record in made:
        for name, count in record.get("measured", {}).items():
            measured[name] = measured.get(name, 0) + count
    if task.op.floor and (low := task.op.floor(measured, task.params)):
        raise StepFailed(f"{task.name}: {low}")
    kept = ("part", "file", "rows", "sha256", "rejects", "rejects_sha256", "files", "bucket")
    parts = [{k: r[k] for k in kept if k in r} for r in made]
    if task.op.shape == "source":
        parts += [{"part": r["part"], "file": "", "rows": 0, "sha256": "", "rejects": r["rejects"],
                   "rejects_sha256": r["rejects_sha256"]} for r in entry if "rejects" in r]  # fmt: skip
    sides = [{"part": r["side"], **{k: r[k] for k in ("file", "rows", "sha256")}} for r in records if "side" in r]
    manifest = {
        "step": task.op.name, "recipe": task.recipe, "fingerprint": task.fingerprint,
        "inputs": [*task.inputs, *([task.against] if task.against else [])],
        "schema": made[0].get("schema", []), "rows_in": rows_in, "rows": sum(r["rows"] for r in made),
        "rejected": dict(sorted(rejected.items())), "parts": [p for p in parts if p["file"]],
        "scanned": [p for p in parts if not p["file"]], **({"measured": measured} if measured else {}),
        **({"sides": sides} if sides else {}),
    }  # fmt: skip
    if whole := manifest_of(bench.store, task.home):
        manifest = whole
    else:
        bench.store.write_json(f"{task.home}/run.json", provenance(task, records, started))
        bench.store.write_json(f"{task.home}/manifest.json", manifest)
        if task.op.shape in ("map", "group") or task.op.depth or is_sum(task.op):
            remember(bench.store, task)
    _remove_passing(task, bench.store)
    return manifest


def provenance(task: Task, records: list[dict[str, Any]], started: float) -> dict[str, Any]:
    """When, where and at what cost a step was made; never part of what it is."""
    total: dict[str, int] = {}
    for record in records:
        for name, count in record.get("counters", {}).items():
            total[name] = total.get(name, 0) + count
    return {
        "host": platform.node(), "pid": os.getpid(), "run": RUN, "python": platform.python_version(),
        "started": datetime.fromtimestamp(started, UTC).isoformat(), "seconds": round(time.time() - started, 3),
        "work_seconds": round(sum(r.get("seconds", 0) for r in records), 3),
        "counters": total, "reused": sum(r.get("reused", 0) for r in records),
        "params": json.loads(task.params.model_dump_json()), "using": dict(task.using),
        "code": code_of(task.op), "versions": versions(),
    }  # fmt: skip
