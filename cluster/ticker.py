"""Says, while a step that asks an LLM runs, what it has kept so far: a part may be under way for an hour."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from cluster.journal import Growth, Kept, model_home
from cluster.task import RUN, Bench, Task, asked
from cluster.work import ASKING, Work


@contextlib.contextmanager
def ticking(task: Task, bench: Bench, work: Sequence[Work], tell: Callable[[Kept], None]) -> Iterator[None]:
    """Tell every ``bench.every`` seconds what the ledgers have grown by; nothing of a step without an LLM."""
    homes = _ledgers(task) if work[0].kind in ASKING else []
    if not homes:
        yield
        return
    growth = Growth(bench.store, homes, RUN)
    wanted = sum(asked(task, bench.store, w) for w in work)

    with repeating(bench.every, lambda: tell(growth.look(wanted))):
        yield


@contextlib.contextmanager
def repeating(every: float, act: Callable[[], None]) -> Iterator[None]:
    """Act every so many seconds while the block runs; a store that does not answer now will be heard of by a part."""
    over = threading.Event()

    def serve() -> None:
        while not over.wait(every):
            with contextlib.suppress(OSError):
                act()

    server = threading.Thread(target=serve, name="repeating", daemon=True)
    server.start()
    try:
        yield
    finally:
        over.set()
        server.join()


def _ledgers(task: Task) -> list[str]:
    llms = [entry.generator() for entry in task.models.values()]
    return sorted({f"{model_home(llm)}/{task.op.name}" for llm in llms if llm})
