"""What the verbs do that keep a set up to date: refresh, diff, rollback, gc, purge."""

import argparse
from contextlib import closing
from dataclasses import asdict
from typing import Any

from cluster.engine import Engine
from cluster.store import Store
from cluster.task import StepFailed
from flows import show
from flows.cli import emit
from flows.clusters import execution_of
from flows.flow import Flow
from flows.plan import Items, Planned, items_of, plan
from flows.publish import home_of, homes_of, kind_of, published_manifest
from flows.run import Ran
from flows.verbs import engine_of, flow_of, run_flow
from flows.versions import before, beside, damaged, latest, point, resolve
from operators.contract import InputError


def do_refresh(args: argparse.Namespace) -> int:
    """Say what changed and what it will cost, run, verify, compare, publish; `latest` moves only to a set that holds."""
    from flows.refresh import lineage_of

    if args.max_drift is not None and args.max_drift < 0:
        raise InputError(f"--max-drift: give 0 or more, not {args.max_drift:g}")
    flow, store = flow_of(args), Store(args.store)
    home = home_of(flow, args.sample)
    was = latest(store, home)
    known = lineage_of(store, home)
    items = items_of(flow)
    planned = plan(flow, store, args.sample, items)
    pending = [p.step.name for p in planned if p.stored is None]
    if not pending and was and _is_of(known, planned) and not damaged(store, f"{home}/{was}"):
        empty: dict[str, Any] = {"ran": [], "faults": [], "inputs": {}, "costs": [], "funnel": []}
        emit(args, {"status": 0, "published": f"{home}/{was}", "new": False, **empty}, f"nothing changed: {home}/{was}")
        return 0
    with closing(engine_of(execution_of(args))) as engine:
        return _changed(args, store, planned, known, was, items, engine)


def _changed(
    args: argparse.Namespace, store: Store, planned: list[Planned], known: dict[str, Any], was: str, items: Items, engine: Engine
) -> int:
    """Read the sources, say what changed, and go on unless it is a dry run."""
    from flows.refresh import changed, forecast, told

    flow, pending = flow_of(args), [p.step.name for p in planned if p.stored is None]
    sources = [p.step.name for p in planned if p.step.op.shape == "source" and not p.step.absent]
    if sources and not args.until and not set(pending).isdisjoint(sources):
        run_flow(args, only=set(sources), items=items, engine=engine)  # rows are known once they are read
        planned = plan(flow, store, args.sample, items)
    inputs = {p.step.name: changed(store, p, known.get(p.step.name)) for p in planned if p.step.name in sources}
    costs = forecast(planned, store, known, inputs)
    if not args.json:
        print(told(inputs, costs, pending), flush=True)
    said = {name: asdict(one) if one else None for name, one in inputs.items()}
    value: dict[str, Any] = {"status": 0, "ran": pending, "inputs": said, "costs": costs}
    if args.dry_run:
        emit(args, {**value, "dry_run": True}, "nothing was run; leave --dry-run out")
        return 0
    ran, _ = run_flow(args, latest=False, items=items, engine=engine)
    return _judged(args, flow, store, was, ran, value)


def _is_of(known: dict[str, Any], planned: list[Any]) -> bool:
    """Whether the version that `latest` names was made by the steps that are planned."""
    last = max((i for i, p in enumerate(planned) if kind_of(p.step) in ("train", "corpus") and p.step.op.publishes), default=-1)
    return last >= 0 and all(known.get(p.step.name, {}).get("fingerprint") == p.task.fingerprint for p in planned[: last + 1])


def _judged(args: argparse.Namespace, flow: Flow, store: Store, was: str, ran: Ran, value: dict[str, Any]) -> int:
    """Verify, compare, move `latest`; the old version stays the latest where the new one has a fault or drifted too far."""
    from flows.diff import diff
    from flows.verify import verify

    made = [one for one in (ran.published, *ran.beside) if one]
    faults = verify(flow, store, args.sample, only=[f["home"] for f in ran.funnel], sets=made)
    drifted = ""
    if ran.published and not faults and was and ran.published.rsplit("/", 1)[1] != was:
        home = ran.published.rsplit("/", 1)[0]
        if published_manifest(store, f"{home}/{was}"):
            value["diff"] = diff(flow, store, home, was, ran.published.rsplit("/", 1)[1], 0)
            drifted = _too_far(value["diff"]["statistics"], args.max_drift)
    if drifted and not faults:
        faults = [f"{drifted}; latest stays {was}: look at {ran.published} with `pithead diff`, or raise --max-drift"]
    for published in made if not faults else ():
        point(store, published)
    same = ran.published is not None and was == ran.published.rsplit("/", 1)[1]
    value |= {"status": 1 if faults else 0, "published": ran.published, "new": not same, "faults": faults, "funnel": ran.funnel}
    news = f"{'nothing new' if same else 'new version'}: {ran.published}"
    if "diff" in value:
        d = value["diff"]
        news += f"\n{d['added']} rows added, {d['changed']} changed, {d['removed']} removed; `pithead diff` says why"
    said = "\n".join(faults) or (news if ran.published else "no step of this flow publishes a set")
    emit(args, value, f"{show.funnel(ran.funnel)}\n\n{len(value['ran'])} steps were to run\n{said}")
    return 1 if faults else 0


def _too_far(statistics: dict[str, dict[str, float]], most: float | None) -> str:
    """Which statistic drifted most, where one did by more than allowed."""
    name = max(statistics, key=lambda n: statistics[n]["psi"], default="")
    if most is None or not name or statistics[name]["psi"] <= most:
        return ""
    return f"{name} drifted: PSI {statistics[name]['psi']:g}, --max-drift is {most:g}"


def do_diff(args: argparse.Namespace) -> int:
    """Two versions of a set, by row: what came, went and changed, and which statistics drifted."""
    from flows.diff import diff, told

    flow, store = flow_of(args), Store(args.store)
    home = home_of(flow, args.sample)
    b = resolve(store, home, args.b or "latest")
    a = resolve(store, home, args.a) if args.a else before(store, home, b)
    if not a:
        raise InputError(f"{home}: {b} is its first version, there is none before it; name two that it has")
    value = diff(flow, store, home, a, b, args.rows)
    emit(args, {"status": 0, **value}, told(value))
    return 0


def do_rollback(args: argparse.Namespace) -> int:
    """Move `latest` to the version that was published before, or to the one that is named."""
    flow, store = flow_of(args), Store(args.store)
    home = home_of(flow, args.sample)
    was = latest(store, home)
    to = resolve(store, home, args.version) if args.version else before(store, home)
    if not to:
        raise InputError(f"{home}: there is no version before {was or 'the first'}; nothing is moved")
    others = [one for one in homes_of(flow, args.sample) if one != home and latest(store, one)]
    moved = {home: to, **{one: name for one, name in beside(store, f"{home}/{to}", others).items() if name}}
    for one, name in moved.items():
        if bad := damaged(store, f"{one}/{name}"):
            raise StepFailed(f"{one}/{name}: {bad[0]} is not as it was published; nothing is moved")
    for one, name in reversed(moved.items()):
        point(store, f"{one}/{name}")
    left = sorted(set(others) - set(moved))
    lines = [f"latest: {was} → {to}", *(f"{one}: → {name}" for one, name in moved.items() if one != home)]
    lines += [f"{one}: it stays, no version of it was made by the same steps" for one in left]
    emit(args, {"status": 0, "was": was, "latest": to, "moved": moved, "left": left}, "\n".join(lines))
    return 0


def do_gc(args: argparse.Namespace) -> int:
    """Old versions, and the steps that nothing needs any more; without --yes a list alone."""
    from flows.gc import garbage, sweep, told

    flow, store = flow_of(args), Store(args.store)
    if args.keep < 1 or args.older_than < 0:
        raise InputError("--keep: give at least 1; --older-than: give hours, 0 or more")
    found = garbage(flow, store, args.keep, args.older_than, args.orphans, args.sample)
    if args.yes:
        sweep(store, found)
    emit(args, {"status": 0, "removed": args.yes, **found}, told(found, args.yes))
    return 0


def do_purge(args: argparse.Namespace) -> int:
    """Everything in the store that holds a document; with --yes it is taken out."""
    from flows.purge import purge, told, trace

    flow_of(args)  # its faults first
    store = Store(args.store)
    found = purge(store, trace(store, args.document, args.source), act=args.yes)
    emit(args, {"status": 0, "removed": args.yes, **found}, told(found, args.yes))
    return 0
