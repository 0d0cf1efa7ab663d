"""The table of a part: what of it is read, and how it is written, with its rejects and its commit record.

A column whose name begins with an underscore is the cluster's own: no operator and no reader is shown it.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cluster.work import Job
from operators.contract import ROW, Outcome

NAMES = ("doc_id", "passage_id", "query_id", "positive_ids", "query_type", "source", "source_id")  # what a reject is found by


def select(job: Job, name: str) -> pa.Table:
    """Read the columns of an input part that the operator reads or that pass through."""
    wanted = job.work.keep
    if wanted is not None:
        wanted = list(dict.fromkeys([*wanted, *job.op.columns_read(job.params)]))
    elif job.op.closed:  # nothing passes through; a reject is named
        wanted = [*job.op.columns_read(job.params), *NAMES]
    if job.work.columns:
        return job.store.read_table(name, job.work.columns).select(job.work.columns)
    with job.store.parquet(name) as file:
        have = [c for c in file.schema_arrow.names if not c.startswith("_")]
        return file.read(columns=have if wanted is None else [c for c in have if c in wanted])


def write(job: Job, table: pa.Table, source: pa.Table, outcome: Outcome, rows_in: int) -> dict[str, Any]:
    """Write a part and its rejects; ``source`` holds the rows that rejects point into."""
    if job.op.closed:
        mine = [c for c in ("_key", "_ord") if c in table.column_names]  # what a refresh finds the rows of a map by
        table = table.select([*job.op.columns_written(job.params), *mine])
    elif job.work.keep is not None:
        reads = set(job.op.columns_read(job.params)) - set(job.work.keep) - set(job.op.columns_written(job.params))
        table = table.drop_columns([c for c in table.column_names if c in reads])
    table = table.drop_columns([ROW]) if ROW in table.column_names else table
    record: dict[str, Any] = {"file": job.file("parts"), "schema": [[f.name, str(f.type)] for f in table.schema]}
    record["sha256"], record["rows"] = job.store.write_table(record["file"], [table])
    record |= {"rows_in": rows_in, "rejected": tally(outcome.rejects)}
    if job.op.measure:
        record["measured"] = dict(job.op.measure(table, job.params))
    if len(outcome.rejects):
        record["rejects"] = job.file("rejects")
        record["rejects_sha256"], _ = job.store.write_table(record["rejects"], [_named(outcome.rejects, source)])
    return record


def tally(rejects: pa.Table) -> dict[str, int]:
    """How many rejects there are of each reason."""
    counts = pc.value_counts(rejects["reason"])
    return {c["values"].as_py(): c["counts"].as_py() for c in counts}


def _named(rejects: pa.Table, source: pa.Table) -> pa.Table:
    at = rejects[ROW]
    columns = {n: source[n].take(at) for n in (*NAMES, "_key") if n in source.column_names}
    return pa.table({**columns, "reason": rejects["reason"], "value": rejects["value"]})
