"""What of a step is committed. Each part has a record of its own; a driver gathers those it has heard of into few files.

A record counts only while its own file is listed: who uncommits a part removes that, and no gathered file has to change.
So a resumed run lists the records' names, a thousand a request, and reads them out of a thousandth as many files.
"""

import contextlib
import itertools
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster.store import Store

LOT = 2000  # records a gathered file; what a killed driver had not gathered is read one by one
AT_ONCE = 16  # requests for such ones, under way at an object store


class Gathered:
    """The records that a driver has heard of; written in lots, the last one when it is closed."""

    def __init__(self, store: Store, home: str, run: str) -> None:
        self._store, self._prefix, self._held = store, f"{home}/gathered/{run}", dict[str, Any]()

    def add(self, record: dict[str, Any]) -> None:
        """Take a record that its worker has committed."""
        self._held[f"{record['part']}.{record['attempt']}.json"] = record
        if len(self._held) >= LOT:
            self.close()

    def close(self) -> None:
        """Write what is held, where it is more than a handful: few records are read as fast one by one."""
        if len(self._held) * 20 >= LOT:
            first = next(iter(self._held)).removesuffix(".json")  # a run's calls for one step differ in their parts
            text = json.dumps(self._held, ensure_ascii=False)
            with contextlib.suppress(OSError):  # it saves reading alone; a full disk is told of by a part
                self._store.write(f"{self._prefix}-{first}.json", text.encode("utf-8", "surrogatepass"))
            self._held.clear()


def commits(store: Store, home: str) -> dict[str, dict[str, Any]]:
    """The winner of every committed part: the first attempt by name, whoever looks."""
    names = store.names(f"{home}/commits")
    known = _gathered(store, home) if len(names) * 20 >= LOT else {}
    winners: dict[str, dict[str, Any]] = {}
    for record in _records(store, home, names, known):
        if record and record["part"] not in winners:
            winners[record["part"]] = record
    return winners


def _gathered(store: Store, home: str) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    schemas: list[Any] = []  # one for 100,000 records: 150 MB less
    for name in store.names(f"{home}/gathered"):
        found = store.read_json(f"{home}/gathered/{name}")
        for record in (found or {}).values():  # of a damaged one the records of their own are read
            if "schema" in record:
                schemas += [] if record["schema"] in schemas else [record["schema"]]
                record["schema"] = schemas[schemas.index(record["schema"])]
        known |= found or {}
    return known


def _records(store: Store, home: str, names: Iterable[str], known: dict[str, Any]) -> Iterable[Any]:
    """The record of each name, in order."""

    def read(name: str) -> Any:
        return known.pop(name) if name in known else store.read_json(f"{home}/commits/{name}")

    if store.local is not None:
        yield from map(read, names)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for some in _lots(names):
            yield from pool.map(read, some)


def _lots(names: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(names)
    while some := list(itertools.islice(rest, LOT)):
        yield some
