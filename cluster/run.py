"""Run one step: find what is committed, hand the rest to an engine, write the manifest last."""

import json
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from cluster.code import code_of
from cluster.engine import Engine
from cluster.limits import over_limit
from cluster.parts import Spans, order
from cluster.store import Store
from cluster.work import Kind, Report, Work
from operators.contract import InputError, Operator, Params

Progress = Callable[[str, int, int, Report | None], None]  # step, done, of, report
RUN = f"{secrets.token_hex(4)}"  # of this process; attempts are counted and named by it


class StepFailed(RuntimeError):
    """A step that stopped; its finished parts stay, and the same command goes on from there."""


@dataclass(frozen=True)
class Task:
    """A step, ready to run: what the cluster needs to know of it, and nothing of flows."""

    name: str
    op: Operator
    spec: str  # module:function
    params: Params
    using: Mapping[str, str]
    inputs: Sequence[str]  # folders of the steps it reads
    against: str | None
    keep: list[str] | None
    recipe: str
    fingerprint: str
    max_rejected: float
    paths: list[str] = field(default_factory=list)
    items: list[dict[str, str]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)  # of several inputs, those that all have

    @property
    def home(self) -> str:
        """Its folder below the store."""
        return f"steps/{self.op.name}-{self.fingerprint}"


@dataclass
class Bench:
    """Where a run works: the store, the engine, how many buckets new cuts have, who is told."""

    store: Store
    engine: Engine
    buckets: int = 8  # 0: by the size of the sources' files
    progress: Progress = lambda *_: None
    max_calls: int | None = None
    limited: bool = False  # a step stopped because the budget of calls was spent


def manifest_of(store: Store, home: str) -> dict[str, Any] | None:
    """The manifest of a step's folder; None where the step is not whole."""
    found = store.read_json(f"{home}/manifest.json")
    return found if isinstance(found, dict) else None


def parts_of(store: Store, homes: Iterable[str]) -> list[dict[str, Any]]:
    """The parts of these steps by step, then in id order; ``input`` says of which step each is.

    Whatever the cut, the rows so stand in one order, and the first of a group is the same one.
    """
    found = []
    for i, home in enumerate(homes):
        manifest = manifest_of(store, home)
        assert manifest is not None, home
        found += [{**p, "input": i} for p in sorted(manifest["parts"], key=lambda p: order(p["part"]))]
    return found


def commits(store: Store, home: str) -> dict[str, dict[str, Any]]:
    """The winner of every committed part: the first attempt by name, whoever looks."""
    winners: dict[str, dict[str, Any]] = {}
    for name in store.names(f"{home}/commits"):
        record = store.read_json(f"{home}/commits/{name}")
        if record and record["part"] not in winners:
            winners[record["part"]] = record
    return winners


def run_task(task: Task, bench: Bench) -> dict[str, Any]:
    """Make what is missing of a step; returns its manifest."""
    if whole := manifest_of(bench.store, task.home):
        return whole
    started, task = time.time(), replace(task, columns=_columns(task, bench.store))
    records = PHASES[task.op.shape](task, bench)
    return finish(task, bench, records, started)


def work_for(task: Task, bench: Bench, kind: Kind, name: str, inputs: list[Any], **more: Any) -> Work:
    """A unit of work of this step."""
    return Work(
        kind, name, task.spec, task.params.model_dump_json(), dict(task.using), inputs, task.home,
        bench.store.uri, RUN, task.keep, bench.buckets, paths=task.paths,
        columns=task.columns, **serving(task.using), **more,
    )  # fmt: skip


def _columns(task: Task, store: Store) -> list[str]:
    """Of several inputs, the columns that all have, in the first one's order: their rows go into one table."""
    if len(task.inputs) < 2 or task.op.shape in ("source", "build"):
        return []
    manifests = [found for home in task.inputs if (found := manifest_of(store, home)) and found["schema"]]
    # parquet calls a list's inner field element, Arrow item
    schemas = [{c: k.replace("<element:", "<item:") for c, k in m["schema"] if not c.startswith("_")} for m in manifests]
    wanted = None if task.keep is None else {*task.keep, *task.op.columns_read(task.params)}
    return [c for c, kind in schemas[0].items() if (wanted is None or c in wanted) and all(s.get(c) == kind for s in schemas)]


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
    for report in bench.engine.run(todo, task.op.needs) if todo else ():
        if report.status != "done":
            rows = next(w.rows for w in todo if w.name == report.name)
            text = f"{task.name}: part {report.name} ({rows} rows): {report.message}"
            raise StepFailed(text) if report.status != "input" else _input(task, report)
        done[report.name] = report.record
        finished += 1
        bench.progress(task.name, finished, len(work), report)
    return [done[w.name] for w in work]


def _input(task: Task, report: Report) -> Exception:
    return InputError(f"{task.name}: {report.message}")


def _label(bucket: int, of: int) -> str:
    return f"{bucket:05d}-of-{of:05d}"


def _source(task: Task, bench: Bench) -> list[dict[str, Any]]:
    size = len(str(len(task.items)))
    scans = [
        work_for(task, bench, "scan", f"x{i:0{size}d}b{bench.buckets}", [item], rows=_about(item))
        for i, item in enumerate(task.items)
    ]
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
    parts, previous = parts_of(bench.store, task.inputs), Spans(earlier(bench.store, task))
    work = []
    for part in parts:
        old = [f for p in previous.overlapping(part["part"]) for f in (p["file"], p.get("rejects")) if f]
        work.append(work_for(task, bench, "map", _named(task, part), [part["file"]], rows=part["rows"], previous=old))
    return perform(task, bench, within_budget(task, bench, work))


def _named(task: Task, part: Mapping[str, Any]) -> str:
    """The name of what is made of a part, of whichever of several inputs."""
    return str(part["part"]) if len(task.inputs) == 1 else f"{part['part']}@{part['input']}"


def within_budget(task: Task, bench: Bench, work: list[Work]) -> list[Work]:
    """The leading parts whose LLM calls fit ``--max-calls``; the run stops behind them."""
    if bench.max_calls is None or task.op.calls is None:
        return work
    a_row, kept = task.op.calls(task.params), []
    done = commits(bench.store, task.home)
    for item in work:
        cost = 0 if item.name in done else item.rows * a_row
        if cost > bench.max_calls:
            break
        bench.max_calls -= cost
        kept.append(item)
    if len(kept) < len(work):
        if all(item.name in done for item in kept):
            raise InputError(
                f"{task.name}: --max-calls is below the {work[len(kept)].rows * a_row} calls of the next part;"
                " give that many, or smaller parts by more --buckets"
            )
        perform(task, bench, kept)
        bench.limited = True
        raise StepFailed(f"{task.name}: --max-calls is spent, {len(kept)} of {len(work)} parts are made; run again to go on")
    return kept


def earlier(store: Store, task: Task) -> list[dict[str, Any]]:
    """The parts of the newest whole set of the same recipe, whose rows need not be made again."""
    found = store.read_json(f"recipes/{task.recipe}.json")
    manifest = manifest_of(store, found["home"]) if found else None
    return manifest["parts"] if manifest else []


def _group(task: Task, bench: Bench) -> list[dict[str, Any]]:
    parts = parts_of(bench.store, task.inputs)
    cuts = [
        work_for(task, bench, "exchange", f"x{i:05d}b{bench.buckets}", [p["file"]], rows=p["rows"])
        for i, p in enumerate(parts)
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
    right = [p["file"] for p in parts_of(bench.store, [task.against or ""])]
    width = max(1, -(-len(right) * len(left) // 10_000))  # at most some ten thousand items
    ranges = [right[i : i + max(width, 4)] for i in range(0, len(right), max(width, 4))]
    work = [
        work_for(task, bench, "cross", f"c{i:05d}-{j:05d}-{len(ranges)}", [p["file"]], rows=p["rows"], against=names)
        for i, p in enumerate(left) for j, names in enumerate(ranges)
    ]  # fmt: skip
    found = perform(task, bench, work)
    merges = []
    for i, part in enumerate(left):
        partials = [r["file"] for r in found[i * len(ranges) : (i + 1) * len(ranges)]]
        merges.append(work_for(task, bench, "merge", _named(task, part), [part["file"], *partials], rows=part["rows"]))
    return found + perform(task, bench, merges)


PHASES = {"source": _source, "map": _map, "group": _group, "build": _build, "cross": _cross}
PASSING = ("x", "c")  # names of what exists only until the step is whole


def finish(task: Task, bench: Bench, records: list[dict[str, Any]], started: float) -> dict[str, Any]:
    """Check the counts, write provenance, then the manifest, then remove what was passing."""
    made = [r for r in records if not r["part"].startswith(PASSING)]
    entry = [r for r in records if r["part"].startswith("x")] if task.op.shape == "source" else made
    rejected: dict[str, int] = {}
    for record in {id(r): r for r in [*made, *entry]}.values():
        for cause, count in record["rejected"].items():
            rejected[cause] = rejected.get(cause, 0) + count
    rows_in = sum(r["rows_in"] for r in entry)
    if fault := over_limit(task.name, rows_in, rejected, task.max_rejected):
        raise StepFailed(fault)
    kept = ("part", "file", "rows", "sha256", "rejects", "rejects_sha256", "files")
    parts = [{k: r[k] for k in kept if k in r} for r in made]
    if task.op.shape == "source":
        parts += [{"part": r["part"], "file": "", "rows": 0, "sha256": "", "rejects": r["rejects"],
                   "rejects_sha256": r["rejects_sha256"]} for r in entry if "rejects" in r]  # fmt: skip
    manifest = {
        "step": task.op.name, "recipe": task.recipe, "fingerprint": task.fingerprint,
        "inputs": [*task.inputs, *([task.against] if task.against else [])],
        "schema": made[0].get("schema", []), "rows_in": rows_in, "rows": sum(r["rows"] for r in made),
        "rejected": dict(sorted(rejected.items())), "parts": [p for p in parts if p["file"]],
        "scanned": [p for p in parts if not p["file"]],
    }  # fmt: skip
    bench.store.write_json(f"{task.home}/run.json", provenance(task, records, started))
    bench.store.write_json(f"{task.home}/manifest.json", manifest)
    if task.op.shape == "map":
        bench.store.write_json(f"recipes/{task.recipe}.json", {"home": task.home})
    for folder in ("exchange", "partial"):
        bench.store.remove(f"{task.home}/{folder}")
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
        "code": code_of(task.op),
    }  # fmt: skip


def with_items(task: Task, items: list[dict[str, str]]) -> Task:
    """The source task with what there is to read."""
    return replace(task, items=items)
