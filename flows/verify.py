"""Check what is stored against its checksums. What fails is un-committed, so the next run mends it."""

from typing import Any

from cluster.store import Store
from cluster.task import manifest_of
from flows.flow import Flow
from flows.publish import home_of


def verify(flow: Flow, store: Store, sample: int | None = None) -> list[str]:
    """One sentence for every file of the store's steps and of this flow's, or this sample's, sets that is not as recorded."""
    faults: list[str] = []
    for name in store.names("steps"):
        manifest = manifest_of(store, f"steps/{name}")
        if manifest is None:
            continue
        bad = [p for p in manifest["parts"] if _bad(store, p)]
        for part in bad:
            faults.append(f"{part['file']}: its bytes are not those that were committed; the next run makes it again")
            _uncommit(store, f"steps/{name}", part)
        if bad:
            store.remove(f"steps/{name}/manifest.json")
    home = home_of(flow, sample)
    for version in store.names(home):
        published = store.read_json(f"{home}/{version}/manifest.json")
        for shard in published["shards"] if published else ():
            file = f"{home}/{version}/{shard['file']}"
            if not store.exists(file) or store.digest(file) != shard["sha256"]:
                faults.append(f"{file}: its bytes are not those that were published; the next run publishes it again")
                store.remove(f"{home}/{version}/manifest.json")
    return faults


def _bad(store: Store, part: dict[str, Any]) -> bool:
    files = part.get("files")
    wanted = {f"{part['file']}/{n}": s for n, s in files.items()} if files is not None else {part["file"]: part["sha256"]}
    if "rejects" in part:
        wanted[part["rejects"]] = part["rejects_sha256"]
    return any(not store.exists(f) or store.digest(f) != sha for f, sha in wanted.items())


def _uncommit(store: Store, home: str, part: dict[str, Any]) -> None:
    """Remove the part's records, and those of exchange files that are gone: its bucket needs them again."""
    for name in store.names(f"{home}/commits"):
        record = store.read_json(f"{home}/commits/{name}")
        if record is None or record["part"] == part["part"] or record["part"].startswith(("x", "c")):
            store.remove(f"{home}/commits/{name}")
