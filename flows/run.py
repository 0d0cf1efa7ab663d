"""Run a flow: every step that is not stored, in order, then publish."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from cluster import holding
from cluster.journal import model_home
from cluster.limits import over_limit
from cluster.run import run_task
from cluster.store import Store
from cluster.task import RUN, Bench, StepFailed, Task, manifest_of, parts_of
from flows.faults import FlowError
from flows.flow import Flow
from flows.plan import Items, Planned, buckets_for, items_of, plan, with_artifacts
from flows.publish import kind_of, publish
from flows.versions import point
from operators.contract import InputError


@dataclass(frozen=True)
class Ran:
    """What a run did: a record a step for the funnel, and the published folders, if there are any."""

    funnel: list[dict[str, Any]]
    published: str | None  # the training set or corpus
    made: int  # steps that were not stored before
    beside: tuple[str, ...] = ()  # what else it published


def run(
    flow: Flow, bench: Bench, sample: int | None = None, until: str | None = None, *,
    latest: bool = True, only: Collection[str] = (), items: Items | None = None,
) -> Ran:  # fmt: skip
    """Run what is missing, publish, move `latest` where asked; ``only`` some sources' steps, which need nothing above them.

    What the sources read is looked up unless ``items`` are given.

    Raises `StepFailed` or `InputError`; finished parts stay.
    """
    if until:
        flow.step(until)
    bench.store.check_writable()
    items = items_of(flow) if items is None else items
    planned = plan(flow, bench.store, sample, items)
    _check_endpoints(flow, planned, bench.store, until)
    bench.buckets = bench.buckets or buckets_for(planned)
    funnel: list[dict[str, Any]] = []
    bench.funnel, made = funnel, 0
    published: dict[str, str] = {}  # kind → folder
    idle = _idle(planned)
    for i in range(len(planned)):
        if planned[i].open and not only:  # its rows are there by now
            _decide(planned[i], bench.store)
            planned = plan(flow, bench.store, sample, items)
        p = planned[i]
        if only and p.step.name not in only:
            continue
        task = with_artifacts(p.task, bench.store)
        manifest = _whole(flow, p, task, bench)
        made += p.stored is None
        if p.step.op.shape == "source" and sample and p is planned[0]:
            _sample(bench.store, task.home, planned, sample)
        funnel.append({**_record(bench.store, p, manifest), **({"sample": sample} if sample and p is planned[0] else {})})
        if p.step.op.publishes and manifest["rows"]:
            home = publish(flow, planned[: len(funnel)], p.step, manifest, bench.store, funnel, sample)
            published[kind_of(p.step)] = home
            if latest:
                point(bench.store, home)
        if p.step.op.publishes and not manifest["rows"] and p.step.name not in idle:
            raise StepFailed(f"{p.step.name}: {_took(funnel) or 'no row came this far'}; nothing is published")
        if p.step.name == until:
            break
    main = next((one for kind, one in published.items() if kind in ("train", "corpus")), None)
    return Ran(funnel, main, made, tuple(one for one in published.values() if one != main))


def _whole(flow: Flow, p: Planned, task: Task, bench: Bench) -> dict[str, Any]:
    """The manifest of a step, which is run unless it is stored; raises where the flow cannot go on with it."""
    manifest = p.stored or _made(task, bench)
    if p.stored and (fault := over_limit(task.name, manifest["rows_in"], manifest["rejected"], task.max_rejected)):
        raise StepFailed(fault)  # the limit is no part of the recipe: it may be another one by now
    if p.fresh and not p.held:
        holding.note(bench.store, p.asked, p.fresh, task.home, task.inputs)
    if p.step.op.shape == "source" and not manifest["rows"] and not p.step.absent:
        raise InputError(f"{flow.path}: steps.{p.step.name}: {_empty(manifest)}")
    return manifest


def _decide(p: Planned, store: Store) -> None:
    """Hold the artifact, or fit it on the rows of today."""
    holding.decide(store, p.asked, p.fresh, p.task.inputs, p.step.limit)


def _idle(planned: list[Planned]) -> set[str]:
    """The steps that have no row because the optional sources above them were given no path."""
    idle = set[str]()
    for p in planned:
        if p.step.absent or (p.step.sources and idle.issuperset(p.step.sources)):
            idle.add(p.step.name)
    return idle


def _made(task: Task, bench: Bench) -> dict[str, Any]:
    """The step, run. Where it refuses to work without rows, what took them is at fault."""
    try:
        return run_task(task, bench)
    except InputError as error:
        if not task.inputs or any(m["rows"] for home in task.inputs if (m := manifest_of(bench.store, home))):
            raise
        if not (said := _took(bench.funnel)):
            raise
        raise InputError(f"{task.name}: {said}") from error


def _took(funnel: list[dict[str, Any]]) -> str:
    """Which step let no row through, why most, and how to look; empty where none did."""
    took = next((f for f in funnel if f["rows_in"] and not f["rows_out"] and f["rejected"]), None)
    if took is None:
        return ""
    most = max(took["rejected"], key=took["rejected"].get)
    said = f"no row came this far: {took['step']} let none of its {took['rows_in']} through, most as {most!r}"
    return f"{said}; look with `pithead show FLOW {took['step']} --rejects`"


def _check_endpoints(flow: Flow, planned: list[Planned], store: Store, until: str | None) -> None:
    """Ask every endpoint that a step still to run needs, before an earlier step is paid for; `FlowError` names all faults.

    A model whose answers are kept already may have all that is asked for: its endpoint shows when it is needed.
    """
    from operators.engines.endpoint import unusable

    asked, faults = set[str](), []
    names = [p.step.name for p in planned]
    for p in planned[: names.index(until) + 1 if until else None]:
        for role, model in p.step.models.items():
            if p.stored or model.backend != "openai" or model.model_dump_json() in asked or store.names(model_home(model)):
                continue
            asked.add(model.model_dump_json())
            if fault := unusable(model):
                faults.append(f"{flow.path}: steps.{p.step.name}.using.{role}: {fault}")
    if faults:
        raise FlowError(faults)


def _empty(manifest: dict[str, Any]) -> str:
    if manifest["rows_in"]:
        most = max(manifest["rejected"], key=manifest["rejected"].get)
        return f"every one of its {manifest['rows_in']} records was rejected, most as {most!r}"
    return "the input holds no rows; give another path"


def _record(store: Store, p: Planned, manifest: dict[str, Any]) -> dict[str, Any]:
    provenance = store.read_json(f"{p.task.home}/run.json") or {}
    return {
        "step": p.step.name, "operator": p.step.op.name, "home": p.task.home, "rows_in": manifest["rows_in"],
        "rows_out": manifest["rows"], "rejected": manifest["rejected"], "stored": p.stored is not None,
        "seconds": provenance.get("seconds", 0.0), "reused": provenance.get("reused", 0),
        "counters": provenance.get("counters", {}), **(held_of(store, p) if p.held else {}),
        **({"absent": True} if p.step.absent else {}),
        **({"measured": manifest["measured"]} if "measured" in manifest else {}),
    }  # fmt: skip


def held_of(store: Store, p: Planned) -> dict[str, float]:
    """How far the rows have drifted since the artifact that is held was fitted."""
    return {"held": (holding.decided(store, p.asked, p.fresh) or {"drift": 0.0})["drift"]}


def _sample(store: Store, home: str, planned: list[Planned], size: int) -> None:
    """The ``size`` rows with the smallest ids: ids are hashes, so this is a fair draw, and the full
    run finds every row of it again by `_key`."""  # noqa: D205, D209
    target = next(t for p in planned[1:] for t in [*p.task.inputs, p.task.against] if t and t.startswith("steps/sample-"))
    if manifest_of(store, target):
        return
    manifest, left, parts = manifest_of(store, home), size, []
    assert manifest is not None
    for part in parts_of(store, [home]):
        table = store.read_table(part["file"]).slice(0, left)
        left -= len(table)
        file = f"{target}/parts/{part['part']}.{RUN}.parquet"  # another run may read its own by now
        sha, rows = store.write_table(file, [table])
        parts.append({"part": part["part"], "file": file, "sha256": sha, "rows": rows})
    store.write_json(f"{target}/manifest.json", {
        **manifest, "step": "sample", "fingerprint": target.rsplit("-", 1)[1], "inputs": [home], "parts": parts,
        "rows": size - left, "rows_in": size - left, "rejected": {}, "scanned": [],
    })  # fmt: skip
