"""What each verb of the command line does."""

import argparse
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from cluster.engine import Engine
from cluster.execution import Execution
from cluster.lease import alone
from cluster.store import Store
from cluster.task import Bench, StepFailed
from flows import show
from flows.cli import emit
from flows.clusters import check_names, execution_of
from flows.config import find_flow, name_of
from flows.flow import Flow, load
from flows.plan import Items, describe, plan
from flows.progress import Progress
from flows.run import Ran, run
from flows.watching import Watch, lines, runs
from operators.contract import InputError


def flow_of(args: argparse.Namespace) -> Flow:
    """The checked flow that the arguments name."""
    return load(find_flow(args.flow), args.set)


def engine_of(execution: Execution) -> Engine:
    """The engine that the cluster file and the flags ask for."""
    workers = 2 if execution.workers is None else execution.workers
    if execution.engine == "ray":
        from cluster.ray_engine import RayEngine

        more = {name: getattr(execution, name) for name in ("host", "token", "autoscaling")}
        return RayEngine(max(workers, 1), execution.address, **more)
    from cluster.local_engine import LocalEngine

    return LocalEngine(workers)


def do_run(args: argparse.Namespace) -> int:
    """Run what is missing, then print the funnel, the first rows and the path of the set."""
    ran, store = run_flow(args)
    value = {"status": 0, "funnel": ran.funnel, "published": ran.published, "beside": ran.beside, "made": ran.made}
    emit(args, value, "\n".join([show.funnel(ran.funnel), *_ending(ran, store)]))
    return 0


def check_numbers(args: argparse.Namespace) -> None:
    """Refuse counts below one."""
    for name in ("sample", "max_calls", "rows", "negatives", "runs", "last"):
        if getattr(args, name, None) is not None and getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')}: give a number above 0, not {getattr(args, name)}")


@contextmanager
def turn_of(args: argparse.Namespace) -> Iterator[None]:
    """Of two refreshes of a flow in one store the second is refused while the first is under way."""
    if args.verb != "refresh":
        yield
        return
    with alone(Store(args.store), f"refresh-{name_of(args.flow)}"):
        yield


def run_flow(
    args: argparse.Namespace, *, latest: bool = True, only: Collection[str] = (), items: Items | None = None,
    engine: Engine | None = None,
) -> tuple[Ran, Store]:  # fmt: skip
    """Run the flow that the arguments name, with their engine, or with one that stays open."""
    flow, execution = flow_of(args), execution_of(args)
    check_names(execution, flow)
    with working(args, flow.name, execution, engine) as (bench, watch):
        try:
            ran = run(flow, bench, args.sample, args.until, latest=latest, only=only, items=items)
        except (StepFailed, InputError):
            if bench.funnel and not args.json:
                print(show.funnel(bench.funnel))
            raise
        watch.ends_with(ran.published, ran.made)
        return ran, bench.store


@contextmanager
def working(
    args: argparse.Namespace, name: str, execution: Execution, given: Engine | None = None
) -> Iterator[tuple[Bench, Watch]]:
    """Where a run of this name works, watched; the engine ends with it unless it was given."""
    engine, store, progress = given or engine_of(execution), Store(args.store), Progress()
    watch = Watch(store, name, progress)
    bench = Bench(
        store, engine, execution.buckets or 0, watch, getattr(args, "max_calls", None),
        placement=execution.steps, every=max(progress.interval, 2.0),
    )  # fmt: skip
    try:
        with watch.watching():
            yield bench, watch
    finally:
        if given is None:
            engine.close()


def _ending(ran: Ran, store: Store) -> list[str]:
    stored = len(ran.funnel) - ran.made
    lines = ["", f"{stored} steps stored, {ran.made} run"]
    if ran.published:
        lines += ["", *show.first_rows(store, ran.published, 3), "", f"set: {store.path(ran.published)}"]
    lines += [f"{home.split('/')[1].split('.')[1]}: {store.path(home)}" for home in ran.beside]
    return lines


def do_plan(args: argparse.Namespace) -> int:
    """One line a step."""
    planned = describe(plan(flow_of(args), Store(args.store), args.sample))
    emit(args, {"status": 0, "steps": planned}, show.planned(planned))
    return 0


def do_try(args: argparse.Namespace) -> int:
    """A few stored rows through one step: input, prompts with raw answers, output, rejects."""
    from flows.trying import attempt

    value = attempt(flow_of(args), Store(args.store), args.step, args.rows, args.sample)
    emit(args, {"status": 0, **value}, json.dumps(value, indent=1, ensure_ascii=False, default=str))
    return 0


def do_show(args: argparse.Namespace) -> int:
    """Rows or rejects of a step, the way of one row, or how its scores lie."""
    flow, store = flow_of(args), Store(args.store)
    flow.step(args.step)
    planned = plan(flow, store, args.sample)
    if args.scores is not None:
        from flows import calibrate, calibrate_similar

        if flow.step(args.step).op.name == "link_similar":
            if args.scores not in ("", "cosine"):
                raise InputError(f"{args.step}: --scores {args.scores}: link_similar has cosines alone; leave the column out")
            similar = calibrate_similar.calibrate_similar(planned, store, args.step)
            emit(args, {"status": 0, **similar}, calibrate_similar.told_similar(similar))
            return 0
        answer = calibrate.calibrate(planned, store, args.step, args.scores, args.negatives)
        emit(args, {"status": 0, **answer}, calibrate.told(answer))
        return 0
    if args.row:
        value = show.walk(planned, store, args.step, args.row)
    else:
        value = (show.rejects if args.rejects else show.rows)(planned, store, args.step, args.rows)
    emit(args, {"status": 0, "rows": value}, show.told_once(value) if args.row else show.as_lines(value))
    return 0


def do_verify(args: argparse.Namespace) -> int:
    """Every stored part and published shard against its checksum; a bad part is made again by the next run."""
    from flows.verify import verify

    flow, store = flow_of(args), Store(args.store)
    steps = len(store.names("steps"))
    if not steps:
        raise InputError(f"{store.uri}: nothing is stored there; say --store, or run the flow first")
    faults = verify(flow, store, args.sample)
    value = {"status": 1 if faults else 0, "faults": faults, "steps": steps}
    emit(args, value, "\n".join(faults) or f"every checksum holds, of {steps} stored steps and the published sets of {flow.name}")
    return 1 if faults else 0


def do_status(args: argparse.Namespace) -> int:
    """What runs now, and how the last runs ended."""
    found = runs(Store(args.store), name_of(args.flow) if args.flow else None, args.last)
    if not found:
        raise InputError(f"{args.store}: no run of {args.flow or 'any flow'} is known there; say --store")
    emit(args, {"status": 0, "runs": found}, lines(found))
    return 0


def do_submit(args: argparse.Namespace) -> int:
    """Run a flow as a job of a Ray cluster, or print what Kubernetes or Slurm are to run."""
    from flows.submitting import submitted

    return submitted(args)


def do_schedule(args: argparse.Namespace) -> int:
    """Refresh at the times of a cron expression, or print what makes Kubernetes do so."""
    from flows.scheduling import scheduled

    return scheduled(args)


def do_evaluate(args: argparse.Namespace) -> int:
    """Train students on a set, rank collections with them, compare."""
    from flows import evaluate

    of = evaluate.asked(args)
    with working(args, "evaluate", execution_of(args)) as (bench, watch):
        value = evaluate.evaluate(args, of, bench)
        watch.ends_with(None, value["made"])
    if args.out:
        evaluate.write(args.out, value)
    emit(args, {"status": 0, **value}, evaluate.report(value))
    return 0


def do_schema(args: argparse.Namespace) -> int:
    """The JSON schema of flow files."""
    from flows.schema import schema

    print(json.dumps(schema(), indent=1))
    return 0


def do_init(args: argparse.Namespace) -> int:
    """A project to start from."""
    from flows.init import init

    made = init(args.folder)
    emit(args, {"status": 0, "files": made}, "\n".join([*made, "", f"next: cd {args.folder} && pithead run flow.yaml"]))
    return 0


def do_export(args: argparse.Namespace) -> int:
    """Write a published set in a trainer's files; without a set, what trainers there are, or what one may be told."""
    from flows.export import export, exporter_of
    from operators.exporters.options import options
    from operators.exporters.registry import TRAINERS, exporter

    if args.found is None:
        said = {name: exporter(name).line for name in TRAINERS} if args.to is None else options(exporter_of(args.to)[1].params)
        listed = "\n".join(f"{name:<24}{line}" for name, line in said.items())
        emit(args, {"status": 0, "options" if args.to else "trainers": dict(said)}, listed)
        return 0
    if args.to is None or args.out is None:
        raise InputError(f"export: {'--to' if args.to is None else '--out'} is missing; `pithead export` lists the trainers")
    made = export(args.found, args.to, args.out, args.set, args.store)
    lost = ", ".join(f"{n} {reason}" for reason, n in made["dropped"].items())
    count = "as many as a row has" if made["negatives"] is None else made["negatives"]
    lines = [f"{made['rows_out']} rows of {made['rows_in']}, negatives: {count}{f'; dropped: {lost}' * bool(lost)}"]
    lines += [f"columns left out, which this trainer does not read: {', '.join(made['left_out'])}"] if made["left_out"] else []
    lines += [f"{args.out}/README.md says how to load it"]
    lines = [f"{args.out}: it is there already, and whole"] if made.get("there") else lines
    emit(args, {"status": 0, **made}, "\n".join(lines))
    return 0


def do_report(args: argparse.Namespace) -> int:
    """Write a published set's page."""
    from flows.report import report

    made = report(args.found, args.out, args.store, args.queries)
    emit(args, {"status": 0, **made}, f"{made['out']}: {made['figures']['set']['rows']} rows on a page of {made['bytes']} bytes")
    return 0
