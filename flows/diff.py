"""What changed between two versions of a set, by row, not by place: which rows came, went or differ, in what, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.reuse import isin
from cluster.store import Store
from cluster.task import manifest_of
from flows.drift import MOST, compare, statistics
from flows.flow import Flow
from flows.publish import published_manifest
from flows.versions import steps_of
from operators.columns import flat, row_keys, told_apart

Array = np.ndarray[Any, Any]
NONE = pa.array([], pa.binary(16))
KEYS = ("query_id", "passage_id", "doc_id", "source_id")
PLACES = ("batch", "cluster", "position", "masked_ids")  # where a row stands among others: every batch changes with one row
OF = {"positives": "positive_ids", "negatives": "negative_ids"}  # texts, and the ids that say which


def diff(flow: Flow, store: Store, home: str, a: str, b: str, examples: int = 5) -> dict[str, Any]:
    """Compare version ``a`` with ``b``. Held: one column of both at a time, and `MOST` rows of both."""
    one, other = (_version(store, f"{home}/{name}") for name in (a, b))
    shared = sorted((set(one["columns"]) & set(other["columns"])) - {one["key"]})
    old, new = _keyed(store, one), _keyed(store, other)
    gone, came = ~isin(old["_id"], new["_id"]), ~isin(new["_id"], old["_id"])
    at, of = np.flatnonzero(~came), pc.index_in(new["_id"].filter(pa.array(~came)), old["_id"].combine_chunks()).to_numpy()
    taken = pa.array(at), pa.array(of)
    differs = {n: _differs(_column(store, other, n).take(taken[0]), _column(store, one, n).take(taken[1])) for n in shared}
    content = [name for name in shared if name not in PLACES]
    changed = np.any([differs[name] for name in content], axis=0) if content else np.zeros(len(at), bool)
    moved = np.any([differs[name] for name in shared], axis=0) & ~changed if shared else changed
    asked = _asked_otherwise(one["manifest"], other["manifest"])
    return {
        "a": a, "b": b, "key": one["key"], "rows": [len(old), len(new)],
        "added": int(came.sum()), "removed": int(gone.sum()), "changed": int(changed.sum()), "moved": int(moved.sum()),
        "columns": {name: _why(flow, name, int(mask.sum()), asked) for name, mask in differs.items() if mask.any()},
        "removed_by": _taken_by(store, other["manifest"], one["key"], old["_key"].filter(pa.array(gone))),
        "added_by": _taken_by(store, one["manifest"], one["key"], new["_key"].filter(pa.array(came)), "new"),
        "asked_otherwise": asked,
        "examples": {
            "added": _few(store, other, new, came, examples), "removed": _few(store, one, old, gone, examples),
            "changed": _few(store, other, new, _spread(at, changed, len(new)), examples),
        },
        "statistics": compare(_statistics(store, one), _statistics(store, other)),
    }  # fmt: skip


def _version(store: Store, home: str) -> dict[str, Any]:
    manifest = published_manifest(store, home)
    assert manifest is not None, home
    columns = [name for name, _ in manifest["schema"] if not name.startswith("_")]
    key = next((name for name in KEYS if name in columns), "")
    return {"home": home, "manifest": manifest, "columns": columns, "key": key}


def _keyed(store: Store, version: Mapping[str, Any]) -> pa.Table:
    """`_key` of every row, and `_id`, which tells the rows of one key apart by what they say."""
    content = [c for c in version["columns"] if c not in PLACES]
    if version["key"]:
        found = _column(store, version, version["key"])
        keys = found if found.type == pa.binary(16) else row_keys(pa.table({"k": found}), ["k"])
    if not version["key"] or len(pc.unique(keys)) < len(keys):
        shards = (_shard(store, version, shard, content) for shard in version["manifest"]["shards"])
        own = pa.concat_arrays([NONE, *(row_keys(table, content) for table in shards)])
        keys = keys if version["key"] else own
    else:
        own = keys
    return pa.table({"_key": keys, "_id": told_apart(keys, own)})


def _shard(store: Store, version: Mapping[str, Any], shard: Mapping[str, Any], columns: Sequence[str]) -> pa.Table:
    return store.read_table(f"{version['home']}/{shard['file']}", columns)


def _column(store: Store, version: Mapping[str, Any], name: str) -> pa.Array:
    """One column of a version, whole."""
    kept = [_shard(store, version, shard, [name])[name] for shard in version["manifest"]["shards"]]
    chunks = [chunk for column in kept for chunk in column.chunks]
    return pa.concat_arrays(chunks) if chunks else NONE


def _differs(a: pa.Array, b: pa.Array) -> Array:
    """Which rows (N,) of two columns say something else."""
    if a.type != b.type:
        return np.ones(len(a), bool)
    if pa.types.is_list(a.type):
        out: Array = np.diff(flat(a)[0]) != np.diff(flat(b)[0])
        same = pa.array(~out)
        (ends, one), (_, other) = flat(a.filter(same)), flat(b.filter(same))
        sums = np.concatenate([[0], np.cumsum(_differs(one, other))])[ends]
        out[~out] = sums[1:] > sums[:-1]
        return out
    both = pc.fill_null(pc.not_equal(a, b), True)
    both = pc.and_not(both, pc.and_(pc.is_null(a), pc.is_null(b)))
    return np.asarray(both.to_numpy(zero_copy_only=False), bool)


def _spread(at: Array, mask: Array, size: int) -> Array:
    out = np.zeros(size, bool)
    out[at[mask]] = True
    return out


def _asked_otherwise(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The steps whose params, models or version differ; artifacts are rows."""
    said = [{s["step"]: [s["operator"], s["version"], s["params"], s["models"]] for s in m["lineage"]} for m in (one, other)]
    return sorted(name for name in said[0].keys() | said[1].keys() if said[0].get(name) != said[1].get(name))


def _why(flow: Flow, column: str, rows: int, asked: Sequence[str]) -> dict[str, Any]:
    """The last step that writes a column, and whether that or a step above it was asked for something else."""
    name, wanted = OF.get(column, column), flow.steps[-1]
    for step in reversed(flow.steps):
        if step.op.shape not in ("build", "source") and name in step.op.columns_written(step.params) and not step.op.publishes:
            wanted = step
            break
    steps, above, waiting = {s.name: s for s in flow.steps}, set[str](), [wanted.name]
    while waiting:
        one = waiting.pop()
        if one in steps and one not in above:
            above.add(one)
            waiting += [*steps[one].sources, *steps[one].using.values(), *filter(None, [steps[one].against])]
    return {"rows": rows, "step": wanted.name, "why": ", ".join(sorted(above & set(asked))) or "rows above"}


def _taken_by(
    store: Store, manifest: Mapping[str, Any], key: str, ids: pa.ChunkedArray, rest: str = "input gone"
) -> dict[str, int]:
    """Of rows that this version lacks, how many each of its steps rejected, and as what; the others have no row above."""
    found, left = Counter[str](), pc.unique(ids)
    for step, home in reversed(steps_of(dict(manifest)).items()) if key.endswith("_id") else ():
        for part in (manifest_of(store, home) or {"parts": []})["parts"] if len(left) else ():
            if not part.get("rejects") or not store.exists(part["rejects"]):
                continue
            with store.parquet(part["rejects"]) as file:
                if key not in file.schema_arrow.names or file.schema_arrow.field(key).type != left.type:
                    continue
                table = file.read(columns=[key, "reason"])
            mine = table.filter(pc.is_in(table[key], left))
            found.update(f"{step}: {reason}" for reason in mine["reason"].to_pylist())
            left = left.filter(pc.invert(pc.is_in(left, pc.unique(mine[key]))))
    return {**dict(found.most_common()), **({rest: len(left)} if len(left) else {})}


def _few(store: Store, version: Mapping[str, Any], keyed: pa.Table, mask: Array, count: int) -> list[dict[str, str]]:
    """The first of some rows by id: the id in hex, and what it says."""
    wanted = keyed["_key"].filter(pa.array(mask)).unique().sort()[:count] if mask.any() else []
    names = [c for c in (version["key"], "query", "title", "text") if c in version["columns"]][:2]
    found: dict[bytes, dict[str, str]] = {}
    for shard in version["manifest"]["shards"] if len(wanted) and version["key"] else ():
        table = store.read_table(f"{version['home']}/{shard['file']}", names)
        keys = table[names[0]] if table[names[0]].type == pa.binary(16) else row_keys(table, names[:1])
        mine = table.filter(pc.is_in(keys, wanted))
        for row in mine.to_pylist():
            said = {k: v.hex() if isinstance(v, bytes) else str(v)[:160] for k, v in row.items()}
            found.setdefault(said[names[0]].encode(), said)
    return [found[name] for name in sorted(found)][:count]


def _statistics(store: Store, version: Mapping[str, Any]) -> dict[str, Any]:
    """Of the first rows of every shard, as many as their share of `MOST`."""
    total, tables = max(version["manifest"]["rows"], 1), []
    for shard in version["manifest"]["shards"]:
        with store.parquet(f"{version['home']}/{shard['file']}") as file:
            table = file.read(columns=version["columns"])
        tables.append(table.slice(0, max(1, min(len(table), MOST * len(table) // total))))
    return statistics(pa.concat_tables(tables)) if tables else {}


def told(value: Mapping[str, Any]) -> str:
    """The report, for people."""
    lines = [f"{value['a']} → {value['b']}: {value['rows'][0]} → {value['rows'][1]} rows"]
    for name, by in (("added", "added_by"), ("removed", "removed_by"), ("changed", ""), ("moved", "")):
        why = ", ".join(f"{n} {k}" for k, n in list(value[by].items())[:5]) if by else ""
        note = "" if name != "moved" else "only in their place: batch, position, cluster, mask"
        lines.append(f"{name:<9}{value[name]:>9}  {why}{note}".rstrip())
    if value["asked_otherwise"]:
        lines.append(f"steps asked for something else: {', '.join(value['asked_otherwise'])}")
    lines += [f"  {name:<20}{c['rows']:>9} rows, by {c['step']} ({c['why']})" for name, c in value["columns"].items()]
    drifted = sorted(value["statistics"].items(), key=lambda x: -x[1]["psi"])
    for name, s in drifted[:8]:
        means = f"  KS {s['ks']:.4f}  mean {s['before']:g} → {s['after']:g}" if "ks" in s else ""
        lines.append(f"  {name:<24}PSI {s['psi']:.4f}{means}")
    for name, rows in value["examples"].items():
        lines += [f"{name}: {'  '.join(row.values())}" for row in rows]
    return "\n".join(lines)
