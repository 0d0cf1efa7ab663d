"""What each shape of operator is made of: units of work, handed to an engine unless they are committed."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

from cluster.committed import commits
from cluster.cross_phases import cross
from cluster.folding import before
from cluster.parts import Spans
from cluster.recipes import earlier
from cluster.task import Bench, StepFailed, Task, asked, parts_of
from cluster.work import Kind, Work
from cluster.working import named, perform, short, work_for
from operators.contract import InputError


def _label(bucket: int, of: int) -> str:
    return f"{bucket:05d}-of-{of:05d}"


def _source(task: Task, bench: Bench) -> list[dict[str, Any]]:
    scans, seen = [], Counter[str]()
    for item in sorted(task.items, key=lambda i: i["digest"]):  # as the fingerprint, which knows neither folders nor order
        digest = short(item["digest"])
        name = f"x{digest}-{seen[digest]}b{bench.buckets}"  # a record belongs to the content, wherever the next run finds it
        scans.append(work_for(task, bench, "scan", name, [item], rows=_about(item)))
        seen[digest] += 1
    found = perform(task, bench, scans)
    return found + _cut(task, bench, found, "gather", bench.buckets)


def _about(item: Mapping[str, str]) -> int:
    """About how many rows a file holds, so that a large one is read by a worker."""
    try:
        return os.path.getsize(item["name"]) // 500
    except OSError:
        return 0


def _cut(task: Task, bench: Bench, cuts: list[dict[str, Any]], kind: Kind, of: int) -> list[dict[str, Any]]:
    where: dict[int, list[list[Any]]] = {b: [] for b in range(of)}
    digests: dict[int, list[str]] = {b: [] for b in range(of)}
    rows = dict.fromkeys(where, 0)
    for record in cuts:
        for group, bucket in enumerate(record["groups"]):
            where[bucket].append([record["file"], group])
            digests[bucket] += record["digests"][group : group + 1] if "digests" in record else []
            rows[bucket] += record["rows"] // max(len(record["groups"]), 1)
    empty, known = [[cuts[0]["file"], -1]] if cuts else [], _buckets(task, bench) if kind == "bucket" else {}
    work = []
    for b, groups in where.items():
        digest = short(json.dumps(task.keep), *digests[b]) if digests[b] else ""
        extra = {"digest": digest, **({"taken": known[digest]} if digest in known else {})}
        work.append(work_for(task, bench, kind, _label(b, of), groups or empty, rows=rows[b], extra=extra))
    return perform(task, bench, work)


def _buckets(task: Task, bench: Bench) -> dict[str, dict[str, Any]]:
    """The parts of earlier sets of a group's recipe by what was in their bucket."""
    found = [p for manifest in earlier(bench.store, task.kin) for p in manifest["parts"] if p.get("bucket", {}).get("digest")]
    return {p["bucket"]["digest"]: p for p in reversed(found)}


def _map(task: Task, bench: Bench) -> list[dict[str, Any]]:
    parts, previous = parts_of(bench.store, task.inputs), [Spans(m["parts"]) for m in earlier(bench.store, task.kin)]
    work = []
    for part in parts:
        old = [[p["file"], p.get("rejects", "")] for one in previous for p in one.overlapping(part["part"])]
        work.append(work_for(task, bench, "map", named(task, part), [part["file"]], rows=part["rows"], previous=old))
    return perform(task, bench, within_budget(task, bench, work))


def within_budget(task: Task, bench: Bench, work: list[Work]) -> list[Work]:
    """The leading parts whose LLM calls fit ``--max-calls``; the run stops behind them."""
    if bench.max_calls is None or not task.calls:
        return work
    kept = list[Work]()
    done = commits(bench.store, task.home)
    for item in work:
        cost = 0 if item.name in done else asked(task, bench.store, item)
        if cost > bench.max_calls:
            break
        bench.max_calls -= cost
        kept.append(item)
    if len(kept) < len(work):
        if all(item.name in done for item in kept):
            raise InputError(
                f"{task.name}: --max-calls is below the {asked(task, bench.store, work[len(kept)])} calls of the next part;"
                " give that many, or smaller parts by more --buckets"
            )
        perform(task, bench, kept)
        bench.limited = True
        raise StepFailed(f"{task.name}: --max-calls is spent, {len(kept)} of {len(work)} parts are made; run again to go on")
    return kept


def _group(task: Task, bench: Bench) -> list[dict[str, Any]]:
    parts = parts_of(bench.store, task.inputs)
    cuts = [
        work_for(task, bench, "exchange", f"x{named(task, p)}b{bench.buckets}", [p["file"]], rows=p["rows"]) for p in parts
    ]
    found = perform(task, bench, cuts)
    of = bench.buckets
    if task.op.width is not None:
        of = 1 + max((g for r in found if r["rows"] for g in r["groups"]), default=0)
    return found + _cut(task, bench, found, "bucket", of)


def _build(task: Task, bench: Bench) -> list[dict[str, Any]]:
    parts = parts_of(bench.store, task.inputs)
    extra, rows = before(task, bench.store, parts), sum(p["rows"] for p in parts)
    work = work_for(task, bench, "fold", "artifact", [p["file"] for p in parts], rows=rows, extra=extra)
    return perform(task, bench, [work])


PHASES = {"source": _source, "map": _map, "group": _group, "build": _build, "cross": cross}
