"""What each shape of operator is made of: units of work, handed to an engine unless they are committed."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from cluster.journal import Kept
from cluster.kinds import RANGE
from cluster.parts import Spans
from cluster.recipes import earlier
from cluster.task import RUN, Bench, StepFailed, Task, asked, commits, parts_of
from cluster.ticker import ticking
from cluster.work import Kind, Work
from operators.contract import InputError


def work_for(task: Task, bench: Bench, kind: Kind, name: str, inputs: list[Any], **more: Any) -> Work:
    """A unit of work of this step."""
    return Work(
        kind, name, task.spec, task.params.model_dump_json(exclude_unset=True), dict(task.using), inputs, task.home,
        bench.store.uri, RUN, task.keep, bench.buckets, paths=task.paths,
        columns=task.columns, **serving(task.using), **more,
    )  # fmt: skip


def serving(using: Mapping[str, str]) -> dict[str, Any]:
    """What the models that are used ask of a worker: parts at once, GPUs."""
    said = [json.loads(ref).get("serving") or {} for ref in using.values()]
    return {
        "at_once": max([s.get("parts_at_once", 1) for s in said], default=1),
        "gpus": max([s.get("gpus", 0) * s.get("tensor_parallel", 1) for s in said], default=0.0),
    }


def perform(task: Task, bench: Bench, work: list[Work]) -> list[dict[str, Any]]:
    """Do what is not committed; returns the commit records in the order of ``work``."""
    done = commits(bench.store, task.home)
    todo = [w for w in work if w.name not in done]
    finished = len(work) - len(todo)
    bench.progress(task.name, finished, len(work), None)
    if not todo:
        return [done[w.name] for w in work]

    def tell(kept: Kept) -> None:
        bench.progress(task.name, finished, len(work), kept)

    with ticking(task, bench, todo, tell), closing(bench.engine.run(todo, task.op.needs)) as reports:
        for report in reports:
            if report.status == "input":
                raise InputError(f"{task.name}: {report.message}")
            if report.status != "done":
                rows = next(w.rows for w in todo if w.name == report.name)
                raise StepFailed(f"{task.name}: part {report.name} ({rows} rows): {report.message}")
            done[report.name] = report.record
            finished += 1
            bench.progress(task.name, finished, len(work), report)
    return [done[w.name] for w in work]


def _label(bucket: int, of: int) -> str:
    return f"{bucket:05d}-of-{of:05d}"


def _source(task: Task, bench: Bench) -> list[dict[str, Any]]:
    scans, seen = [], Counter[str]()
    for item in sorted(task.items, key=lambda i: i["digest"]):  # as the fingerprint, which knows neither folders nor order
        digest = _short(item["digest"])
        name = f"x{digest}-{seen[digest]}b{bench.buckets}"  # a record belongs to the content, wherever the next run finds it
        scans.append(work_for(task, bench, "scan", name, [item], rows=_about(item)))
        seen[digest] += 1
    found = perform(task, bench, scans)
    return found + _cut(task, bench, found, "gather", bench.buckets)


def _short(*said: str) -> str:
    return hashlib.sha256("\n".join(said).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _about(item: Mapping[str, str]) -> int:
    """About how many rows a file holds, so that a large one is read by a worker."""
    try:
        return os.path.getsize(item["name"]) // 500
    except OSError:
        return 0


def _cut(task: Task, bench: Bench, cuts: list[dict[str, Any]], kind: Kind, of: int) -> list[dict[str, Any]]:
    where: dict[int, list[list[Any]]] = {b: [] for b in range(of)}
    rows = dict.fromkeys(where, 0)
    for record in cuts:
        for group, bucket in enumerate(record["groups"]):
            where[bucket].append([record["file"], group])
            rows[bucket] += record["rows"] // max(len(record["groups"]), 1)
    empty = [[cuts[0]["file"], -1]] if cuts else []
    return perform(task, bench, [
        work_for(task, bench, kind, _label(b, of), groups or empty, rows=rows[b]) for b, groups in where.items()
    ])  # fmt: skip


def _map(task: Task, bench: Bench) -> list[dict[str, Any]]:
    parts, previous = parts_of(bench.store, task.inputs), [Spans(parts) for parts in earlier(bench.store, task.recipe)]
    work = []
    for part in parts:
        old = [[p["file"], p.get("rejects", "")] for one in previous for p in one.overlapping(part["part"])]
        work.append(work_for(task, bench, "map", _named(task, part), [part["file"]], rows=part["rows"], previous=old))
    return perform(task, bench, within_budget(task, bench, work))


def _named(task: Task, part: Mapping[str, Any]) -> str:
    """The name of what is made of a part, of whichever of several inputs."""
    return str(part["part"]) if len(task.inputs) == 1 else f"{part['part']}@{part['input']}"


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
        work_for(task, bench, "exchange", f"x{_named(task, p)}b{bench.buckets}", [p["file"]], rows=p["rows"]) for p in parts
    ]
    found = perform(task, bench, cuts)
    of = bench.buckets
    if task.op.width is not None:
        of = 1 + max((g for r in found if r["rows"] for g in r["groups"]), default=0)
    return found + _cut(task, bench, found, "bucket", of)


def _build(task: Task, bench: Bench) -> list[dict[str, Any]]:
    parts = parts_of(bench.store, task.inputs)
    work = work_for(task, bench, "fold", "artifact", [p["file"] for p in parts], rows=sum(p["rows"] for p in parts))
    return perform(task, bench, [work])


def _cross(task: Task, bench: Bench) -> list[dict[str, Any]]:
    left = parts_of(bench.store, task.inputs)
    right = parts_of(bench.store, [task.against or ""])
    ranges = _ranges(right, max(RANGE, sum(p["rows"] for p in right) * len(left) // 10_000))  # some ten thousand items at most
    names = [_short(*(p["part"] for p in one)) for one in ranges]
    work = [
        work_for(task, bench, "cross", f"c{_named(task, p)}-{n}", [p["file"]], rows=p["rows"], against=[r["file"] for r in one],
                 extra={"pairs": p["rows"] * sum(r["rows"] for r in one)})
        for n, one in zip(names, ranges, strict=True) for p in left
    ]  # fmt: skip
    found = perform(task, bench, work)
    merges = []
    for i, part in enumerate(left):
        partials = [r["file"] for r in found[i :: len(left)]]
        merges.append(work_for(task, bench, "merge", _named(task, part), [part["file"], *partials], rows=part["rows"]))
    return found + perform(task, bench, merges)


def _ranges(parts: list[dict[str, Any]], rows: int) -> list[list[dict[str, Any]]]:
    """Neighbouring parts of about so many rows together."""
    out: list[list[dict[str, Any]]] = []
    held = rows
    for part in parts:
        if held >= rows:
            out.append([])
            held = 0
        out[-1].append(part)
        held += part["rows"]
    return out


PHASES = {"source": _source, "map": _map, "group": _group, "build": _build, "cross": _cross}
