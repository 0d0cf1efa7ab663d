"""The contract an operator signs: its shape, columns in and out, version, resources, row policy.

An operator is a plain function. A decorator here attaches its declaration and `apply` checks the tables on both sides of
the call. This module imports no engine and starts nothing.
"""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

text, score, flag = pa.string(), pa.float32(), pa.bool_()
row_id = pa.binary(16)
ids, texts, scores, vector = pa.list_(row_id), pa.list_(text), pa.list_(score), pa.list_(score)
ARTIFACTS = "artifacts"  # of what a `check` is told: the names of `uses` that a step above makes
ROW = "_row"  # int32: which input row an output row or a reject stems from
REJECTS = pa.schema([(ROW, pa.int32()), ("reason", text), ("value", text)])

Columns = Mapping[str, pa.DataType]
Shape = Literal["source", "map", "build", "group", "cross"]


class Params(BaseModel):
    """What the YAML ``with:`` block may say: identity, never hardware."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def moved(self, *names: str) -> bool:
        """Whether one of these is not its default. What was set a worker cannot tell: it is told every field."""
        return any(getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True) for name in names)


class InputError(ValueError):
    """Something that the user gave cannot be used: one sentence that names it and the mend."""


class ContractError(RuntimeError):
    """A table does not have what its operator declared: a defect of the operator."""


class EngineDead(RuntimeError):
    """A model's engine is gone. The process must end; no row is at fault."""


@dataclass(frozen=True)
class Needs:
    """Default resources of one worker; ``configs/cluster`` may override them."""

    cpus: float = 1
    gpus: float = 0
    batch_rows: int = 8192  # rows a map is called with; never changes its result


@dataclass(frozen=True)
class Outcome:
    """What an operator makes of a table: rows, and rejects with their reasons."""

    table: pa.Table
    rejects: pa.Table = field(default_factory=lambda: REJECTS.empty_table())
    seen: int | None = None  # sources only: records met, in rows or rejects


@dataclass(frozen=True)
class Item:
    """One thing that a source reads: a file, or a collection that has no files."""

    name: str
    digest: str  # of its content; the source's fingerprint is made of these
    size: int = 0  # bytes, by which the number of buckets is chosen; never identity


class Artifact(Protocol):
    """What a build leaves behind."""

    def save(self, folder: Path) -> None:
        """Write it below an existing, empty folder."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        ...


class Fold(Protocol):
    """A build under way. Tables arrive in id order; ``merge`` takes the fold of what follows."""

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part; ``turn`` counts the passes from 0."""
        ...

    def merge(self, later: Any) -> None:
        """Take in the fold of later parts."""
        ...

    def finish(self) -> Artifact:
        """Make the artifact."""
        ...


@dataclass(frozen=True)
class Operator:
    """A function and its declaration. Calling it calls the function, unchecked."""

    fn: Callable[..., Any]
    shape: Shape
    version: str
    reads: Columns | Callable[[Any], Columns]
    writes: Columns | Callable[[Any], Columns]
    params: type[Params]
    uses: Mapping[str, type]  # models and artifacts, loaded once per worker
    needs: Needs = Needs()
    bad_rows: Literal["reject", "fail"] = "fail"  # what an exception of a CPU map means
    rows: Literal["same", "fewer", "many"] = "many"
    key: str | Callable[[Any], str] = ""  # group: the column that cuts; source: the row's id
    width: Callable[[Any], int] | None = None  # group by an integer key: values a bucket
    against: Columns | Callable[[Any], Columns] = field(default_factory=dict)  # cross: columns read on the right
    optional: frozenset[str] = frozenset()  # of `uses`: those that a step may leave out
    merge: Callable[..., pa.Table] | None = None  # cross: partials → partial, associative
    depth: str = ""  # cross: the param that says how many of the nearest are kept; an earlier set's lists are taken over
    floored: str = ""  # cross: as `depth`, of lists that are not taken over: what ranges before left out of reach is left out
    prepare: Callable[..., Any] | None = None  # cross: the right side made ready once for many blocks of the left
    measure: Callable[[Any, Any], Mapping[str, int]] | None = None  # of each part, or the artifact: counts for the manifest
    floor: Callable[[Mapping[str, int], Any], str | None] | None = None  # of their sums: why the step fails
    items: Callable[[Any], Sequence[Item]] | None = None  # source: what there is to read
    passes: int = 1  # build
    holds: bool = False  # build: its artifact is of use for rows that it has not seen, so that it may be held
    check: Callable[[Any, Mapping[str, Any]], Sequence[str]] | None = None  # params, using → faults
    calls: Callable[[Any, Mapping[str, Any]], Mapping[str, int]] | None = None  # → LLM requests: under "" a row, a column a value
    publishes: bool = False  # its output is a set of its own
    shard: Callable[[Any], str] | None = None  # what its published files are called (`flows.card.KINDS`); none: train
    scored: Callable[[Any], Mapping[str, str]] | None = None  # ids → scores: a teacher's of `query` and each text alone
    closed: bool = False  # only the columns it writes pass on; others end here
    space: Callable[[Any], str] | None = None  # build of a teacher: the space of its scores
    agrees: Callable[[Any], Mapping[str, Any]] | None = None  # settings that the nearest steps above that have them must share
    libraries: Callable[[Any], Sequence[str]] | None = None  # params → those whose version decides what comes out
    rises: Callable[[Any], Mapping[str, float]] | None = None  # a `threshold` by what it is of: not below those of these steps

    @property
    def name(self) -> str:
        """The function's name, which is also the YAML ``op:``."""
        return self.fn.__name__

    def __call__(self, *args: Any, **used: Any) -> Any:
        """Call the function; a cross may be given its right side as a table or prepared."""
        if self.prepare is not None and isinstance(args[1], pa.Table):
            args = (args[0], self.prepare(args[1], args[2], **used), *args[2:])
        return self.fn(*args, **used)

    def columns_read(self, params: Params) -> Columns:
        """The columns that it reads under these params."""
        return self.reads(params) if callable(self.reads) else self.reads

    def columns_written(self, params: Params) -> Columns:
        """The columns that it writes under these params."""
        return self.writes(params) if callable(self.writes) else self.writes

    def columns_against(self, params: Params) -> Columns:
        """The columns that a cross reads on the right under these params."""
        return self.against(params) if callable(self.against) else self.against

    def pairs_scored(self, params: Params) -> Mapping[str, str]:
        """The columns of ids whose pairs with `query` a teacher scores, and the columns of these scores."""
        return self.scored(params) if self.scored else {}

    def key_of(self, params: Params) -> str:
        """The column that a group or a source cuts by."""
        return self.key(params) if callable(self.key) else self.key


def operator(shape: Shape, **declared: Any) -> Callable[[Callable[..., Any]], Operator]:
    """Declare an operator: its `Params` is its params, keyword-only ones are what it uses, optional where None by default."""

    def declare(fn: Callable[..., Any]) -> Operator:
        hints = typing.get_type_hints(fn)
        signature = inspect.signature(fn).parameters.values()
        kinds = [hints[p.name] for p in signature if isinstance(hints.get(p.name), type)]
        params = next((kind for kind in kinds if issubclass(kind, Params)), Params)
        used = [p for p in signature if p.kind is p.KEYWORD_ONLY]
        optional = frozenset(p.name for p in used if p.default is None)
        uses = {p.name: _without_none(hints[p.name]) for p in used}
        return Operator(fn, shape, params=params, uses=uses, optional=optional, **{"reads": {}, "writes": {}, **declared})

    return declare


def _without_none(hint: Any) -> Any:
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and type(None) in typing.get_args(hint) else hint


def numbered(table: pa.Table) -> pa.Table:
    """Add `_row`, which an operator carries through so that every row can be accounted for."""
    if ROW in table.column_names:
        table = table.drop_columns([ROW])
    return table.append_column(ROW, pa.array(np.arange(len(table), dtype=np.int32)))


def reject(table: pa.Table, bad: Any, reason: str | Sequence[str], value: str | Sequence[str] | None = None) -> Outcome:
    """Split ``table`` by the mask ``bad`` (N,): rows that pass, and rejects with their reason.

    ``reason`` and ``value`` are one text, or one text for every row of ``table``.
    """
    mask = np.asarray(bad, dtype=bool)
    where = np.flatnonzero(mask)

    def pick(given: str | Sequence[str]) -> list[str]:
        return [given] * len(where) if isinstance(given, str) else [given[int(i)] for i in where]

    lost = [pa.array(table[ROW].to_numpy()[where], pa.int32()), pa.array(pick(reason), text), pa.array(pick(value or ""), text)]
    return Outcome(table.filter(pa.array(~mask)), pa.table(lost, schema=REJECTS))


def join(outcomes: Sequence[Outcome]) -> Outcome:
    """Concatenate outcomes in order."""
    tables, bad = [o.table for o in outcomes], [o.rejects for o in outcomes]
    seen = [o.seen for o in outcomes if o.seen is not None]
    return Outcome(pa.concat_tables(tables), pa.concat_tables(bad), sum(seen) if seen else None)


def check_columns(table: pa.Table, columns: Columns, whose: str) -> None:
    """Raise unless ``table`` has every column, with its type and without nulls."""
    for name, dtype in columns.items():
        if name not in table.column_names:
            raise ContractError(f"{whose} {name!r}, which is not among {table.column_names}")
        if table.schema.field(name).type != dtype:
            raise ContractError(f"{whose} {name} as {dtype}, it is {table.schema.field(name).type}")
        if table[name].null_count:
            raise ContractError(f"{whose} {name}, which has {table[name].null_count} nulls")


def account(op: Operator, rows_in: int, outcome: Outcome) -> None:
    """Raise unless every input row is named by an output row or by a reject, never by both."""
    if outcome.rejects.schema != REJECTS:
        raise ContractError(f"{op.name}: rejects have {outcome.rejects.schema}, not {REJECTS}")
    named = outcome.table[ROW].to_numpy() if len(outcome.table) else np.empty(0, np.int32)
    dropped = outcome.rejects[ROW].to_numpy() if len(outcome.rejects) else np.empty(0, np.int32)
    if op.shape != "group" and np.any(np.diff(named) < 0):
        raise ContractError(f"{op.name}: output rows are not in input order")
    # By flags: np.unique took five of nine seconds of a group of a million rows.
    kept, lost = (np.bincount(one, minlength=rows_in) > 0 for one in (named, dropped))
    if op.rows == "same" and len(named) != kept.sum():
        raise ContractError(f"{op.name}: a row came out more than once, declared the same")
    if not len(kept) == len(lost) == rows_in or not np.all(kept ^ lost):
        raise ContractError(f"{op.name}: {rows_in} rows in, {kept.sum()} represented and {lost.sum()} rejected")


def apply(op: Operator, table: pa.Table, params: Params, **used: Any) -> Outcome:
    """Run a map or a group on a whole part: check, call, check, account. `_row` stays on.

    A map is called in batches of ``needs.batch_rows``; an exception in a CPU map with
    ``bad_rows="reject"`` is halved down to the rows at fault.
    """
    check_columns(table, op.columns_read(params), f"{op.name} reads")
    table = numbered(table)
    size = max(len(table), 1) if op.shape == "group" else op.needs.batch_rows
    batches = [table.slice(i, size).combine_chunks() for i in range(0, max(len(table), 1), size)]
    outcome = join([_attempt(op, batch, params, used) for batch in batches])
    check_columns(outcome.table, op.columns_written(params), f"{op.name} writes")
    account(op, len(table), outcome)
    return outcome


def _attempt(op: Operator, table: pa.Table, params: Params, used: dict[str, Any]) -> Outcome:
    try:
        result = op(table, params, **used)
        return result if isinstance(result, Outcome) else Outcome(result)
    except (EngineDead, ContractError, MemoryError):
        raise
    except Exception as error:
        if op.bad_rows == "fail" or op.shape != "map" or len(table) == 0:
            raise
        if len(table) == 1:
            empty = _attempt(op, table.slice(0, 0), params, used).table
            return Outcome(empty, reject(table, [True], f"{type(error).__name__}: {error}").rejects)
    half = len(table) // 2
    return join([_attempt(op, t, params, used) for t in (table.slice(0, half), table.slice(half))])


def outcome_of(table: pa.Table, kept: pa.Table, reasons: Mapping[int, tuple[str, str]]) -> Outcome:
    """An outcome from kept rows and ``{position in table: (reason, value)}``."""
    rows = table[ROW].take(pa.array(where := sorted(reasons), pa.int64()))
    told = [pa.array([reasons[i][n] for i in where], text) for n in (0, 1)]
    return Outcome(kept, pa.table([rows, *told], schema=REJECTS))


@dataclass(frozen=True)
class Example:
    """Three to five rows that an operator is tried on by the laws; made by its module's `example()`."""

    table: pa.Table
    params: Params
    used: Mapping[str, Any] = field(default_factory=dict)  # models and artifacts, loaded
    against: pa.Table | None = None  # the right side of a cross
