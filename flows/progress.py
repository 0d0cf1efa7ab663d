"""Progress of long steps with rate and estimate: a line rewritten on a terminal, plain lines elsewhere."""

import sys
import time
from typing import TextIO

from cluster.work import Report

COUNTED = ("llm_requests", "llm_tokens_out", "llm_replayed", "llm_cost_millionths", "llm_replayed_cost_millionths")


class Progress:
    """Told of every finished part; speaks at most every ``interval`` seconds off a terminal."""

    def __init__(self, out: TextIO | None = None, interval: float = 10.0) -> None:
        self.out = out or sys.stderr
        self.interval = interval if not self.out.isatty() else 0.1
        self.step, self.started, self.spoke, self.first = "", 0.0, 0.0, 0
        self.rows = 0
        self.counted = dict.fromkeys(COUNTED, 0)

    def __call__(self, step: str, done: int, of: int, report: Report | None) -> None:
        """A part of a step is finished; without a report, the step begins with ``done`` parts stored already."""
        now = time.monotonic()
        if report is None:
            self.step, self.started, self.first, self.rows, self.spoke = step, now, done, 0, now
            self.counted = dict.fromkeys(COUNTED, 0)
            return
        self.rows += report.record.get("rows", 0)
        for name in COUNTED:
            self.counted[name] += report.record.get("counters", {}).get(name, 0)
        if now - self.spoke < self.interval and done < of:
            return
        if done == of and now - self.started < self.interval and not self.out.isatty():
            return
        self.spoke = now
        elapsed, made = max(now - self.started, 1e-3), done - self.first
        line = f"{step}: {done} of {of} parts, {self.rows / elapsed:,.0f} rows/s{self._asked(elapsed, (of - self.first) / made)}"
        line += f", about {(of - done) * elapsed / made:,.0f} s left" if done < of else f", {elapsed:,.0f} s"
        if self.out.isatty():
            self.out.write(f"\r\x1b[2K{line}" + ("\r\x1b[2K" if done == of else ""))
        else:
            self.out.write(line + "\n")
        self.out.flush()

    def _asked(self, elapsed: float, share: float) -> str:
        """What a model was asked, its rate, and where it has a price what the step will have cost."""
        requests, written, replayed, cost, before = (self.counted[name] for name in COUNTED)
        if not requests and not replayed:
            return ""
        words = f", {requests / elapsed:,.1f} requests/s, {written / elapsed:,.0f} tokens/s"
        words += f", {replayed:,} answers replayed" if replayed else ""
        words += f" that had cost {before / 1e6:,.4g}" if before else ""
        return words + (f", {cost / 1e6:,.4g} spent of about {cost * share / 1e6:,.4g}" if cost else "")
