"""A step ready to run, where it runs, and what the store holds of it."""

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.engine import Engine
from cluster.execution import Placement
from cluster.journal import Kept
from cluster.parts import order
from cluster.store import Store
from cluster.work import Report, Work
from operators.contract import Operator, Params
from operators.engines.models import ModelEntry

Progress = Callable[[str, int, int, Report | Kept | None], None]  # step, done, of, what is new; may be called by a thread
RUN = f"{secrets.token_hex(4)}"  # of this process; attempts are counted and named by it


class StepFailed(RuntimeError):
    """A step that stopped; its finished parts stay, and the same command goes on from there."""


@dataclass(frozen=True)
class Task:
    """A step, ready to run: what the cluster needs to know of it, and nothing of flows."""

    name: str
    op: Operator
    spec: str  # module:function
    params: Params
    using: Mapping[str, str]
    inputs: Sequence[str]  # folders of the steps it reads
    against: str | None
    keep: list[str] | None
    recipe: str
    kin: str  # the recipe but for how deep a cross goes; sets of one kin take over each other's rows
    fingerprint: str
    max_rejected: float
    paths: list[str] = field(default_factory=list)
    items: list[dict[str, str]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)  # of several inputs, those that all have

    @property
    def home(self) -> str:
        """Its folder below the store."""
        return f"steps/{self.op.name}-{self.fingerprint}"

    @property
    def models(self) -> dict[str, ModelEntry]:
        """The models that it uses, by name; an artifact is none."""
        said = {name: json.loads(ref) for name, ref in self.using.items()}
        return {name: ModelEntry.model_validate(one) for name, one in said.items() if "kind" in one}

    @property
    def calls(self) -> dict[str, int]:
        """LLM requests at most: under "" a row, under a column a value of its lists; nothing of a step that asks none."""
        told = self.op.calls(self.params, self.models) if self.op.calls else {}
        return {name: count for name, count in told.items() if count}


@dataclass
class Bench:
    """Where a run works: the store, the engine, how many buckets new cuts have, who is told."""

    store: Store
    engine: Engine
    buckets: int = 8  # 0: by the size of the sources' files
    progress: Progress = lambda *_: None
    max_calls: int | None = None
    limited: bool = False  # a step stopped because the budget of calls was spent
    funnel: list[dict[str, Any]] = field(default_factory=list)  # a record a step, as far as the run has come
    placement: Mapping[str, Placement] = field(default_factory=dict)  # by a step's or an operator's name
    every: float = 10.0  # seconds between two looks at what an LLM has answered


def asked(task: Task, store: Store, item: Work) -> int:
    """The LLM requests of a part, at most; how long its lists are stands in the files' footers."""
    calls, total = task.calls, item.rows * task.calls.get("", 0)
    for file in item.inputs if set(calls) - {""} else ():
        with store.parquet(file) as opened:
            about = opened.metadata
        for group in map(about.row_group, range(about.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                total += calls.get(column.path_in_schema.split(".")[0], 0) * column.num_values  # of no list one, too
    return total


def manifest_of(store: Store, home: str) -> dict[str, Any] | None:
    """The manifest of a step's folder; None where the step is not whole, or its manifest was damaged."""
    found = store.read_json(f"{home}/manifest.json")
    if not isinstance(found, dict) or not found.keys() >= {"parts", "scanned", "rows", "rows_in", "rejected", "schema", "inputs"}:
        return None
    return found if all({"part", "file", "rows", "sha256"} <= {*p} for p in (*found["parts"], *found["scanned"])) else None


def parts_of(store: Store, homes: Iterable[str]) -> list[dict[str, Any]]:
    """The parts of these steps by step, then in id order; ``input`` says of which step each is.

    Whatever the cut, the rows so stand in one order, and the first of a group is the same one.
    """
    found = []
    for i, home in enumerate(homes):
        manifest = manifest_of(store, home)
        assert manifest is not None, home
        found += [{**p, "input": i} for p in sorted(manifest["parts"], key=lambda p: order(p["part"]))]
    return found
