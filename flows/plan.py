"""Where each step of a flow stands in a store: its recipe, its fingerprint, stored or to run."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cluster.code import moved
from cluster.store import Store
from cluster.task import Task, manifest_of
from flows.fingerprint import fingerprint
from flows.flow import Flow, Step, by_row, recipe_of
from operators.contract import InputError, Item

BUCKET = 16 << 20  # bytes of a source's file, which may be compressed, or of a dataset, a bucket


@dataclass(frozen=True)
class Planned:
    """A step with its place in the store."""

    step: Step
    task: Task
    stored: dict[str, Any] | None  # its manifest
    moved: bool = False  # stored by other code of the same version


def plan(flow: Flow, store: Store, sample: int | None = None) -> list[Planned]:
    """Every step in order. Reads the inputs' files once, for their digests."""
    faults, digests = [], {}
    if sample and not any(flow.steps[0].name in (*s.sources, s.against) for s in flow.steps):
        raise InputError(f"--sample {sample}: no step reads {flow.steps[0].name}, the first, whose rows it draws; leave it out")
    for step in flow.steps:
        if step.op.shape == "source" and step.op.items and not step.absent:
            try:
                digests[step.name] = list(step.op.items(step.params))
            except InputError as error:
                faults.append(f"{flow.path}: steps.{step.name}: {error}")
    if faults:
        from flows.faults import FlowError

        raise FlowError(faults)
    prints: dict[str, str] = {}
    homes: dict[str, str] = {}
    planned: list[Planned] = []
    for step in flow.steps:
        task = _task(flow, step, digests.get(step.name, []), prints, homes)
        prints[step.name], homes[step.name] = task.fingerprint, task.home
        stored = manifest_of(store, task.home)
        made = (store.read_json(f"{task.home}/run.json") or {}) if stored else {}
        planned.append(Planned(step, task, stored, moved(step.op, made.get("code", ""))))
        if sample and step.op.shape == "source" and len(planned) == 1:
            prints[step.name] = fingerprint("sample", sample, task.fingerprint)
            homes[step.name] = f"steps/sample-{prints[step.name]}"
    return planned


def _task(flow: Flow, step: Step, items: Sequence[Item], prints: dict[str, str], homes: dict[str, str]) -> Task:
    recipe, kin = recipe_of(step, prints), recipe_of(step, prints, without=step.op.depth)
    inputs = [prints[s] for s in step.sources] + ([prints[step.against]] if step.against else [])
    content = sorted(i.digest for i in items)
    keep = sorted(step.keep) if step.keep is not None else None
    texts = [prints[above] for name, above in step.using.items() if by_row(step, name)]
    using = {
        **{name: json.dumps({"artifact_of": homes[above], "of": flow.step(above).spec}) for name, above in step.using.items()},
        **{name: model.model_dump_json() for name, model in step.models.items()},
    }
    return Task(
        name=step.name, op=step.op, spec=step.spec, params=step.params, using=using,
        inputs=[homes[s] for s in step.sources], against=homes[step.against] if step.against else None,
        keep=step.keep, recipe=recipe, kin=kin, fingerprint=fingerprint(recipe, keep, inputs, content, texts),
        max_rejected=step.max_rejected, paths=[str(r) for r in flow.roots if ":" in step.spec],
        items=[asdict(i) for i in items],
    )  # fmt: skip


def buckets_for(planned: Sequence[Planned]) -> int:
    """Buckets so that a part stays small however long the corpus is: one for `BUCKET` bytes of what is read."""
    return max(8, -(-sum(int(item["size"]) for p in planned for item in p.task.items) // BUCKET))


def with_artifacts(task: Task, store: Store) -> Task:
    """The task with the artifacts' folders, which are known once the steps above have run."""
    from dataclasses import replace

    using = {}
    for name, ref in task.using.items():
        value = json.loads(ref)
        if "artifact_of" in value:
            manifest = manifest_of(store, value["artifact_of"])
            if manifest is None:
                raise InputError(f"{task.name}: the artifact that it uses as {name} is not stored; run the steps above it first")
            value = {"artifact": manifest["parts"][0]["file"], "of": value["of"]}
        using[name] = json.dumps(value)
    return replace(task, using=using)


def describe(planned: Sequence[Planned]) -> list[dict[str, Any]]:
    """One flat record a step, for people and for ``--json``."""
    rows: dict[str, int] = {}
    records = []
    for p in planned:
        above = [rows[s] for s in p.step.sources if s in rows]
        rows_in = sum(above) if above and len(above) == len(p.step.sources) else None
        if p.stored:
            rows[p.step.name] = p.stored["rows"]
        calls = sum(p.step.op.calls(p.step.params, p.step.models).values()) if p.step.op.calls else 0  # lists of one value
        records.append({
            "step": p.step.name, "operator": p.step.op.name, "fingerprint": p.task.fingerprint,
            "from": p.step.sources, "using": [*p.step.using.values(), *(m.model for m in p.step.models.values())],
            "stored": p.stored is not None, "code_moved": p.moved, "rows": p.stored["rows"] if p.stored else None,
            "llm_calls": 0 if p.stored or not calls else (rows_in * calls if rows_in is not None else None),
            "adds": [c for c in (p.step.op.columns_written(p.step.params) if p.step.op.shape != "build" else {})],
        })  # fmt: skip
    return records
