"""The versions of a set: which there are, which `latest` was before, and moving it back.

Every move of `latest` leaves a small file, ``history/<set>/<time>-<version>``: versions of one day are told apart by their first.
"""

import time
from collections.abc import Sequence
from typing import Any

from cluster.damage import others
from cluster.store import Store
from flows.faults import did_you_mean
from flows.publish import files_of, published_manifest
from operators.contract import InputError


def versions(store: Store, home: str) -> list[str]:
    """The whole versions of a set, oldest first: by their date, then by when `latest` first came to them."""
    first = {name: at for at, name in reversed(moves(store, home))}
    names = [name for name in store.names(home) if name != "latest"]
    found = [name for name in names if published_manifest(store, f"{home}/{name}")]
    return sorted(found, key=lambda name: (name[:10], first.get(name, ""), name))


def _history(home: str) -> str:
    return f"history/{home.removeprefix('datasets/')}"


def moves(store: Store, home: str) -> list[tuple[str, str]]:
    """(time, version) of each move of `latest`, oldest first."""
    found = [name.partition("-")[::2] for name in store.names(_history(home))]
    return sorted((at, name) for at, name in found)


def latest(store: Store, home: str) -> str:
    """The version that `latest` names; empty where there is none."""
    return store.read_text(f"{home}/latest").strip()


def point(store: Store, published: str) -> None:
    """Move `latest` to a published set: one small file, written whole or not at all."""
    home, _, name = published.rpartition("/")
    if latest(store, home) != name:
        store.write(f"{_history(home)}/{time.time_ns():020d}-{name}", b"")
    store.write(f"{home}/latest", (name + "\n").encode())


def before(store: Store, home: str, version: str = "") -> str:
    """The whole version that was published before this one, or before `latest`; empty where there is none."""
    have, version = versions(store, home), version or latest(store, home)
    return have[have.index(version) - 1] if version in have[1:] else ""


def resolve(store: Store, home: str, said: str) -> str:
    """A version by its name, the hash that it ends in, or `latest`; refuses what is not there, or was withdrawn."""
    have = versions(store, home)
    name = latest(store, home) if said == "latest" else said
    for one in have:
        if name and (one == name or one.endswith(f"-{name}")):
            return one
    if name and (gone := store.read_json(f"{home}/{name}/withdrawn.json")):
        where = f"; its rows but those that were purged are in {gone['republished']}" if gone.get("republished") else ""
        raise InputError(f"{home}: version {name} was withdrawn{where}")
    if not have:
        raise InputError(f"{home}: nothing is published there; run the flow first")
    hint = did_you_mean(said, have) or f"; there are {', '.join(have[-5:])}"
    raise InputError(f"{home}: no version {said!r}{hint}")


def beside(store: Store, published: str, homes: Sequence[str]) -> dict[str, str]:
    """By folder of what a flow publishes beside a set, the newest version that the same steps made; empty where none is left."""
    said, found = steps_of(published_manifest(store, published) or {"lineage": []}), {}
    for home in homes:
        found[home] = ""
        for name in reversed(versions(store, home)):
            other = steps_of(published_manifest(store, f"{home}/{name}") or {"lineage": []})
            if all(said[step] == other[step] for step in said.keys() & other.keys()):
                found[home] = name
                break
    return found


def damaged(store: Store, published: str) -> list[str]:
    """The files of a published set that are not as its manifest says."""
    manifest = published_manifest(store, published)
    if not manifest:
        return ["manifest.json"]
    bad = others(store, {f"{published}/{f['file']}": f["sha256"] for f in files_of(manifest)})
    return [name.removeprefix(f"{published}/") for name in bad]


def steps_of(published: dict[str, Any]) -> dict[str, str]:
    """The folder of each step that a published set was made by."""
    return {one["step"]: f"steps/{one['operator']}-{one['fingerprint']}" for one in published["lineage"]}
