"""Units of work of a step: how they are described and named, and how those that are not committed get done."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from cluster.committed import Gathered, commits
from cluster.damage import damaged
from cluster.execution import placed
from cluster.journal import Kept
from cluster.task import RUN, Bench, StepFailed, Task
from cluster.ticker import ticking
from cluster.work import Kind, Report, Work
from operators.contract import InputError

UNREADABLE = ("store ", "ArrowInvalid", "JSONDecodeError", "SafetensorError")  # how a report begins of a file that may be damaged


def work_for(task: Task, bench: Bench, kind: Kind, name: str, inputs: list[Any], **more: Any) -> Work:
    """A unit of work of this step."""
    params, using, served = _common(task)
    return Work(
        kind, name, task.spec, params, using, inputs, task.home, bench.store.uri, RUN, task.keep, bench.buckets,
        paths=task.paths, columns=task.columns, step=task.name, **served, **more,
    )  # fmt: skip


_LAST: list[tuple[Task, tuple[str, dict[str, str], dict[str, Any]]]] = []


def _common(task: Task) -> tuple[str, dict[str, str], dict[str, Any]]:
    """What all work of a step says alike; 100,000 parts hold it once."""
    if not _LAST or _LAST[0][0] is not task:
        _LAST[:] = [(task, (task.params.model_dump_json(), dict(task.using), serving(task.using)))]
    return _LAST[0][1]


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

    gathered, room = Gathered(bench.store, task.home, RUN), placed(task.op.needs, bench.placement, task.op.name, task.name, todo)
    with ticking(task, bench, todo, tell), closing(gathered), closing(bench.engine.run(todo, room)) as reports:
        for report in reports:
            if report.status != "done":
                raise _failure(task, bench, next(w for w in todo if w.name == report.name), report)
            done[report.name] = report.record
            gathered.add(report.record)
            finished += 1
            bench.progress(task.name, finished, len(work), report)
    return [done[w.name] for w in work]


def _failure(task: Task, bench: Bench, item: Work, report: Report) -> Exception:
    """What a part's failure is called: a file that it read may be damaged, which the same command then mends."""
    if report.message.startswith(UNREADABLE) and (faults := damaged(bench.store, item)):
        return StepFailed(f"{task.name}: {'; '.join(faults)}; run again to go on")
    if report.status == "input":
        return InputError(f"{task.name}: {report.message}")
    return StepFailed(f"{task.name}: part {report.name} ({item.rows} rows): {report.message}")


def short(*said: str) -> str:
    """Sixteen hex digits that name these words."""
    return hashlib.sha256("\n".join(said).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def named(task: Task, part: Mapping[str, Any]) -> str:
    """The name of what is made of a part, of whichever of several inputs."""
    return str(part["part"]) if len(task.inputs) == 1 else f"{part['part']}@{part['input']}"
