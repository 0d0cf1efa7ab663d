"""Work on this machine, in worker processes that live for the run and hold their models."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path

from cluster.engine import is_small
from cluster.rooms import Room
from cluster.work import ATTEMPTS, Report, Work, encode, execute
from cluster.worker import THREADS

ROOT = str(Path(__file__).parent.parent)


class Worker:
    """One process, and the work that it holds."""

    def __init__(self) -> None:
        path = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cluster.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **THREADS, "PYTHONPATH": path},
        )  # fmt: skip
        self.held: dict[str, Work] = {}
        self._said = b""

    def start(self, work: Work) -> None:
        """Send the work; a process that is dead already shows when it is read from."""
        assert self.process.stdin
        self.held[work.name] = work
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write((encode(work) + "\n").encode())
            self.process.stdin.flush()

    def hear(self) -> list[Report] | None:
        """The reports that are there, or None where the process died."""
        assert self.process.stdout
        said = os.read(self.process.stdout.fileno(), 1 << 16)
        *lines, self._said = (self._said + said).split(b"\n")
        reports = [Report(**json.loads(line)) for line in lines]
        for report in reports:
            self.held.pop(report.name)
        return reports if said else None

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class LocalEngine:
    """A pool of worker processes; with 0 workers everything runs in this process."""

    def __init__(self, workers: int = 0) -> None:
        self.size = workers
        self.pool: list[Worker] = []

    def run(self, work: Sequence[Work], room: Room) -> Generator[Report, None, None]:
        """Do all of it; a part whose process died is tried again, three times in all."""
        if self.size == 0 or is_small(work, room):
            yield from map(execute, work)
            return
        wanted = min(self.size, len(work), room.max_workers or self.size)
        while len(self.pool) < wanted:
            self.pool.append(Worker())
        try:
            yield from self._serve(work, wanted)
        finally:
            for busy in [w for w in self.pool if w.held]:  # the step was given up: nobody waits for their reports
                busy.close()
                self.pool.remove(busy)

    def _serve(self, work: Sequence[Work], wanted: int) -> Generator[Report, None, None]:
        waiting, died = deque(work), dict.fromkeys((w.name for w in work), 0)
        with selectors.DefaultSelector() as selector:
            for worker in self.pool[:wanted]:
                self._feed(worker, waiting, selector)
            while selector.get_map():
                for key, _ in selector.select():
                    worker = key.data
                    reports = worker.hear()
                    if reports is None:
                        selector.unregister(key.fileobj)
                        reports = []
                        for item in worker.held.values():
                            died[item.name] += 1
                            reports += self._verdict(item, died[item.name], waiting)
                        worker = self._replace(worker)
                    elif not worker.held and not waiting:
                        selector.unregister(key.fileobj)
                    yield from reports
                    self._feed(worker, waiting, selector)

    def _feed(self, worker: Worker, waiting: deque[Work], selector: selectors.BaseSelector) -> None:
        """Give a worker as much as it may hold."""
        while waiting and len(worker.held) < waiting[0].at_once:
            worker.start(waiting.popleft())
        assert worker.process.stdout
        if worker.held and worker.process.stdout.fileno() not in {k.fd for k in selector.get_map().values()}:
            selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    def _replace(self, dead: Worker) -> Worker:
        dead.close()
        self.pool[self.pool.index(dead)] = fresh = Worker()
        return fresh

    def _verdict(self, item: Work, deaths: int, waiting: deque[Work]) -> list[Report]:
        if deaths < ATTEMPTS:
            waiting.append(item)
            return []
        return [Report(item.name, "died", message=f"its process died {deaths} times")]

    def close(self) -> None:
        """End the workers."""
        for worker in self.pool:
            worker.close()
        self.pool.clear()
