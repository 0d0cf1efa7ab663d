"""`pithead submit`: a flow as a job of a Ray cluster, or the object or script with which Kubernetes or Slurm run it."""

import argparse
import shutil
import sys
from pathlib import Path

import yaml

from cluster.execution import Execution
from cluster.store import Store
from flows.cli import emit
from flows.clusters import check_names, execution_of, find_cluster
from flows.config import find_flow
from flows.flow import Flow, load
from flows.project import paths_from, project_of
from operators.contract import InputError


def submitted(args: argparse.Namespace) -> int:
    """Send it, follow it where asked to; the exit status."""
    execution = execution_of(args)
    if args.print:
        return _printed(args, execution)
    address = args.address or execution.jobs
    if not address:
        raise InputError("submit: --address is missing; give the cluster's, such as http://127.0.0.1:8265")
    if args.follow:
        return _followed(args, address, args.follow)
    from cluster.submit import client_of, staged, submit

    path = find_flow(args.flow)
    flow = load(path, args.set)  # faults are found here, not in a job's log
    check_names(execution, flow)
    project = project_of(path)
    changes = [x for c in [*args.set, *paths_from(flow, project)] for x in ("--set", c)]
    name = f"project/{path.relative_to(project).as_posix()}" if project else args.flow
    store = Store(args.store)
    verb = [_verb(args), name, *changes, "--store", store.uri, "--engine", "ray", "--address", "auto", *_flags(args)]
    with staged(project, store.local) as folder:
        if not project and Path("models.yaml").is_file():
            shutil.copyfile("models.yaml", folder / "models.yaml")
        if args.cluster:
            shutil.copyfile(find_cluster(args.cluster), folder / "cluster.yaml")
            verb += ["--cluster", "cluster.yaml"]
        client = client_of(address)
        job = submit(client, verb, folder, execution.python, args.environment)
    if args.wait:
        return _followed(args, address, job)
    emit(args, {"status": 0, "job": job}, f"job {job}")
    return 0


def _verb(args: argparse.Namespace) -> str:
    return "refresh" if args.refresh else "run"


def _flags(args: argparse.Namespace) -> list[str]:
    return [x for n in ("workers", "buckets") if getattr(args, n) is not None for x in (f"--{n}", str(getattr(args, n)))]


def _followed(args: argparse.Namespace, address: str, job: str) -> int:
    from cluster.submit import client_of, follow

    if not args.json:
        print(f"job {job}", flush=True)
    status = follow(client_of(address), job, sys.stderr if args.json else sys.stdout)
    if args.json:
        emit(args, {"status": status, "job": job}, "")
    return status


def command_of(args: argparse.Namespace, verb: str, execution: Execution) -> tuple[Flow, list[str]]:
    """The flow, and what follows `pithead` where it is installed beside the flow: in an image, or on a cluster's disk."""
    flow = load(find_flow(args.flow), args.set)
    check_names(execution, flow)
    changes = [x for c in args.set for x in ("--set", c)]
    sized = {"workers": execution.workers, "buckets": execution.buckets}
    flags = [x for n, v in sized.items() if v is not None for x in (f"--{n}", str(v))]
    return flow, [verb, args.flow, *changes, "--store", args.store, *flags]


def kubernetes_command(args: argparse.Namespace, verb: str, execution: Execution) -> tuple[Flow, list[str]]:
    """`command_of`, for pods: their disk is gone when they end, and placement travels with the image or by name."""
    kube = execution.kubernetes
    if kube is None:
        raise InputError(f"{args.verb}: the cluster file has no `kubernetes:`; give --cluster kuberay, or a copy of it")
    if "://" not in args.store and not any(Path(args.store).is_relative_to(at) for at in kube.claims.values()):
        raise InputError(
            f"{args.verb}: --store {args.store}: a pod's disk is gone when it ends; give an address such as s3://BUCKET/sets,"
            " or a folder below one of the file's `claims`"
        )
    flow, command = command_of(args, verb, execution)
    engine = ["--engine", "ray", "--address", "auto"] if execution.engine == "ray" else ["--engine", "local"]
    return flow, [*command, "--cluster", args.cluster, *engine]


def _printed(args: argparse.Namespace, execution: Execution) -> int:
    if execution.slurm is not None:
        from cluster.slurm import script

        flow, verb = command_of(args, _verb(args), execution)
        text = script(flow.name, execution.slurm, [*verb, "--cluster", args.cluster, "--engine", "ray"])
        emit(args, {"status": 0, "script": text}, text.rstrip("\n"))
        return 0
    from cluster.kubernetes import rayjob

    flow, verb = kubernetes_command(args, _verb(args), execution)
    if execution.engine != "ray":
        raise InputError("submit: a RayJob needs `engine: ray` in the cluster file")
    made = rayjob(flow.name, execution, verb)
    emit(args, {"status": 0, "object": made}, yaml.safe_dump(made, sort_keys=False).rstrip("\n"))
    return 0
