"""Files that are not as they were committed: found by their checksums and un-committed, so that the next run makes them again."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.store import Store
from cluster.task import StepFailed, manifest_of
from cluster.work import Work

PASSING = ("x", "c")  # names of what exists only until the step is whole


def check(store: Store, home: str, read: frozenset[str] | None = None) -> list[str]:
    """One sentence for every file of a whole step that is not as recorded; ``read`` these parts' alone, where it is given."""
    manifest = manifest_of(store, home)
    if manifest is None:
        return unreadable(store, home, "makes")
    faults = []
    for part in [*manifest["parts"], *manifest["scanned"], *manifest.get("sides", [])]:
        if read is not None and read.isdisjoint((part["file"], part.get("rejects", ""))):
            continue
        found = others(store, _files(part))
        faults += [f"{file}: its bytes are not those that were committed; the next run makes it again" for file in found]
        if found:
            _uncommit(store, home, part)
    if faults:
        store.remove(f"{home}/manifest.json")
    return faults


class Lost(StepFailed):
    """What exists only until the step is whole is not as committed."""


def damaged(store: Store, work: Work) -> list[str]:
    """One sentence for every file of another step that the work reads and that is not as committed; they are un-committed.

    Raises `Lost` where it is one of its own step.
    """
    read = frozenset(_read(work))
    homes = sorted({"/".join(file.split("/")[:2]) for file in read if file.startswith("steps/")} - {work.home})
    faults = [fault for home in homes if store.exists(f"{home}/manifest.json") for fault in check(store, home, read)]
    lost = []
    for name in store.names(f"{work.home}/commits"):
        record = store.read_json(f"{work.home}/commits/{name}")
        if not record or not record["part"].startswith(PASSING):
            continue
        if others(store, {record["file"]: record["sha256"]}) if record["file"] in read else not store.exists(record["file"]):
            store.remove(f"{work.home}/commits/{name}")
            lost.append(record["file"])
    if lost and not faults:
        raise Lost(f"{', '.join(lost)}: their bytes are not those that were committed; run again to go on")
    return faults


def _read(work: Work) -> Iterator[str]:
    """Every file and folder of the store that the work names."""
    waiting: list[Any] = [work.inputs, work.previous, work.against, work.extra, [json.loads(ref) for ref in work.using.values()]]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one.rstrip("/")
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one


def unreadable(store: Store, home: str, does: str) -> list[str]:
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


def others(store: Store, wanted: Mapping[str, str]) -> list[str]:
    """The files that are gone or have another checksum."""
    return [file for file, sha in wanted.items() if not store.exists(file) or store.digest(file) != sha]


def _uncommit(store: Store, home: str, part: Mapping[str, Any]) -> None:
    """Remove the part's records, and those of exchange files that are gone: its bucket needs them again."""
    for name in store.names(f"{home}/commits"):
        record = store.read_json(f"{home}/commits/{name}")
        if record is None or record["part"] == part["part"] or record["part"].startswith(PASSING):
            store.remove(f"{home}/commits/{name}")
