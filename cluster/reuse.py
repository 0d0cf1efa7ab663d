"""Row reuse for maps: what earlier sets of the same recipe hold is taken over, not computed.

Every row of a part carries `_key`, a hash of the values that its operator read and of the texts that
ids among them name, and `_ord`, which of its parent's rows it is. Only written columns are taken over:
what passes through comes from the input of today, so a renamed file or a new licence costs nothing.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.pairs import TEXTS_OF, recalling, texts_of
from cluster.work import Job
from operators.columns import id_pairs, put, row_keys
from operators.contract import REJECTS, ROW, Outcome, account, apply, numbered


def apply_with_reuse(job: Job, table: pa.Table) -> tuple[Outcome, pa.Table, int]:
    """Apply a map: (outcome with `_key` and `_ord`, the input with `_key`, rows taken over)."""
    keyed = _keyed(job, table)
    old, bad = _stored(job, keyed) if job.work.previous else (None, None)
    mask = np.zeros(len(table), bool)
    if old is not None and bad is not None:
        mask = isin(keyed["_key"], old["_key"]) | isin(keyed["_key"], bad["_key"])
    fresh = np.flatnonzero(~mask)
    table = table if not mask.any() else table.take(pa.array(fresh))
    outcome = apply(job.op, table, job.params, **recalling(job, table))
    if mask.any():
        outcome = _rebased(outcome, fresh)
        taken = _taken(job, numbered(keyed), np.flatnonzero(mask), old, bad)
        outcome = _interleave(outcome, taken)
    result = outcome.table
    for name in keyed.column_names:
        if name == "_key" or name.startswith(TEXTS_OF):
            result = put(result, name, keyed[name].take(result[ROW]))
    rows = result[ROW].to_numpy()
    starts = np.searchsorted(rows, rows, side="left")
    result = put(result, "_ord", pa.array((np.arange(len(rows)) - starts).astype(np.int32)))
    outcome = Outcome(result, outcome.rejects)
    account(job.op, len(keyed), outcome)  # what was taken over, too
    return outcome, keyed, int(mask.sum())


def _keyed(job: Job, table: pa.Table) -> pa.Table:
    """The table with `_key`, and with its texts' hashes where the operator's scores of pairs can be taken over."""
    said = told_of(job, table, job.op.columns_read(job.params))
    for column in job.op.pairs_scored(job.params):
        for name in said.column_names:
            if name.endswith(f":{column}"):
                table = put(table, TEXTS_OF + column, said[name])
    return put(table, "_key", row_keys(said, said.column_names))


def keys_of(job: Job, table: pa.Table, columns: Iterable[str]) -> pa.Array:
    """`_key`: 128 bits of each row's values in ``columns``, and of what they name in artifacts that a recipe leaves out."""
    said = told_of(job, table, columns)
    return row_keys(said, said.column_names)


def told_of(job: Job, table: pa.Table, columns: Iterable[str]) -> pa.Table:
    """These columns, and beside each that names content of an artifact ``name``, as ``name:column``, that content's hash."""
    said = table.select(reads := sorted(columns))
    for name, texts in sorted(job.used.items()):
        if getattr(texts, "content_addressed", False):
            for column in reads:
                if (found := texts_of(table[column], texts)) is not None:
                    said = said.append_column(f"{name}:{column}", found)
    return said


def _stored(job: Job, keyed: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Earlier rows and rejects whose `_key` is asked for: what the newest part that knows a key made of its first parent.

    Only keys are read of a part that holds none of them, and nothing once all are found.
    """
    types = job.op.columns_written(job.params)
    old = [pa.schema([("_key", pa.binary(16)), ("_ord", pa.int32()), *types.items()]).empty_table()]
    bad = [pa.schema([("_key", pa.binary(16)), ("reason", pa.string()), ("value", pa.string())]).empty_table()]
    wanted = pc.unique(keyed["_key"])
    for names in job.work.previous:
        if not len(wanted):
            break
        known = [wanted.slice(0, 0)]
        for name, found in zip(names, (old, bad), strict=True):
            rows = rows_of(job, name, wanted, found[0].column_names) if name else None
            if rows is not None:
                found.append(rows)
                known.append(pc.unique(rows["_key"]))
        wanted = wanted.filter(pa.array(~isin(wanted, pa.concat_arrays(known))))
    rows = pa.concat_tables([_first_parents(table) for table in old])
    pairs = id_pairs(rows["_key"])
    order = np.lexsort((pairs["lo"], pairs["hi"]))  # stable: the places of a key stay in order
    return rows.take(pa.array(order)).combine_chunks(), pa.concat_tables(bad)


def rows_of(job: Job, name: str, wanted: pa.Array, columns: list[str]) -> pa.Table | None:
    """The rows of a stored file whose key is wanted; None where there are none, or the file has been removed."""
    try:
        with job.store.parquet(name) as file:
            mask = isin(file.read(columns=["_key"])["_key"], wanted)
            return file.read(columns=columns).select(columns).filter(pa.array(mask)) if mask.any() else None
    except FileNotFoundError:
        return None


def _first_parents(rows: pa.Table) -> pa.Table:
    """Of several rows of one key and place, which equal rows of the input left, the first; sorted by key, then place."""
    if not len(rows):
        return rows
    pairs, order = id_pairs(rows["_key"]), rows["_ord"].to_numpy()
    both = np.rec.fromarrays([pairs["hi"], pairs["lo"], order])
    _, first = np.unique(both, return_index=True)
    return rows.take(pa.array(first)).combine_chunks()


def _taken(job: Job, keyed: pa.Table, rows: Any, old: Any, bad: Any) -> Outcome:
    """The stored outcome of the input rows ``rows`` (K,), whose keys are all in old or bad."""
    wanted = id_pairs(keyed["_key"])[rows]
    have = id_pairs(old["_key"]) if len(old) else np.empty(0, wanted.dtype)
    low, high = np.searchsorted(have, wanted, "left"), np.searchsorted(have, wanted, "right")
    counts = high - low
    parents = np.repeat(rows, counts)
    picks = np.concatenate([np.arange(a, b) for a, b in zip(low, high, strict=True)] or [np.empty(0, int)])
    hidden = [c for c in keyed.column_names if c == "_key" or c.startswith(TEXTS_OF)]
    table = keyed.drop_columns(hidden).take(pa.array(parents.astype(np.int64)))
    chosen = old.take(pa.array(picks.astype(np.int64)))
    for name in job.op.columns_written(job.params):
        table = put(table, name, chosen[name])
    table = put(table, ROW, pa.array(parents.astype(np.int32)))
    lost = rows[counts == 0]
    reasons = {k: (r, v) for k, r, v in zip(*(bad[c].to_pylist() for c in bad.column_names), strict=True)}
    found = [reasons[k] for k in keyed["_key"].take(pa.array(lost)).to_pylist()]
    columns = [lost.astype(np.int32), [f[0] for f in found], [f[1] for f in found]]
    return Outcome(table, pa.table([pa.array(c, f.type) for c, f in zip(columns, REJECTS, strict=True)], REJECTS))


def _rebased(outcome: Outcome, rows: Any) -> Outcome:
    def move(table: pa.Table) -> pa.Table:
        return put(table, ROW, pa.array(rows[table[ROW].to_numpy()].astype(np.int32)))

    return Outcome(move(outcome.table), move(outcome.rejects))


def _interleave(a: Outcome, b: Outcome) -> Outcome:
    def merge(x: pa.Table, y: pa.Table) -> pa.Table:
        both = pa.concat_tables([x, y.select(x.column_names)])
        return both.take(pa.array(np.argsort(both[ROW].to_numpy(), kind="stable")))

    return Outcome(merge(a.table, b.table), merge(a.rejects, b.rejects))


def isin(values: Any, among: Any) -> Any:
    """Which keys are among others: (N,) bool. A hash table; sorting pairs with numpy took five times as long."""
    return pc.is_in(values, value_set=pc.unique(among)).to_numpy(zero_copy_only=False)
