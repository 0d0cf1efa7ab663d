"""Check what is stored against its checksums. What fails is un-committed, so the next run mends it."""

from collections.abc import Sequence

from cluster.damage import check, others, unreadable
from cluster.store import Store
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
    return [fault for home in homes for fault in check(store, home)] + [fault for home in sets for fault in _set(store, home)]


def _set(store: Store, home: str) -> list[str]:
    published = published_manifest(store, home)
    if published is None:
        return unreadable(store, home, "publishes")
    bad = others(store, {f"{home}/{f['file']}": f["sha256"] for f in files_of(published)})
    if bad:
        store.remove(f"{home}/manifest.json")
    return [f"{file}: its bytes are not those that were published; the next run publishes it again" for file in bad]
