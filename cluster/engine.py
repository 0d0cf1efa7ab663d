"""The seam: units of work in, reports out. Above it there is no Ray; below it no operator's meaning."""

from collections.abc import Generator, Sequence
from typing import Protocol

from cluster.rooms import Room
from cluster.work import Report, Work

SMALL = 2000  # rows; steps below it that load no model run on the driver: a worker costs more
FEW = 1 << 24  # of a cross, rows of the left times rows of the right


class Engine(Protocol):
    """Where work is done."""

    def run(self, work: Sequence[Work], room: Room) -> Generator[Report, None, None]:
        """Do all of it, in any order; one report a unit. Closed early, it drops what is under way."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


def is_small(work: Sequence[Work], room: Room) -> bool:
    """Whether the driver does this itself: few rows, no model to load, and none of the user's code, which may crash.

    Not where a cluster file says on which nodes it is to be done: only they may have the files, or the right to.
    """
    if room.resources or room.labels or not all(w.op.startswith("operators.") for w in work):
        return False
    models = any('"kind"' in ref for w in work for ref in w.using.values())
    pairs = sum(w.extra.get("pairs", 0) for w in work)
    return not models and sum(w.rows for w in work) < SMALL and pairs <= FEW
