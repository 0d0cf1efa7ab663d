"""How a build is done: every part fed to a fold, or an earlier artifact less the rows that went and with those that came.

The second is for folds that are sums, which say so by a ``remove``: they take their own artifact in ``merge``.
"""

import shutil
import tempfile
import typing
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.parts import span
from cluster.recipes import earlier
from cluster.reuse import isin, keys_of
from cluster.store import Store
from cluster.task import Task, manifest_of, parts_of
from cluster.work import Job, made_by
from operators.columns import told_apart
from operators.contract import Operator, check_columns

Array = np.ndarray[Any, Any]
Files = list[list[list[str]]]  # of each range of ids the files of before and those of today


def is_sum(op: Operator) -> bool:
    """Whether a build's fold can give back what it took in."""
    return op.shape == "build" and op.passes == 1 and hasattr(typing.get_type_hints(op.fn).get("return"), "remove")


def before(task: Task, store: Store, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The newest earlier artifact whose rows are still stored, and which files to compare; nothing where there is none."""
    for manifest in earlier(store, task.kin) if is_sum(task.op) else ():
        if len(manifest["inputs"]) == len(task.inputs) and all(manifest_of(store, home) for home in manifest["inputs"]):
            return {"artifact": manifest["parts"][0]["file"], "groups": _grouped(parts_of(store, manifest["inputs"]), parts)}
    return {}


def _grouped(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Files:
    """Ranges of ids that both cuts keep whole; a file that both have is left out."""
    same = {(p["input"], p["sha256"]) for p in old} & {(p["input"], p["sha256"]) for p in new}
    of = gcd(*(int(p["part"].split("@")[0].partition("-of-")[2] or 1) for p in (*old, *new))) or 1
    found: dict[tuple[int, int], list[list[str]]] = {}
    for side, parts in enumerate((old, new)):
        for part in parts:
            if (part["input"], part["sha256"]) not in same:
                at = part["input"], int(span(part["part"])[0] * of)
                found.setdefault(at, [[], []])[side].append(part["file"])
    return [found[at] for at in sorted(found)]


def do_fold(job: Job) -> dict[str, Any]:
    """Feed every part, in id order, to a build, or revise an earlier artifact; keep what comes out."""
    rows, reused = job.work.rows, 0
    fold = _revised(job)
    if fold is None:
        fold, rows = _whole(job)
    else:
        reused = rows
    folder = Path(tempfile.mkdtemp(prefix="pithead-"))
    measured: dict[str, Any] = {}
    try:
        made = fold.finish()
        made.save(folder)
        if job.op.measure:
            measured = {"measured": dict(job.op.measure(made, job.params))}
        home = job.file("artifact", "")
        files = job.store.save_folder(folder, home)
    finally:
        shutil.rmtree(folder)
    return {"file": home, "files": files, "rows": 0, "rows_in": rows, "rejected": {}, "sha256": "", "reused": reused, **measured}


def _whole(job: Job) -> tuple[Any, int]:
    fold, rows = job.op(job.params, **job.used), 0
    for turn in range(job.op.passes):
        rows = 0
        for table in _parts(job):
            fold.add(table, turn)
            rows += len(table)
    return fold, rows


def _parts(job: Job) -> Iterator[pa.Table]:
    """Every part; while one is used the next is read."""
    with ThreadPoolExecutor(1, "ahead") as reader:
        ahead: list[Future[pa.Table]] = []
        for name in job.work.inputs:
            ahead.append(reader.submit(_read, job, name))
            if len(ahead) > 1:
                yield ahead.pop(0).result()
        yield from (one.result() for one in ahead)


def _read(job: Job, name: str) -> pa.Table:
    reads = job.op.columns_read(job.params)
    table = job.store.read_table(name, list(reads))
    check_columns(table, reads, f"{job.op.name} reads")
    return table


def _revised(job: Job) -> Any:
    """The earlier artifact's fold with what came and without what went; None where that is no less work, or it was removed."""
    if not job.work.extra.get("artifact"):
        return None
    try:
        changes = [list(_changed(job, old, new)) for old, new in job.work.extra["groups"]]
        if sum(int(mask.sum()) for group in changes for _, mask, _ in group) > job.work.rows // 2:
            return None
        made = made_by(job.op)
        assert made is not None
        fold = job.op(job.params, **job.used)
        fold.merge(made.load(job.store.fetch_folder(job.work.extra["artifact"])))  # type: ignore[attr-defined]
        for name, mask, came in (one for group in changes for one in group):
            if mask.any():
                table = _read(job, name).filter(pa.array(mask))
                fold.add(table, 0) if came else fold.remove(table)
        return fold
    except FileNotFoundError:
        return None


def _changed(job: Job, old: list[str], new: list[str]) -> Iterator[tuple[str, Array, bool]]:
    """(file, its rows that the other side lacks, whether they came); a row that is there twice counts twice."""
    sides = [[keys_of(job, _read(job, name), job.op.columns_read(job.params)) for name in names] for names in (old, new)]
    keys = [told_apart(pa.concat_arrays([pa.array([], pa.binary(16)), *side])) for side in sides]
    for i, names in enumerate((old, new)):
        lacks, start = ~isin(keys[i], keys[1 - i]), 0
        for name, part in zip(names, sides[i], strict=True):
            yield name, lacks[start : start + len(part)], i == 1
            start += len(part)
