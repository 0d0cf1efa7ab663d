"""One unit of work, described so that any process can do it, and the doing of it.

A description is plain JSON: it names an operator, its params, what it uses and the files that it
reads. What comes back is the commit record of the part, or one sentence on what went wrong.
"""

import importlib
import json
import os
import socket
import sys
import time
import traceback
import typing
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Literal

import pyarrow as pa

from cluster.journal import FileJournal, model_home, model_key
from cluster.store import Store, reason
from operators.contract import ContractError, EngineDead, InputError, Operator, Params
from operators.engines.ledger import Ledger

Kind = Literal[
    "scan", "gather", "map", "exchange", "bucket", "fold", "side", "differ", "stay", "renew", "cross", "merge",
]  # fmt: skip
ASKING: tuple[Kind, ...] = ("map", "bucket")  # kinds of work whose LLM stands behind a ledger
ATTEMPTS = 3  # times that a part may take its process down before it is named and the step stops


@dataclass(frozen=True)
class Work:
    """What makes one part."""

    kind: Kind
    name: str  # of the part, unique in its step
    op: str  # module:function
    params: str  # JSON
    using: dict[str, str]  # name → JSON of a model entry or of an artifact's folder
    inputs: list[Any]  # files below the store, in the order to read them
    home: str  # the step's folder below the store
    store: str
    run: str  # the run that asked; attempts are counted within it
    keep: list[str] | None = None  # columns of the input that pass through
    buckets: int = 1
    previous: list[list[str]] = field(default_factory=list)  # [rows, rejects] of parts of the same recipe's sets, newest first
    against: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)  # folders of the user's own operators
    columns: list[str] = field(default_factory=list)  # to read, in this order; empty: as the file has them
    rows: int = 0  # about how many; for progress
    at_once: int = 1  # parts that a worker may hold, where a model's engine is kept full by several
    gpus: float = 0  # that a worker's models need
    step: str = ""  # whose work it is, for people
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """How a unit of work ended."""

    name: str
    status: Literal["done", "error", "input", "died"]
    record: dict[str, Any] = field(default_factory=dict)
    message: str = ""


def find(spec: str) -> Operator:
    """The operator ``module:function``."""
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def made_by(op: Operator) -> type | None:
    """The class of a build's artifact, as the function and its fold's ``finish`` declare; None where they do not."""
    fold = typing.get_type_hints(op.fn).get("return")
    finish = getattr(fold, "finish", None)
    made = typing.get_type_hints(finish).get("return") if finish else None
    return made if isinstance(made, type) else None


@lru_cache(maxsize=4)
def load_store(uri: str) -> Store:
    """Open a store once a process."""
    return Store(uri)


@lru_cache(maxsize=4)
def _model(kind: str, entry: str) -> Any:
    from operators.engines import load_model
    from operators.engines.models import ModelEntry

    return load_model(kind, ModelEntry.model_validate_json(entry))


@lru_cache(maxsize=8)
def _artifact(store: str, cls: type, folder: str) -> Any:
    return cls.load(load_store(store).fetch_folder(folder))  # type: ignore[attr-defined]


def loaded(op: Operator, work: Work) -> dict[str, Any]:
    """Models and artifacts that the work uses, each loaded once a process."""
    used = {}
    for name, ref in work.using.items():
        value = json.loads(ref)
        if "artifact" in value:
            used[name] = _artifact(work.store, made_by(find(value["of"])) or op.uses[name], value["artifact"])
        else:
            used[name] = _model(value["kind"], json.dumps(value, sort_keys=True))
    return used


def counters(used: dict[str, Any]) -> dict[str, int]:
    """What the engines counted so far."""
    total: dict[str, int] = {}
    for model in used.values():
        for name, count in getattr(model, "counters", {}).items():
            total[name] = total.get(name, 0) + count
    return total


class Job:
    """A unit of work being done: its operator, its store, the names it may write."""

    def __init__(self, work: Work, attempt: str) -> None:
        self.work, self.attempt = work, attempt
        self.store = load_store(work.store)
        self.op = find(work.op)
        self.params: Params = self.op.params.model_validate_json(work.params)
        self.journals: list[FileJournal] = []
        self.used = {name: self._kept(name, used) for name, used in loaded(self.op, work).items()}

    def _kept(self, name: str, used: Any) -> Any:
        """An LLM behind its ledger, be it a teacher's; anything else as it is."""
        said = json.loads(self.work.using[name])
        if "artifact" in said or self.work.kind not in ASKING:
            return used
        from operators.engines.models import ModelEntry

        entry = ModelEntry.model_validate(said).generator()
        if entry is None:
            return used
        home = f"{model_home(entry)}/{self.op.name}"
        self.journals.append(FileJournal(self.store, home, self.work.name, self.attempt))
        prices = (entry.serving.price_in, entry.serving.price_out)
        ledger = Ledger(used if said["kind"] == "llm" else used.llm, model_key(entry), self.journals[-1], prices)
        return ledger if said["kind"] == "llm" else used.asking(ledger)

    def close(self) -> None:
        """Write what the journals gathered, however the work ended."""
        for journal in self.journals:
            journal.close()

    def file(self, folder: str, suffix: str = ".parquet") -> str:
        """The path of this attempt's file in a folder of the step."""
        return f"{self.work.home}/{folder}/{self.work.name}.{self.attempt}{suffix}"


def execute(work: Work, node: str = "") -> Report:
    """Do the work in this process and commit it. Whatever goes wrong is a report; a dead model engine ends the process."""
    try:
        return _execute(work, node)
    except EngineDead:
        traceback.print_exc()
        os._exit(70)
    except InputError as error:
        return Report(work.name, "input", message=str(error))
    except ContractError as error:
        return Report(work.name, "error", message=str(error))
    except OSError as error:
        return Report(work.name, "input", message=f"store {work.store}: {reason(error)}")
    except pa.ArrowInvalid as error:
        if "overflow" not in str(error):
            return Report(work.name, "error", message=f"ArrowInvalid: {error}")
        return Report(work.name, "input", message="a column of this part holds more than 2 GiB of text; run with more --buckets")
    except (Exception, SystemExit) as error:  # a user's operator may say sys.exit()
        return unforeseen(work.name, error)


def unforeseen(name: str, error: BaseException) -> Report:
    """The report of an exception that has no sentence of its own."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return Report(name, "error", message=f"{type(error).__name__} at {os.path.basename(where.filename)}:{where.lineno}: {error}")


def _execute(work: Work, node: str) -> Report:
    from cluster import crossing, kinds

    store = load_store(work.store)
    for path in work.paths:
        if path not in sys.path:
            sys.path.append(path)
    folder = f"{work.home}/attempts/{work.name}"  # one a part: what all parts tried would be read by each
    tried = [n for n in store.names(folder) if n.startswith(f"{work.run}-")]
    for name in tried:  # it may have died between its commit and its report
        if done := store.read_json(f"{work.home}/commits/{work.name}.{name}"):
            return Report(work.name, "done", done)
    died = [n for n in tried if _counts(store.read_json(f"{folder}/{n}"), node)]
    if len(died) >= ATTEMPTS:
        return Report(work.name, "died", message=f"its process died {len(died)} times")
    attempt = f"{work.run}-{len(tried)}"
    store.write_json(f"{folder}/{attempt}.json", {"host": socket.gethostname(), "node": node})
    started = time.monotonic()
    crossing.forget(work.kind)
    job = Job(work, attempt)
    before = counters(job.used)
    try:
        record = kinds.DO[work.kind](job)
    finally:
        job.close()
    spent = {k: v - before.get(k, 0) for k, v in counters(job.used).items()}
    seconds = round(time.monotonic() - started, 3)
    record |= {"part": work.name, "attempt": attempt, "retries": len(tried), "counters": spent, "seconds": seconds}
    store.write_json(f"{work.home}/commits/{work.name}.{attempt}.json", record)
    return Report(work.name, "done", record)


def _counts(attempt: Any, node: str) -> bool:
    """Whether an attempt that did not commit is held against the part; not where its node left."""
    if not attempt or not node or attempt["node"] in ("", node):
        return True
    from cluster.ray_engine import alive_nodes

    return attempt["node"] in alive_nodes()


def encode(work: Work) -> str:
    """The work as JSON, to be sent to another process."""
    return json.dumps(asdict(work))


def decode(message: str) -> Work:
    """The work that `encode` wrote."""
    return Work(**json.loads(message))
