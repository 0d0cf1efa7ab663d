"""Remove old versions of a flow's sets, and the steps that no version and no plan needs any more.

What is kept: every version of any other flow, the newest of this one, `latest`; all steps that these were made of, what
is stored of the flow as it is today, artifacts that are held; all ledgers; anything younger than some hours, which a run
may be writing.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow.fs as pafs

from cluster.store import Store
from cluster.task import manifest_of
from flows.flow import Flow
from flows.plan import plan
from flows.publish import homes_of, published_manifest
from flows.versions import latest, steps_of, versions


def garbage(
    flow: Flow, store: Store, keep: int, hours: float, orphans: bool = False, sample: int | None = None
) -> dict[str, Any]:
    """What would be removed: versions, steps of theirs that nothing else needs, files that no manifest names; and bytes."""
    homes = homes_of(flow, sample)
    gone = [f"{home}/{name}" for home in homes for name in versions(store, home)[:-keep] if name != latest(store, home)]
    needed, theirs = _needed(flow, store, gone, sample), set[str]()
    for home in gone:
        theirs |= set(steps_of(store.read_json(f"{home}/manifest.json")).values())
    if orphans:
        theirs |= {f"steps/{name}" for name in store.names("steps")}
    old = time.time() - hours * 3600
    steps, litter, size = [], [], 0
    for home in sorted(_closed(store, theirs) - needed):
        files = _ages(store, home)
        if files and max(at for at, _ in files.values()) < old:
            steps.append(home)
            size += sum(one for _, one in files.values())
    for home in sorted(needed):
        found = {name: one for name, (at, one) in _ages(store, home).items() if at < old and _is_litter(name)}
        named = _named(store, home) if found else set()
        mine = {name: one for name, one in found.items() if not _is_named(f"{home}/{name}", named)}
        litter += [f"{home}/{name}" for name in mine] if named else []
        size += sum(mine.values()) if named else 0
    size += sum(sum(store.sizes(home).values()) for home in gone)
    return {"versions": gone, "steps": steps, "files": litter, "bytes": size}


def sweep(store: Store, found: dict[str, Any]) -> None:
    """Remove it: of a folder the manifest first, so that what is half removed is not whole."""
    for home in (*found["versions"], *found["steps"]):
        store.remove(f"{home}/manifest.json")
        store.remove(home)
    for name in found["files"]:
        store.remove(name)
    for kin in store.names("recipes") if found["steps"] else ():
        for name in store.names(f"recipes/{kin}"):
            if (store.read_json(f"recipes/{kin}/{name}") or {}).get("home") in found["steps"]:
                store.remove(f"recipes/{kin}/{name}")


def _needed(flow: Flow, store: Store, gone: Sequence[str], sample: int | None) -> set[str]:
    """Every step's folder that a kept version was made of, that the flow of today has, or that holds an artifact."""
    found = {p.task.home for p in plan(flow, store, sample)}
    for name in store.names("datasets"):
        for version in store.names(f"datasets/{name}"):
            home = f"datasets/{name}/{version}"
            if version != "latest" and home not in gone and (manifest := published_manifest(store, home)):
                found |= set(steps_of(manifest).values())
    for asked in store.names("held"):
        said = [store.read_json(f"held/{asked}/{n}") for n in store.names(f"held/{asked}") if n.count("-") == 1][-1:]
        found |= {one["home"] for one in said if one}
    return _closed(store, found)


def _closed(store: Store, homes: Iterable[str]) -> set[str]:
    """These and all that they were made of."""
    found, waiting = set[str](), list(homes)
    while waiting:
        home = waiting.pop()
        if home not in found:
            found.add(home)
            waiting += (manifest_of(store, home) or store.read_json(f"{home}/purged.json") or {"inputs": []})["inputs"]
    return found


def _ages(store: Store, home: str) -> dict[str, tuple[float, int]]:
    """(when it was written, bytes) of each file below a folder, by its path from there."""
    root = store.path(home)
    listed = store.fs.get_file_info(pafs.FileSelector(root, allow_not_found=True, recursive=True))
    files = [f for f in listed if f.type == pafs.FileType.File]
    return {f.path[len(root) + 1 :]: ((f.mtime_ns or 0) / 1e9, f.size or 0) for f in files}


def _is_litter(name: str) -> bool:
    """Whether a file of a step is one that a manifest would name."""
    return name.split("/")[0] in ("parts", "rejects", "artifact", "partial", "exchange", "sides")


def _named(store: Store, home: str) -> set[str]:
    """The files and the artifact's folder that a step's manifest names; none of a step that is not whole."""
    manifest = manifest_of(store, home)
    records = [*manifest["parts"], *manifest["scanned"], *manifest.get("sides", [])] if manifest else []
    return {r[k] for r in records for k in ("file", "rejects") if r.get(k)}


def _is_named(name: str, named: set[str]) -> bool:
    return name in named or any(name.startswith(f"{one}/") for one in named)


def told(found: dict[str, Any], done: bool) -> str:
    """The list, for people."""
    verb = "removed" if done else "would be removed"
    lines = [f"{name}" for kind in ("versions", "steps", "files") for name in found[kind]]
    count = f"{len(found['versions'])} versions, {len(found['steps'])} steps, {len(found['files'])} files of no manifest"
    lines.append(f"{verb}: {count}, {found['bytes'] / 1e6:.1f} MB" + ("" if done else "; say --yes to remove them"))
    return "\n".join(lines)
