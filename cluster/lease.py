"""One at a time: a lock of the operating system beside a local store, a lease with an end in a store elsewhere.

Neither is needed to be right, for parts are committed by name and manifests name the winners; they spare a second refresh
the work of the first. A lock goes with its process. A lease that is not renewed, because its holder is gone, ends by itself.
"""

import json
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from cluster.store import Store
from cluster.ticker import repeating

LENGTH = 120.0  # seconds that a lease holds without being renewed
SETTLE = 2.0  # seconds after which two who wrote at once both see who was last


class Taken(RuntimeError):
    """Another process is at it; one sentence that says which."""


@contextmanager
def alone(store: Store, name: str, length: float = LENGTH, settle: float = SETTLE) -> Iterator[None]:
    """Hold ``name`` in this store until the block ends; raises `Taken` where another process holds it."""
    with (_locked(store, name) if store.local is not None else _leased(store, f"leases/{name}.json", length, settle)):
        yield


@contextmanager
def _locked(store: Store, name: str) -> Iterator[None]:
    assert store.local is not None
    path = store.local / "leases" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Taken(_said(name, store.read_json(f"leases/{name}.json"))) from None
    try:
        store.write_json(f"leases/{name}.json", _holder())
        yield
    finally:
        lock.release()


@contextmanager
def _leased(store: Store, file: str, length: float, settle: float) -> Iterator[None]:
    mine = _holder() | {"token": secrets.token_hex(8)}
    name = file.removeprefix("leases/").removesuffix(".json")

    def write() -> None:
        store.write_json(file, {**mine, "ends": time.time() + length})

    held = store.read_json(file)
    if held and held.get("ends", 0) > time.time():
        raise Taken(_said(name, held))
    write()
    time.sleep(settle)
    held = store.read_json(file)
    if not held or held.get("token") != mine["token"]:
        raise Taken(_said(name, held))
    try:
        with repeating(length / 4, write):
            yield
    finally:
        store.remove(file)


def _holder() -> dict[str, object]:
    return {"host": platform.node(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def _said(name: str, held: object) -> str:
    who = json.loads(json.dumps(held)) if isinstance(held, dict) else {}
    place = f" on {who['host']} (process {who['pid']}, since {who['since']})" if {"host", "pid", "since"} <= who.keys() else ""
    return f"{name}: another one is under way{place}; wait for it, or end it"
