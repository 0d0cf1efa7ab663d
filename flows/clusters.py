"""Cluster files: found by name or path, read, and set below what the command line says."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from cluster.execution import Execution
from flows.config import CONFIGS, read_yaml
from flows.faults import FlowError, did_you_mean, sentences
from flows.flow import Flow
from operators.contract import InputError

CLUSTERS = CONFIGS / "cluster"


def find_cluster(name: str) -> Path:
    """A cluster file: a path, or the name of a shipped one."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        if not path.is_file():
            raise InputError(f"--cluster {name}: no such file")
        return path.resolve()
    shipped = {p.stem: p for p in sorted(CLUSTERS.glob("*.yaml"))}
    if name not in shipped:
        raise InputError(f"--cluster {name}: no such cluster file{did_you_mean(name, shipped)}")
    return shipped[name]


def read_cluster(path: Path) -> Execution:
    """Read and check a cluster file; `FlowError` holds every fault found."""
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise FlowError([f"{path}: a cluster file is a mapping, such as `engine: ray`"])
    try:
        return Execution.model_validate(raw)
    except ValidationError as error:
        raise FlowError(sentences(error, str(path), set(_keys(Execution)))) from error


def _keys(model: type[BaseModel]) -> Iterator[str]:
    """Every key that may stand anywhere in a cluster file, for the did-you-mean."""
    for name, field in model.model_fields.items():
        yield name
        for inner in _models(field.annotation):
            yield from _keys(inner)


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from _models(inner)


def execution_of(args: argparse.Namespace) -> Execution:
    """What the cluster file says, and over it the flags that were given."""
    found = read_cluster(find_cluster(args.cluster)) if getattr(args, "cluster", None) else Execution.model_validate({})
    flags = {k: v for k in ("engine", "workers", "buckets", "address") if (v := getattr(args, k, None)) is not None}
    if (flags.get("workers", 1) < 0) or flags.get("buckets", 1) < 1:
        raise InputError("--workers and --buckets: give at least 1 (0 workers runs in this process)")
    return found.model_copy(update=flags)


def check_names(execution: Execution, flow: Flow) -> None:
    """Refuse a placement of what is neither a step of the flow nor an operator: it would do nothing, and nobody would know."""
    steps = {s.name for s in flow.steps}
    shipped = {p.stem for p in (CONFIGS.parent / "operators").glob("*.py")}
    known = {"*", *steps, *shipped, *(s.op.name for s in flow.steps)}
    for name in execution.steps:
        if name not in known:
            meant = did_you_mean(name, steps)
            raise InputError(f"steps.{name}: {flow.name} has no such step, and no operator is called so{meant}")
