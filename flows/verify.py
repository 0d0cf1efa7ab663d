"""Check what is stored against its checksums. What fails is un-committed, so the next run mends it."""

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.store import Store
from cluster.task import manifest_of
from flows.flow import Flow
from flows.publish import files_of, homes_of, published_manifest


def verify(
    flow: Flow, store: Store, sample: int | None = None, only: Sequence[str] | None = None, sets: Sequence[str] | None = None
) -> list[str]:
    """One sentence for every file of the store's steps and of this flow's, or this sample's, sets that is not as recorded.

    ``only`` these steps and ``sets``, where they are given.
    """
    homes = [f"steps/{name}" for name in store.names("steps")] if only is None else only
    if sets is None:
        sets = [f"{home}/{version}" for home in homes_of(flow, sample) for version in store.names(home)]
    return [fault for home in homes for fault in _step(store, home)] + [fault for home in sets for fault in _set(store, home)]


def _step(store: Store, home: str) -> list[str]:
    manifest = manifest_of(store, home)
    if manifest is None:
        return _unreadable(store, home, "makes")
    faults = []
    for part in [*manifest["parts"], *manifest["scanned"], *manifest.get("sides", [])]:
        bad = _bad(store, _files(part))
        faults += [f"{file}: its bytes are not those that were committed; the next run makes it again" for file in bad]
        if bad:
            _uncommit(store, home, part)
    if faults:
        store.remove(f"{home}/manifest.json")
    return faults


def _set(store: Store, home: str) -> list[str]:
    published = published_manifest(store, home)
    if published is None:
        return _unreadable(store, home, "publishes")
    bad = _bad(store, {f"{home}/{f['file']}": f["sha256"] for f in files_of(published)})
    if bad:
        store.remove(f"{home}/manifest.json")
    return [f"{file}: its bytes are not those that were published; the next run publishes it again" for file in bad]


def _unreadable(store: Store, home: str, does: str) -> list[str]:
    """The fault of a manifest that is there and is none; a step or set without one was never whole."""
    file = f"{home}/manifest.json"
    if not store.exists(file):
        return []
    store.remove(file)
    return [f"{file}: it cannot be read as a manifest; the next run {does} it again"]


def _files(part: Mapping[str, Any]) -> dict[str, str]:
    """The files of a part with their checksums. A scan has left its rejects alone."""
    if "files" in part:
        return {f"{part['file']}/{name}": sha for name, sha in part["files"].items()}
    rows = {part["file"]: part["sha256"]} if part["file"] else {}
    return rows | ({part["rejects"]: part["rejects_sha256"]} if "rejects" in part else {})


def _bad(store: Store, wanted: Mapping[str, str]) -> list[str]:
    return [file for file, sha in wanted.items() if not store.exists(file) or store.digest(file) != sha]


def _uncommit(store: Store, home: str, part: Mapping[str, Any]) -> None:
    """Remove the part's records, and those of exchange files that are gone: its bucket needs them again."""
    for name in store.names(f"{home}/commits"):
        record = store.read_json(f"{home}/commits/{name}")
        if record is None or record["part"] == part["part"] or record["part"].startswith(("x", "c")):
            store.remove(f"{home}/commits/{name}")
