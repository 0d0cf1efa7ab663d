"""Progress of long steps with rate and estimate: a line rewritten on a terminal, plain lines elsewhere."""

import sys
import time
from typing import TextIO

from cluster.work import Report


class Progress:
    """Told of every finished part; speaks at most every ``interval`` seconds off a terminal."""

    def __init__(self, out: TextIO | None = None, interval: float = 10.0) -> None:
        self.out = out or sys.stderr
        self.interval = interval if not self.out.isatty() else 0.1
        self.step, self.started, self.spoke, self.first = "", 0.0, 0.0, 0
        self.rows = 0

    def __call__(self, step: str, done: int, of: int, report: Report | None) -> None:
        """One more part of a step is finished."""
        now = time.monotonic()
        if step != self.step or done <= self.first:
            self.step, self.started, self.first, self.rows, self.spoke = step, now, done - 1, 0, now
        self.rows += report.record.get("rows", 0) if report else 0
        if now - self.spoke < self.interval and done < of:
            return
        if done == of and now - self.started < self.interval and not self.out.isatty():
            return
        self.spoke = now
        elapsed = max(now - self.started, 1e-3)
        made = max(done - self.first, 1)
        left = (of - done) * elapsed / made
        line = f"{step}: {done} of {of} parts, {self.rows / elapsed:,.0f} rows/s, about {left:,.0f} s left"
        if self.out.isatty():
            self.out.write(f"\r\x1b[2K{line}" + ("\r\x1b[2K" if done == of else ""))
        else:
            self.out.write(line + "\n")
        self.out.flush()
