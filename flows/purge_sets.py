"""Published versions that hold a purged document: withdrawn, and published anew without the rows that name it."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cluster.store import Store
from flows.fingerprint import fingerprint
from flows.publish import published_manifest
from flows.versions import latest, point

Mask = Callable[[pa.Table], Any]


def withdraw(store: Store, mask: Mask, *, act: bool) -> list[dict[str, Any]]:
    """Each version of any flow with rows of it, how many, and with ``act`` the version that stands for it now."""
    found = []
    for name in store.names("datasets"):
        home = f"datasets/{name}"
        for version in store.names(home):
            manifest = None if version == "latest" else published_manifest(store, f"{home}/{version}")
            if manifest is None:
                continue
            tables = [(shard, store.read_table(f"{home}/{version}/{shard['file']}")) for shard in manifest["shards"]]
            masks = [mask(table) for _, table in tables]
            rows = sum(int(pc.sum(one).as_py() or 0) for one in masks)
            if not rows:
                continue
            told: dict[str, Any] = {"version": f"{home}/{version}", "rows": rows}
            if act:
                left = [(shard, table.filter(pc.invert(one))) for (shard, table), one in zip(tables, masks, strict=True)]
                told["republished"] = _again(store, home, manifest, left, rows)
                _replace(store, home, version, told["republished"])
            found.append(told)
    return found


def _again(store: Store, home: str, manifest: dict[str, Any], left: list[tuple[dict[str, Any], pa.Table]], rows: int) -> str:
    """Publish what is left under the name of its own content; empty where nothing is."""
    left = [(shard, table) for shard, table in left if len(table)]
    if not left:
        return ""
    aside = f"{home}/{datetime.now(UTC):%Y-%m-%d}-purging"
    kind = left[0][0]["file"].partition("-")[0]
    shards = list[dict[str, Any]]()
    for i, (_, table) in enumerate(left):
        file = f"{kind}-{i:05d}-of-{len(left):05d}.parquet"
        sha256, count = store.write_table(f"{aside}/{file}", [table])
        shards.append({"file": file, "rows": count, "sha256": sha256})
    digest = fingerprint([s["sha256"] for s in shards], manifest["schema"], manifest["licences"])
    name = f"{datetime.now(UTC):%Y-%m-%d}-{digest}"
    for shard in shards:
        store.copy(f"{aside}/{shard['file']}", f"{home}/{name}/{shard['file']}")
    store.remove(aside)
    said = (
        f"# {manifest['flow']}\n\n{rows} rows that named a document which was deleted on request were taken out of an earlier"
        f" version; {sum(s['rows'] for s in shards)} are left. The funnel and the lineage are those of the earlier one.\n\n"
        f"Licences: {', '.join(manifest['licences']) or 'none stated'}.\n"
    ).encode()
    store.write(f"{home}/{name}/README.md", said)
    content = {**manifest, "rows": sum(s["rows"] for s in shards), "shards": shards, "purged": rows}
    content["card"] = {"file": "README.md", "sha256": hashlib.sha256(said).hexdigest()}
    store.write_json(f"{home}/{name}/manifest.json", content)
    return name


def _replace(store: Store, home: str, version: str, name: str) -> None:
    """Move `latest` where it named the withdrawn version, then leave of that one nothing but the note."""
    if latest(store, home) == version:
        if name:
            point(store, f"{home}/{name}")
        else:
            store.remove(f"{home}/latest")
    store.remove(f"{home}/{version}/manifest.json")
    store.remove(f"{home}/{version}")
    said = {"why": "a document was deleted on request", "when": f"{datetime.now(UTC):%Y-%m-%d}", "republished": name}
    store.write_json(f"{home}/{version}/withdrawn.json", said)
