"""Work on Ray: Ray Data is the pool over part names, an actor lives for the step.

Rows never enter Ray's object store: tables pass between steps as files, so a lost node loses nothing.
Only this module and its neighbours in ``cluster/`` import ray, and only when they are asked for.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.engine import is_small
from cluster.execution import LOOPBACK
from cluster.meters import Meters
from cluster.rooms import Room, capacity, lacking, room_of
from cluster.work import Report, Work, decode, encode, execute
from cluster.worker import THREADS
from operators.contract import InputError

ROOT = str(Path(__file__).parent.parent)


def alive_nodes() -> set[str]:
    """The ids of the nodes that are still there: an attempt on a node that left does not count."""
    import ray

    return {n["NodeID"] for n in ray.nodes() if n["Alive"]}


def do(row: dict[str, Any]) -> dict[str, Any]:
    """Do one item on whichever node this runs."""
    import ray

    report = execute(decode(row["work"]), ray.get_runtime_context().get_node_id())
    return {"report": json.dumps(asdict(report))}


class Actor:
    """Lives for a step, so that a model is loaded once."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do one item."""
        return do(row)


class Holding:
    """Lives for a step and holds several items at once; only of asynchronous classes does Ray Data ask that."""

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Do a batch of one item, in a thread."""
        yield await asyncio.to_thread(lambda: {"report": [do({"work": str(batch["work"][0])})["report"]]})


class RayEngine:
    """A pool of actors a step. Starts a local Ray, bound to loopback and with a token unless told otherwise, or joins one."""

    def __init__(
        self, workers: int = 2, address: str = "", *, host: str = LOOPBACK, token: bool = True, autoscaling: bool = False
    ) -> None:
        self.workers, self.address = workers, address
        self.host, self.token, self.autoscaling = host, token, autoscaling
        self._started = False
        self._meters = Meters()

    def _start(self) -> None:
        if self._started:
            return
        os.environ.setdefault("RAY_AUTH_MODE", "token" if self.token else "disabled")
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise InputError("engine ray: ray is not installed; pip install 'ray[data,default]'") from error
        if not ray.is_initialized():
            self._init({"env_vars": {**THREADS, "PYTHONPATH": ROOT}})
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        self._started = True

    def _init(self, env: dict[str, Any]) -> None:
        import ray

        if not self.address:
            # more logical CPUs than cores: Ray Data's own tasks need room beside the actors
            ray.init("local", num_cpus=self.workers + 2, include_dashboard=False, runtime_env=env,
                     log_to_driver=False, _node_ip_address=self.host, logging_level=logging.ERROR)  # fmt: skip
            return
        try:
            ray.init(self.address, runtime_env=env, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            said = " ".join(str(error).split())[:200]
            raise InputError(
                f"engine ray: no Ray cluster lets us in at {self.address}: {said}; mend --address, or give its token"
                " by RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
            ) from error

    def run(self, work: Sequence[Work], room: Room) -> Generator[Report, None, None]:
        """Do all of it; small steps on the driver, the rest one item a block."""
        if is_small(work, room):
            yield from map(execute, work)
            return
        self._start()
        import ray.data

        asked = room_of(room)
        if not self.autoscaling and (fault := lacking(asked, ray.nodes())):
            raise InputError(f"{work[0].step}: {fault}")
        items = ray.data.from_items([{"work": encode(w)} for w in work], override_num_blocks=len(work))
        most = min(room.max_workers or self.workers, len(work))
        # all that there is room for at once: Ray Data lets a pool grow by one, when its actors have been busy for a while
        least = room.min_workers if "min_workers" in room.said or self.autoscaling else capacity(asked, ray.nodes())
        pool = (max(1, min(least, most)), most)
        if work[0].at_once > 1:
            done = items.map_batches(Holding, batch_size=1, concurrency=pool, max_concurrency=work[0].at_once, **asked)
        else:
            done = items.map(Actor, concurrency=pool, **asked)
        for row in done.iter_rows():
            report = Report(**json.loads(row["report"]))
            self._meters.tell(work[0].step, report)
            yield report

    def close(self) -> None:
        """Leave Ray; a cluster that was there before stays."""
        if self._started:
            import ray

            ray.shutdown()
            self._started = False
