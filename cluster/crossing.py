"""How a cross is done: blocks of the left against ranges of the right, and what an earlier set spares.

Each row keeps some candidates more than are published. When rows of the right side come and go, an earlier list less what
is gone, merged with a search among what came, is the list of a full search as far down as it is sure: no further than the
last candidate that was kept, for those behind it are not known. Rows for which that is not deep enough are searched anew.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.reuse import isin, keys_of, rows_of
from cluster.tables import select, write
from cluster.work import Job
from operators.columns import flat, id_pairs, lists, put, slices
from operators.content import parents
from operators.contract import ROW, ContractError, Outcome, Params, account, check_columns, ids, numbered, scores
from operators.topk import FLOOR

RANGE = 1 << 16  # rows of a right side that are searched at once: 100 MB of 384 numbers
MORE, ALL = "_more_", "_all"  # the rest of a list of candidates; whether no candidate stands behind it
_HELD: dict[str, Any] = {}  # the last range, prepared: blocks of the left follow each other on it
_BEST = OrderedDict[str, pa.Table]()  # of the last blocks of the left, what this process has found in any range
BEST = 64 << 20  # bytes of it
SIDE = pa.schema([("passage_id", pa.binary(16)), ("_key", pa.binary(16))])

Array = np.ndarray[Any, Any]


def deep(job: Job) -> Params:
    """The params with so many candidates more that a few per cent of the right side may go: 28 beyond 100."""
    if not job.op.depth:
        return job.params
    kept = getattr(job.params, job.op.depth)
    return job.params.model_copy(update={job.op.depth: kept + kept // 8 + 16})


def _names(job: Job) -> tuple[str, str]:
    """The columns of ids and of their scores."""
    written = job.op.columns_written(job.params)
    return next(c for c, t in written.items() if t == ids), next(c for c, t in written.items() if t == scores)


def do_side(job: Job) -> dict[str, Any]:
    """The id of each row of a part of the right, and a key of all that the search reads of it."""
    reads = job.op.columns_against(job.params)
    table = job.store.read_table(job.work.inputs[0], list(reads))
    return _made(job, "sides", pa.table([table["passage_id"], keys_of(job, table, reads)], SIDE), len(table))


def _made(job: Job, folder: str, table: pa.Table, rows_in: int) -> dict[str, Any]:
    """Write a table that is no part of the step's rows; its record."""
    record: dict[str, Any] = {"file": job.file(folder), "rows_in": rows_in, "rejected": {}}
    record["sha256"], record["rows"] = job.store.write_table(record["file"], [table])
    return record


def do_differ(job: Job) -> dict[str, Any]:
    """Which rows of these parts of the right are new, and which ids have lost a row."""
    sides, before, parts = job.work.inputs
    new, old = _side(job, sides), _side(job, before)
    came = ~isin(new["_key"], old["_key"])
    gone = old["passage_id"].filter(pa.array(~isin(old["_key"], new["_key"])))
    record: dict[str, Any] = {"file": job.file("partial"), "gone": job.file("partial", ".gone.parquet")}
    job.store.write_table(record["gone"], [pa.table([gone], SIDE.names[:1])])
    return {**record, **_picked(job, record["file"], parts, came), "removed": len(gone)}


def do_stay(job: Job) -> dict[str, Any]:
    """The rows of these parts of the right whose id has lost another row: their scores are to be found again."""
    sides, gone, parts = job.work.inputs
    record = {"file": job.file("partial")}
    lost = pa.concat_tables(job.store.read_table(name) for name in gone)["passage_id"]
    return {**record, **_picked(job, record["file"], parts, isin(_side(job, sides)["passage_id"], lost))}


def _side(job: Job, names: list[str]) -> pa.Table:
    return pa.concat_tables([SIDE.empty_table(), *(job.store.read_table(name) for name in names)])


def _picked(job: Job, file: str, parts: list[str], mask: Array) -> dict[str, Any]:
    """Write the rows of the parts that the mask names; a part without one is not read."""
    reads, start = list(job.op.columns_against(job.params)), 0
    schema = pa.schema(list(job.op.columns_against(job.params).items()))

    def found() -> Iterator[pa.Table]:
        nonlocal start
        for name in parts:
            with job.store.parquet(name) as opened:
                size = opened.metadata.num_rows
                mine = mask[start : start + size]
                start += size
                if mine.any():
                    yield opened.read(columns=reads).select(reads).filter(pa.array(mine)).cast(schema)

    sha256, rows = job.store.write_table(file, found(), schema)
    return {"sha256": sha256, "rows": rows, "rows_in": len(mask), "rejected": {}}


def do_renew(job: Job) -> dict[str, Any]:
    """The candidates of the rows of a left part that an earlier set knows and what came and went leaves sure."""
    left, p, names = numbered(select(job, job.work.inputs[0])), deep(job), _names(job)
    told, floor = _earlier(job, left, names)
    assert job.op.merge is not None
    found, most = [told.select([ROW, *names])], getattr(p, job.op.depth)
    mine = left.filter(pa.array(np.isin(left[ROW].to_numpy(), told[ROW].to_numpy())))
    if len(mine) and job.work.against:
        found += [job.op(mine, right, p, **job.used) for right in _sides(job)]
    merged = job.op.merge(found, p).sort_by(ROW)
    offsets, values = flat(merged[names[0]])
    rows, found_scores = parents(offsets), flat(merged[names[1]])[1]
    whole = told[ALL].to_numpy()
    sure = whole[rows] | _not_behind(found_scores.to_numpy(zero_copy_only=False), id_pairs(values), floor, rows)
    kept = np.bincount(rows[sure], minlength=len(merged))
    whole = whole & (kept < most)
    settled = whole | (kept >= getattr(job.params, job.op.depth))
    sure = pa.array(sure & settled[rows])
    ends = np.concatenate([[0], np.cumsum(kept[settled])])
    columns = [merged[ROW].filter(pa.array(settled)), lists(ends, values.filter(sure)), lists(ends, found_scores.filter(sure))]
    out = pa.table([*columns, pa.array(whole[settled])], names=[ROW, *names, ALL])
    return {**_made(job, "partial", out, len(left)), "open": len(left) - len(out)}


def _not_behind(found: Array, pairs: Array, floor: tuple[Array, Array], rows: Array) -> Array:
    """Whether candidates (M,) stand no further down than the last one that was known of their row."""
    last, name = floor[0][rows], floor[1][rows]
    first = (pairs["hi"] < name["hi"]) | ((pairs["hi"] == name["hi"]) & (pairs["lo"] <= name["lo"]))
    out: Array = (found > last) | ((found == last) & first)
    return out


def _earlier(job: Job, left: pa.Table, names: tuple[str, str]) -> tuple[pa.Table, tuple[Array, Array]]:
    """The rows that an earlier set knows: `_row`, candidates less those that are gone, whether these were all; and the
    (scores, ids) of the last of each row's, before any was gone."""  # noqa: D205, D209
    keys = keys_of(job, left, job.op.columns_read(job.params))
    columns = ["_key", *names, *(MORE + n for n in names), ALL]
    parts = [rows_of(job, name, pc.unique(keys), columns) for name in job.work.extra["previous"]]
    old = pa.concat_tables([_empty(job, names), *(part for part in parts if part is not None)])
    length = np.diff(flat(old[MORE + names[0]])[0]) + np.diff(flat(old[names[0]])[0])
    old = old.take(pa.array(np.lexsort((-length, ~old[ALL].to_numpy()))))  # of several sets' rows the deepest
    at = pc.index_in(keys, value_set=old["_key"].combine_chunks())
    old, known = old.take(at.drop_null()), np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
    offsets, order = _joined(flat(old[names[0]])[0], flat(old[MORE + names[0]])[0])
    both = [pa.concat_arrays([flat(old[n])[1], flat(old[MORE + n])[1]]).take(pa.array(order)) for n in names]
    has, end = np.diff(offsets) > 0, np.maximum(offsets[1:] - 1, 0)
    floor = np.full(len(old), np.inf, np.float32), np.zeros(len(old), [("hi", "u8"), ("lo", "u8")])
    floor[0][has], floor[1][has] = both[1].to_numpy()[end[has]], id_pairs(both[0])[end[has]]
    gone = [job.store.read_table(name)["passage_id"].combine_chunks() for name in job.work.extra["gone"]]
    stays = ~isin(both[0], pa.concat_arrays([*gone, both[0].slice(0, 0)]))
    ends = np.concatenate([[0], np.cumsum(stays)])[offsets]
    mine = [lists(ends, one.filter(pa.array(stays))) for one in both]
    return pa.table([left[ROW].take(pa.array(known)), *mine, old[ALL]], names=[ROW, *names, ALL]), floor


def _empty(job: Job, names: tuple[str, str]) -> pa.Table:
    kinds = [(n, job.op.columns_written(job.params)[n]) for n in names]
    return pa.schema([("_key", pa.binary(16)), *kinds, *((MORE + n, k) for n, k in kinds), (ALL, pa.bool_())]).empty_table()


def _joined(first: Array, second: Array) -> tuple[Array, Array]:
    """Two list columns' offsets (N+1,): those of each row's second list behind its first, and the order of the values."""
    offsets, size = first + second, int(first[-1])
    order = np.empty(int(offsets[-1]), np.int64)
    for ends, before, start in ((first, second, 0), (second, first[1:], size)):
        shift = np.repeat(before[: len(ends) - 1], np.diff(ends))
        order[np.arange(ends[-1]) + shift] = np.arange(ends[-1]) + start
    return offsets, order


def do_cross(job: Job) -> dict[str, Any]:
    """A block of the left, but for what is settled, against a range of the right; the top-k runs inside."""
    left, p = numbered(select(job, job.work.inputs[0])), deep(job)
    if settled := job.work.extra.get("settled"):
        done = job.store.read_table(settled, [ROW])[ROW].to_numpy()
        left = left.filter(pa.array(~np.isin(left[ROW].to_numpy(), done)))
    mine, partial = f"{job.work.home} {job.work.inputs[0]} {settled}", None
    best = _BEST.pop(mine, None)
    for right in _sides(job):
        found = job.op(_floored(job, left, best), right, p, **job.used)
        partial = _both(job, partial, found, p)
        if job.op.depth or job.op.floored:
            best = _both(job, best, found, p)
    if best is not None:
        _BEST[mine] = best
        while sum(table.nbytes for table in _BEST.values()) > BEST:
            _BEST.popitem(last=False)
    return _made(job, "partial", partial, len(left))


def _both(job: Job, before: pa.Table | None, found: pa.Table, p: Params) -> pa.Table:
    """What was found before, and this; alone it is a partial as it is."""
    assert job.op.merge is not None
    return found if before is None else job.op.merge([before, found], p)


def _floored(job: Job, left: pa.Table, best: pa.Table | None) -> pa.Table:
    """The left side with the least score that can still be among each row's best, where as many are known as are kept.

    What a range leaves out below it is outdone by candidates of ranges that are committed: the merge is the same.
    """
    if best is None:
        return left
    offsets, values = flat(best.sort_by(ROW)[_names(job)[1]])
    full = np.diff(offsets) >= getattr(deep(job), job.op.depth or job.op.floored)
    floor = np.full(len(full), -np.inf, np.float32)
    floor[full] = values.to_numpy(zero_copy_only=False)[offsets[1:][full] - 1]
    return put(left, FLOOR, pa.array(floor))


def _sides(job: Job) -> Iterator[Any]:
    """The right side in lots of about `RANGE` rows, prepared; a range of one lot stays for the next block of the left."""
    key = json.dumps([job.work.store, job.work.op, job.work.params, job.work.using, job.work.against], sort_keys=True)
    if key not in _HELD:
        _HELD.clear()
        lots, p = _lots(job), deep(job)
        first, second = next(lots), next(lots, None)
        if second is not None:
            for table in (first, second, *lots):
                yield job.op.prepare(table, p, **job.used) if job.op.prepare else table
            return
        _HELD[key] = job.op.prepare(first, p, **job.used) if job.op.prepare else first
    yield _HELD[key]


def forget(kind: str) -> None:
    """Let go of the range that is held: only crosses ask for it, and theirs come one behind the other."""
    if kind not in ("cross", "renew"):
        _HELD.clear()
        _BEST.clear()


def _lots(job: Job) -> Iterator[pa.Table]:
    reads, told, rows = job.op.columns_against(job.params), False, 0
    held: list[pa.Table] = []
    for name in job.work.against:
        table = job.store.read_table(name, list(reads))
        check_columns(table, reads, f"{job.op.name} reads against")
        empty = table.slice(0, 0)
        for part in slices(table, RANGE):
            held.append(part)
            rows += len(part)
            if rows >= RANGE:
                yield pa.concat_tables(held).combine_chunks()
                held, rows, told = [], 0, True
    if held or not told:
        yield pa.concat_tables([empty, *held]).combine_chunks()


def do_merge(job: Job) -> dict[str, Any]:
    """Merge the partials of a left part and add their columns to its rows; with what a refresh may ask for, hidden."""
    left, p = numbered(select(job, job.work.inputs[0])), deep(job)
    table, (partial, reused) = left, _merged(job, p)
    if len(partial) != len(left):
        raise ContractError(f"{job.op.name}: {len(left)} rows, {len(partial)} of them searched")
    cut = getattr(job.params, job.op.depth) if job.op.depth else 0
    for name in job.op.columns_written(job.params):
        table = put(table, name, pc.list_slice(partial[name], 0, cut) if cut else partial[name])
        if cut:
            table = put(table, MORE + name, pc.list_slice(partial[name], cut))
    if cut:
        table = put(put(table, ALL, partial[ALL]), "_key", keys_of(job, left, job.op.columns_read(job.params)))
    check_columns(table, job.op.columns_written(job.params), f"{job.op.name} writes")
    account(job.op, len(left), Outcome(table))
    return {**write(job, table, left, Outcome(table), len(left)), "reused": reused}


def _merged(job: Job, p: Params) -> tuple[pa.Table, int]:
    """Every row's candidates, in the order of rows, and how many rows are an earlier set's."""
    assert job.op.merge is not None
    partial, settled = None, job.work.extra.get("settled")
    found = [job.store.read_table(settled)] if settled else []
    for name in job.work.inputs[1:]:
        one = job.store.read_table(name)
        partial = job.op.merge([one] if partial is None else [partial, one], p)
    if partial is not None:
        if job.op.depth:
            some = np.diff(flat(partial[_names(job)[0]])[0]) < getattr(p, job.op.depth)
            partial = put(partial, ALL, pa.array(some))
        found.append(partial)
    return pa.concat_tables(found).sort_by(ROW), len(found[0]) if settled else 0


CROSSING: dict[str, Callable[[Job], dict[str, Any]]] = {
    "side": do_side, "differ": do_differ, "stay": do_stay, "renew": do_renew, "cross": do_cross, "merge": do_merge,
}  # fmt: skip
