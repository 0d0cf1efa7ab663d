"""Where each step of a flow stands in a store: its recipe, its fingerprint, stored or to run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

from cluster import holding
from cluster.code import moved
from cluster.store import Store
from cluster.task import Task, manifest_of
from flows.fingerprint import fingerprint
from flows.flow import Flow, Step, asked_of, by_row, recipe_of
from operators.contract import InputError, Item

Items = Mapping[str, list[Item]]  # what each source reads, with the digest of every file
BUCKET = 16 << 20  # bytes of a source's file, which may be compressed, or of a dataset, a bucket


@dataclass(frozen=True)
class Planned:
    """A step with its place in the store."""

    step: Step
    task: Task
    stored: dict[str, Any] | None  # its manifest
    moved: bool = False  # stored by other code of the same version
    fresh: str = ""  # the fingerprint of an artifact fitted on the rows of today, where the step may hold an earlier one
    asked: str = ""  # what it was asked for, whatever the rows
    open: bool = False  # whether it is held hangs on rows that are not there yet; planned as if it were

    @property
    def held(self) -> bool:
        """Whether an artifact of earlier rows is used."""
        return bool(self.fresh) and self.fresh != self.task.fingerprint


def items_of(flow: Flow) -> Items:
    """What each source reads; every file is read once for its digest."""
    faults, digests = [], {}
    for step in flow.steps:
        if step.op.shape == "source" and step.op.items and not step.absent:
            try:
                digests[step.name] = list(step.op.items(step.params))
            except InputError as error:
                faults.append(f"{flow.path}: steps.{step.name}: {error}")
    if faults:
        from flows.faults import FlowError

        raise FlowError(faults)
    return digests


def plan(flow: Flow, store: Store, sample: int | None = None, items: Items | None = None) -> list[Planned]:
    """Every step in order. Reads the inputs' files once, for their digests, unless these are given."""
    if sample and not any(flow.steps[0].name in (*s.sources, s.against) for s in flow.steps):
        raise InputError(f"--sample {sample}: no step reads {flow.steps[0].name}, the first, whose rows it draws; leave it out")
    digests = items_of(flow) if items is None else items
    prints: dict[str, str] = {}
    homes: dict[str, str] = {}
    asked: dict[str, str] = {}
    planned: list[Planned] = []
    for step in flow.steps:
        task = _task(flow, step, digests.get(step.name, []), prints, homes)
        asked[step.name] = asked_of(step, asked)
        kept = {}
        if step.limit:
            told = fingerprint(flow.name, step.name, sample or 0, asked[step.name])
            kept = _holding(store, step, task, told)
            task = kept.pop("task")
        prints[step.name], homes[step.name] = task.fingerprint, task.home
        stored = manifest_of(store, task.home)
        made = (store.read_json(f"{task.home}/run.json") or {}) if stored else {}
        planned.append(Planned(step, task, stored, moved(step.op, made.get("code", "")), **kept))
        if sample and step.op.shape == "source" and len(planned) == 1:
            prints[step.name] = fingerprint("sample", sample, task.fingerprint)
            homes[step.name] = f"steps/sample-{prints[step.name]}"
    return planned


def _holding(store: Store, step: Step, task: Task, asked: str) -> dict[str, Any]:
    """The task of the artifact that is used, and how that is known; see `cluster.holding`."""
    fresh, limit = task.fingerprint, None if step.limit == inf else step.limit
    said = holding.decided(store, asked, fresh)
    if said and said["limit"] == limit:
        told = replace(task, fingerprint=said["use"])
        if said["use"] == fresh or manifest_of(store, told.home):
            return {"task": told, "fresh": fresh, "asked": asked}
    use = holding.fitted(store, asked, fresh)
    return {"task": replace(task, fingerprint=use or fresh), "fresh": fresh, "asked": asked, "open": use is not None}


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
            "stored": p.stored is not None, **({"held": True} if p.held else {}),
            "code_moved": p.moved, "rows": p.stored["rows"] if p.stored else None,
            "llm_calls": 0 if p.stored or not calls else (rows_in * calls if rows_in is not None else None),
            "adds": [c for c in (p.step.op.columns_written(p.step.params) if p.step.op.shape != "build" else {})],
        })  # fmt: skip
    return records
