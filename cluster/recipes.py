"""Which whole sets of a recipe there are, newest first: ``recipes/<kin>/<time>-<fingerprint>.json``, a small file a set.

Two corpora in one flow, a sample, and the flows of one store have sets of the same recipe. Each writes a file of its
own, so no writer loses what another one wrote; what is lost by any race is reuse alone.
"""

import time
from typing import Any

from cluster.store import Store
from cluster.task import Task, manifest_of

MOST = 8  # sets that are looked up


def remember(store: Store, task: Task) -> None:
    """Name the step's set, which is whole, as the newest of its recipe; the oldest are forgotten."""
    folder = f"recipes/{task.kin}"
    store.write_json(f"{folder}/{time.time_ns():020d}-{task.fingerprint}.json", {"home": task.home})
    for name in store.names(folder)[:-MOST]:
        store.remove(f"{folder}/{name}")


def earlier(store: Store, kin: str) -> list[dict[str, Any]]:
    """The manifest of each whole set of this kin, newest first. One that was removed since is passed over."""
    homes = []
    for name in reversed(store.names(f"recipes/{kin}")):
        found = store.read_json(f"recipes/{kin}/{name}")
        homes += [found["home"]] if found else []
    # Of a step that a document was purged from, the other rows are there to be taken over.
    manifests = [manifest_of(store, home) or store.read_json(f"{home}/purged.json") for home in dict.fromkeys(homes)]
    return [manifest for manifest in manifests if manifest]
