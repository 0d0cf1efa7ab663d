"""How each kind of work is done: scan and gather for sources, map, exchange and bucket for groups.

Each returns the commit record of its part; that of a build stands in `cluster.folding`, those of crosses in `cluster.crossing`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from cluster.crossing import CROSSING
from cluster.folding import do_fold
from cluster.reuse import apply_with_reuse
from cluster.tables import select, tally, write
from cluster.work import Job
from operators.columns import buckets, put
from operators.contract import REJECTS, ROW, ContractError, Item, Outcome, apply, check_columns, numbered

LOT = 64 << 20  # bytes of rows that a scan gathers before it writes them


def do_map(job: Job) -> dict[str, Any]:
    """One part in, one part out; rows stored under the same recipe are taken over."""
    table = select(job, job.work.inputs[0])
    outcome, keyed, reused = apply_with_reuse(job, table)
    return {**write(job, outcome.table, keyed, outcome, len(table)), "reused": reused}


def do_scan(job: Job) -> dict[str, Any]:
    """Read one item of a source into a file of row groups, each of one bucket; a long file is never held whole."""
    seen, rejects = 0, [REJECTS.empty_table()]
    schema = pa.schema(list(job.op.columns_written(job.params).items()))

    def tables() -> Iterator[pa.Table]:
        nonlocal seen
        outcomes: Iterator[Outcome] = job.op(Item(**job.work.inputs[0]), job.params)
        for outcome in outcomes:
            check_columns(outcome.table, job.op.columns_written(job.params), f"{job.op.name} writes")
            if outcome.seen != len(outcome.table) + len(outcome.rejects):
                raise ContractError(f"{job.op.name}: {outcome.seen} records seen, not as many in rows and rejects")
            seen += outcome.seen
            rejects.append(outcome.rejects)
            yield outcome.table.select(schema.names)

    def cuts() -> Iterator[tuple[int, pa.Table]]:
        for table in _gathered(tables(), schema):
            yield from _cuts(table, buckets(table[job.op.key_of(job.params)], job.work.buckets))

    record = _scatter(job, cuts(), schema)
    bad = pa.concat_tables(rejects)
    record |= {"rows_in": seen, "rejected": tally(bad)}
    if len(bad):
        named = bad.append_column("source_id", pc.cast(bad[ROW], pa.string())).drop_columns([ROW])
        name = pa.array([job.work.inputs[0]["name"]] * len(bad), pa.string())
        record["rejects"] = job.file("rejects")
        record["rejects_sha256"], _ = job.store.write_table(record["rejects"], [put(named, "source", name)])
    return record


def _gathered(tables: Iterator[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The tables in lots of about `LOT` bytes: what a scan holds at once."""
    held, size = [schema.empty_table()], 0
    for table in tables:
        held.append(table)
        size += table.nbytes
        if size >= LOT:
            yield pa.concat_tables(held)
            held, size = held[:1], 0
    yield pa.concat_tables(held)


def do_exchange(job: Job) -> dict[str, Any]:
    """Cut one part anew by the group's key: one row group a bucket."""
    table = select(job, job.work.inputs[0])
    key = table[job.op.key_of(job.params)]
    if job.op.width is None:
        where = buckets(key, job.work.buckets)
    else:
        where = key.to_numpy() // job.op.width(job.params)
    digests: list[str] = []

    def cuts() -> Iterator[tuple[int, pa.Table]]:
        for bucket, rows in _cuts(table, where):
            digests.append(_digest(rows))
            yield bucket, rows

    return {**_scatter(job, cuts(), table.schema), "digests": digests, "rows_in": len(table), "rejected": {}}


def _digest(table: pa.Table) -> str:
    """What tells these rows from others: equal ones, equally laid out, have the same."""
    sink = pa.BufferOutputStream()
    # A copy: of a slice the stream would tell the neighbours, too, up to the next eight bytes.
    whole = table.replace_schema_metadata(None).take(pa.array(np.arange(len(table)))).combine_chunks()
    with pa.ipc.new_stream(sink, whole.schema) as stream:
        stream.write_table(whole)
    return xxhash.xxh3_128_hexdigest(sink.getvalue())


def _cuts(table: pa.Table, where: Any) -> Iterator[tuple[int, pa.Table]]:
    """(bucket, its rows), each bucket once."""
    order = np.argsort(where.astype(np.uint16) if len(where) and where.max() < 1 << 16 else where, kind="stable")  # by radix
    table, where = table.take(pa.array(order)), where[order]
    found, starts = np.unique(where, return_index=True)
    ends = [*starts[1:], len(table)][: len(starts)]
    for bucket, a, b in zip(found, starts, ends, strict=True):
        yield int(bucket), table.slice(a, b - a)


def _scatter(job: Job, cuts: Iterator[tuple[int, pa.Table]], schema: pa.Schema) -> dict[str, Any]:
    groups: list[int] = []

    def told() -> Iterator[pa.Table]:
        for bucket, table in cuts:
            groups.append(bucket)
            yield table

    record: dict[str, Any] = {"file": job.file("exchange"), "groups": groups}
    record["sha256"], record["rows"] = job.store.write_table(record["file"], told(), schema)
    return record


def _bucket(job: Job) -> pa.Table:
    """This bucket's row groups out of every exchange file, in the order of those."""
    if not job.work.inputs:
        return pa.schema(list(job.op.columns_written(job.params).items())).empty_table()
    tables = []
    for name, group in job.work.inputs:
        with job.store.parquet(name) as file:
            tables.append(file.read_row_group(group) if group >= 0 else file.schema_arrow.empty_table())
    return pa.concat_tables(tables).combine_chunks()


def do_gather(job: Job) -> dict[str, Any]:
    """A source's bucket, sorted by id, then source and the user's own id, whatever the order of files."""
    table = _bucket(job)
    by = [job.op.key_of(job.params), *(c for c in ("source", "source_id") if c in table.column_names)]
    table = numbered(table)
    table = table.sort_by([(c, "ascending") for c in [*by, ROW]])
    return write(job, table, table, Outcome(table), len(table))


def do_bucket(job: Job) -> dict[str, Any]:
    """A group's bucket, sorted by key, given to the operator whole; an equal one of an earlier set is taken over."""
    known = {"digest": job.work.extra.get("digest", "")}
    if (old := job.work.extra.get("taken")) and (taken := _copied(job, old)):
        return taken
    table = numbered(_bucket(job))
    table = table.sort_by([(job.op.key_of(job.params), "ascending"), (ROW, "ascending")]).combine_chunks()
    outcome = apply(job.op, table, job.params, **job.used)
    record = write(job, outcome.table, table, outcome, len(table))
    told = ("rows_in", "rejected", "measured", "schema")
    return {**record, "bucket": {**known, **{name: record[name] for name in told if name in record}}}


def _copied(job: Job, old: dict[str, Any]) -> dict[str, Any] | None:
    """A copy of an earlier part and its rejects, which stay in this step's folder; None where they are not as they were."""
    told = old["bucket"]
    record = {**{k: v for k, v in told.items() if k != "digest"}, "bucket": told, "reused": told["rows_in"]}
    for name, folder, sha in (("file", "parts", "sha256"), ("rejects", "rejects", "rejects_sha256")):
        if name not in old:
            continue
        record |= {name: job.file(folder), sha: old[sha]}
        if job.store.copy(old[name], record[name]) != old[sha]:
            job.store.remove(record[name])
            return None
    return {**record, "rows": old["rows"]}


DO: dict[str, Callable[[Job], dict[str, Any]]] = {
    "map": do_map, "scan": do_scan, "gather": do_gather, "exchange": do_exchange,
    "bucket": do_bucket, "fold": do_fold, **CROSSING,
}  # fmt: skip
