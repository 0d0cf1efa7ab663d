"""Runs a command at the times of a cron expression, one at a time, and keeps in the store when it last did.

A time that passed while nobody was there, or while the run before was under way, was missed: `skip` lets it go, `once` makes up
for all that were missed with one run. A failing run is told of, and the next time comes as if it had not failed.
"""

import json
import os
import platform
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Literal

from cronsim import CronSim, CronSimError

from cluster.store import Store
from operators.contract import InputError

LATE = 60.0  # seconds after its time from which a run is late: the machine slept
MANY = 1000  # missed times that are counted
KEPT = 20  # runs that are remembered
ROOT = str(Path(__file__).parent.parent)
TAIL = 20  # lines of a failed run's log that are told
TOLD = ("flow", "scheduled", "started", "seconds", "status", "log", "host")  # what a webhook is told: nothing that a run said

Tell = Callable[[dict[str, Any]], None]


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def sleep_until(at: datetime, over: threading.Event) -> None:
    """Wait for a time, by the clock on the wall: a machine may sleep in between."""
    while (left := (at - now()).total_seconds()) > 0 and not over.wait(min(left, 30)):
        pass


def times(expression: str, after: datetime, zone: tzinfo) -> CronSim:
    """The times of a cron expression after one, without an end. Raises `InputError`."""
    try:
        return CronSim(expression, after.astimezone(zone))
    except CronSimError as error:
        raise InputError(
            f"--cron {expression!r}: {str(error).lower()}; write minute hour day month weekday, such as \"0 3 * * *\""
        ) from error


@dataclass
class Scheduler:
    """A flow's times, and what is done at them."""

    flow: str
    command: Sequence[str]
    expression: str
    store: Store
    logs: Path
    missed: Literal["skip", "once"] = "once"
    webhook: str = ""
    zone: tzinfo = UTC
    tell: Tell = lambda _: None
    clock: Callable[[], datetime] = now
    wait: Callable[[datetime, threading.Event], None] = sleep_until
    over: threading.Event = field(default_factory=threading.Event)
    child: "subprocess.Popen[bytes] | None" = None

    @property
    def file(self) -> str:
        """What the store keeps of the schedule."""
        return f"schedules/{self.flow}.json"

    def serve(self, most: int | None = None) -> int:
        """Run at every time until it is stopped, or ``most`` runs; the last run's exit status."""
        kept = self.store.read_json(self.file) or {}
        last = datetime.fromisoformat(kept["last"]) if "last" in kept else self.clock()
        done, status = 0, 0
        while not self.over.is_set() and (most is None or done < most):
            due = self._due(last)
            if not due:
                following = next(times(self.expression, last, self.zone))
                self.tell({"event": "waiting", "flow": self.flow, "next": following.isoformat()})
                self.wait(following, self.over)
                continue
            on_time = (self.clock() - due[-1]).total_seconds() <= LATE
            if self.missed == "skip" and (gone := due[:-1] if on_time else due):
                self.tell({"event": "skipped", "flow": self.flow, "missed": len(gone), "latest": gone[-1].isoformat()})
                last, due = gone[-1], due[-1:] if on_time else []
                kept = self._keep(kept, last)
            if due:
                last = due[-1]
                kept = self._keep(kept, last)  # before it starts: a scheduler that dies with it does not start it again
                ran = self._run(last, len(due) - 1)
                kept = self._keep(kept, last, ran)
                done, status = done + 1, ran["status"]
        return status

    def _due(self, last: datetime) -> list[datetime]:
        """The times since the last one that have come; of more than `MANY` the newest stands last."""
        here = self.clock()
        found = [at for at in takewhile(lambda t: t <= here, islice(times(self.expression, last, self.zone), MANY))]
        if len(found) == MANY:
            found[-1] = next(CronSim(self.expression, here.astimezone(self.zone) + timedelta(seconds=1), reverse=True))
        return found

    def _keep(self, kept: dict[str, Any], last: datetime, ran: dict[str, Any] | None = None) -> dict[str, Any]:
        runs = [*kept.get("runs", []), *([ran] if ran else [])][-KEPT:]
        value = {"cron": self.expression, "last": last.astimezone(UTC).isoformat(), "runs": runs}
        self.store.write_json(self.file, value)
        return value

    def _run(self, scheduled: datetime, missed: int) -> dict[str, Any]:
        """Run the command in a process of its own; its record, which is told."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{self.flow}-{scheduled.astimezone(UTC):%Y%m%dT%H%M%SZ}.log"
        started, begun = self.clock(), time.monotonic()
        about = {"flow": self.flow, "scheduled": scheduled.astimezone(UTC).isoformat(), "log": str(log)}
        self.tell({"event": "started", **about, "missed": missed})
        path = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
        with log.open("wb") as out:  # a session of its own: Ctrl-C reaches it once, through us
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
            status = self.child.wait()
        self.child = None
        ran = {
            **about, "started": started.isoformat(), "seconds": round(time.monotonic() - begun, 1), "status": status,
            "host": platform.node(),
        }  # fmt: skip
        tail = log.read_text(errors="replace").splitlines()[-TAIL:] if status else []
        self.tell({"event": "failed" if status else "done", **ran, **({"tail": tail} if tail else {})})
        if status and self.webhook:
            self._call({k: ran[k] for k in TOLD})
        return ran

    def _call(self, said: dict[str, Any]) -> None:
        """Tell the webhook. Its address may hold a key, so it is never printed."""
        request = urllib.request.Request(
            self.webhook, json.dumps(said).encode(), {"Content-Type": "application/json", "User-Agent": "pithead"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10):
                pass
        except (OSError, ValueError) as error:
            self.tell({"event": "webhook failed", "flow": self.flow, "error": type(error).__name__})

    def stop(self, *_: Any) -> None:
        """End: a run under way is interrupted, and goes on from there the next time."""
        self.over.set()
        if self.child is not None:
            self.child.send_signal(signal.SIGINT)
