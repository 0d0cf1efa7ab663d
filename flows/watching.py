"""What a run tells while it goes: a status file in the store, lines for people or for machines, and a history of runs.

``runs/<flow>/<start>-<run>.json`` is written at once, then at most every few seconds, and when the run ends. Nothing here can
fail a run: a store that cannot be written is heard of by a part.
"""

import contextlib
import os
import platform
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.journal import Kept
from cluster.store import Store
from cluster.task import RUN, StepFailed
from cluster.ticker import repeating
from cluster.work import Report
from flows.progress import Progress
from operators.contract import InputError

EVERY = 5.0  # seconds between two writes
LOST = 6 * EVERY  # seconds of silence after which a run is no longer there
HISTORY = 50  # runs of a flow that are kept


class Watch:
    """Told of what a run's progress is told of; keeps the status file."""

    def __init__(self, store: Store, flow: str, progress: Progress, every: float = EVERY) -> None:
        self._store, self._progress, self._every = store, progress, every
        started = datetime.now(UTC)
        self._folder = f"runs/{flow}"
        self._file = f"{self._folder}/{started:%Y%m%dT%H%M%S%f}-{RUN}.json"
        self._turn = threading.Lock()
        self.state: dict[str, Any] = {
            "flow": flow, "run": RUN, "state": "running", "started": started.isoformat(timespec="microseconds"),
            "host": platform.node(), "pid": os.getpid(), "every": every, "step": "", "parts": 0, "of": 0, "rows": 0,
            "rows_per_second": 0.0, "seconds_left": None, "rejected": 0, "retries": 0, "answers": 0, "steps": [],
        }  # fmt: skip

    def __call__(self, step: str, done: int, of: int, news: Report | Kept | None) -> None:
        """Pass on, and take into the status."""
        self._progress(step, done, of, news)
        with self._turn:
            state = self.state
            if news is None:
                state |= {"step": step, "rows": 0, "answers": 0}
                state["steps"] += [] if state["steps"][-1:] == [step] else [step]
            elif isinstance(news, Kept):
                state["answers"] = news.answers
            else:
                state["rows"] += news.record.get("rows", 0)
                state["rejected"] += sum(news.record.get("rejected", {}).values())
                state["retries"] += news.record.get("retries", 0)
            state |= {"parts": done, "of": of, **self._progress.pace(done, of)}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Keep the file while the block runs; how it ended stands in it afterwards."""
        self._write()
        ended = {"state": "done"}
        try:
            with repeating(self._every, self._write):
                yield
        except (StepFailed, InputError) as error:
            ended = {"state": "stopped" if "--max-calls" in str(error) else "failed", "error": str(error)}
            raise
        except KeyboardInterrupt:
            ended = {"state": "interrupted"}
            raise
        except BaseException as error:
            ended = {"state": "failed", "error": type(error).__name__}
            raise
        finally:
            with self._turn:
                self.state |= {**ended, "seconds_left": None}
            self._write()
            self._forget()

    def ends_with(self, published: str | None, made: int) -> None:
        """What the run published and how many steps it made."""
        with self._turn:
            self.state |= {"published": published, "made": made}

    def _write(self) -> None:
        with self._turn:
            value = {**self.state, "steps": len(self.state["steps"]), "updated": datetime.now(UTC).isoformat(timespec="seconds")}
        with contextlib.suppress(OSError):
            self._store.write_json(self._file, value)

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            for name in self._store.names(self._folder)[:-HISTORY]:
                self._store.remove(f"{self._folder}/{name}")


def runs(store: Store, flow: str | None = None, most: int = 10) -> list[dict[str, Any]]:
    """The last runs of a flow, or of every flow, newest first."""
    found = []
    for name in [flow] if flow else store.names("runs"):
        for file in store.names(f"runs/{name}")[-most:]:
            one = store.read_json(f"runs/{name}/{file}")
            if isinstance(one, dict) and {"flow", "state", "started", "updated"} <= one.keys():
                found.append({**one, "state": _state(one)})
    return sorted(found, key=lambda one: one["started"], reverse=True)[:most]


def _state(one: dict[str, Any]) -> str:
    """A run that says it is running, and is silent or has no process any more, was killed."""
    if one["state"] != "running":
        return str(one["state"])
    here = one["host"] == platform.node() and Path("/proc/self").exists()
    silent = time.time() - datetime.fromisoformat(one["updated"]).timestamp() > LOST
    return "lost" if silent or (here and not Path(f"/proc/{one['pid']}").exists()) else "running"


def lines(found: list[dict[str, Any]]) -> str:
    """For people: what runs now in words, then a line a run."""
    out = []
    for one in found:
        if one["state"] == "running":
            left = one["seconds_left"]
            more = [f"{one['rows_per_second']:,.0f} rows/s"] if one["rows"] else []
            more += [f"{one['answers']:,} answers"] if one["answers"] else []
            more += [f"about {left:,.0f} s left of the step"] if left is not None else []
            more += [f"{one['rejected']:,} rejected", f"{one['retries']:,} retries"]
            where = f"{one['flow']} runs on {one['host']}: {one['step']}, {one['parts']} of {one['of']} parts"
            out.append(", ".join([where, *more]))
    out += [""] * bool(out)
    for one in found:
        end = one.get("error") or one.get("published") or ""
        seconds = datetime.fromisoformat(one["updated"]) - datetime.fromisoformat(one["started"])
        told = f"{one['started'][:19]}  {one['flow']:<16} {one['state']:<11} {seconds.total_seconds():>7,.0f} s"
        out.append(f"{told}  {one['rejected']:>6} rejected  {one['retries']:>3} retries  {end}".rstrip())
    return "\n".join(out)
