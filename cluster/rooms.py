"""What a worker gets, how an actor asks a Ray cluster for it, and whether a node of it can give that."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from operators.contract import Needs


@dataclass(frozen=True)
class Room(Needs):
    """What a worker of a step gets: what its operator and its models need, and what a cluster file says of it."""

    memory: int = 0  # bytes; 0: not said
    min_workers: int = 1
    max_workers: int = 0  # 0: as many as the run has
    resources: Mapping[str, float] = field(default_factory=dict)  # a cluster's own, by name
    labels: Mapping[str, str] = field(default_factory=dict)  # of the nodes that may do it
    said: frozenset[str] = frozenset()  # which of these a cluster file says


def room_of(needs: Room) -> dict[str, Any]:
    """The arguments of Ray for a worker of a step. GPUs or processors, both only where a cluster file says so."""
    room: dict[str, Any] = {}
    if needs.gpus:
        room["num_gpus"] = needs.gpus
    if not needs.gpus or "cpus" in needs.said:
        room["num_cpus"] = needs.cpus
    if needs.memory:
        room["memory"] = needs.memory
    if needs.resources:
        room["resources"] = dict(needs.resources)
    if needs.labels:
        room["label_selector"] = dict(needs.labels)
    return room


def lacking(room: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> str:
    """Why no node has that much room, in a sentence; empty where one has. Without it Ray would wait without an end."""
    if capacity(room, nodes):
        return ""
    what = [f"{v:g} {k}" for k, v in _wanted(room).items()] + [f"{k} {v}" for k, v in room.get("label_selector", {}).items()]
    return (
        f"none of the {sum(n['Alive'] for n in nodes)} nodes of the Ray cluster has {' and '.join(what)}; mend `steps:` in the"
        " cluster file, or say `autoscaling: true` where such nodes come when they are asked for"
    )


def capacity(room: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> int:
    """How many such workers the nodes that are there hold, were nothing else on them."""
    wanted, labels, count = _wanted(room), room.get("label_selector", {}), 0
    for node in nodes:
        if node["Alive"] and fits(node.get("Labels", {}), labels):
            count += min((int(node["Resources"].get(k, 0) / v) for k, v in wanted.items()), default=1)
    return count


def _wanted(room: Mapping[str, Any]) -> dict[str, float]:
    own = {"CPU": room.get("num_cpus", 0), "GPU": room.get("num_gpus", 0), "memory": room.get("memory", 0)}
    return {k: v for k, v in {**own, **room.get("resources", {})}.items() if v}


def fits(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether a node's labels are what Ray's selector asks: a value, `!value`, `in(a,b)` or `!in(a,b)`."""
    for name, said in selector.items():
        match = re.fullmatch(r"(!?)(?:in\((.*)\)|(.*))", said)
        assert match
        values = [v.strip() for v in match[2].split(",")] if match[2] is not None else [match[3]]
        if (labels.get(name) in values) == bool(match[1]):
            return False
    return True
