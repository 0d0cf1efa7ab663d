"""`pithead schedule`: a scheduler for one machine, or the object with which Kubernetes is one."""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from cluster.lease import alone
from cluster.schedule import Scheduler, now, times
from cluster.store import Store
from flows.cli import emit
from flows.clusters import execution_of
from flows.config import find_flow
from flows.flow import load
from flows.submitting import kubernetes_command
from operators.contract import InputError

PASSED = ("cluster", "engine", "workers", "buckets", "address")


def scheduled(args: argparse.Namespace) -> int:
    """Serve until stopped, or ``--runs`` runs: the last one's exit status. Or print."""
    try:
        zone = ZoneInfo(args.timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InputError(f"--timezone {args.timezone}: no such zone; write such as Europe/Berlin") from error
    times(args.cron, now(), zone)
    execution = execution_of(args)
    if args.kubernetes:
        from cluster.kubernetes import scheduled as rendered

        if len(args.cron.split()) != 5:
            raise InputError(f"--cron {args.cron!r}: Kubernetes knows five fields: minute hour day month weekday")
        shown, verb = kubernetes_command(args, "refresh", execution)
        made = rendered(shown.name, execution, verb, args.cron, args.timezone, args.missed)
        emit(args, {"status": 0, "object": made}, yaml.safe_dump(made, sort_keys=False).rstrip("\n"))
        return 0
    flow = load(find_flow(args.flow), args.set)  # faults are found here, not at three in the morning
    store, name = Store(args.store), flow.name
    store.check_writable()
    more = [x for k in PASSED if (v := getattr(args, k)) is not None for x in (f"--{k}", str(v))]
    changes = [x for c in args.set for x in ("--set", c)]
    command = [sys.executable, "-m", "flows", "refresh", args.flow, *changes, "--store", args.store, *more]
    serving = Scheduler(
        name, command, args.cron, store, Path(args.logs), missed=args.missed, webhook=webhook_of(args.webhook), zone=zone,
        tell=lambda event: print(json.dumps(event) if args.json else told(event), flush=True),
    )  # fmt: skip
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, serving.stop)
    with alone(store, f"schedule-{name}"):
        return serving.serve(args.runs)


def webhook_of(said: str) -> str:
    """The address; ``env:NAME`` is the environment's, which no list of processes shows."""
    if said.startswith("env:"):
        if not (found := os.environ.get(said[4:])):
            raise InputError(f"--webhook {said}: the environment has no {said[4:]}")
        said = found
    if said and (urlsplit(said).scheme not in ("http", "https") or not urlsplit(said).netloc):
        raise InputError("--webhook: it is no http:// or https:// address")
    return said


def told(event: dict[str, Any]) -> str:
    """An event as a line; a failed run with the end of its log."""
    rest = {k: v for k, v in event.items() if k not in ("event", "flow", "tail", "host")}
    line = f"{event['flow']}: {event['event']}, " + ", ".join(f"{k} {v}" for k, v in rest.items())
    return "\n  ".join([line, *event.get("tail", [])])
