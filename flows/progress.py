"""Progress of long steps with rate and estimate: a line rewritten on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from typing import TextIO

from cluster.journal import Kept
from cluster.work import Report

COUNTED = ("llm_requests", "llm_tokens_out", "llm_replayed", "llm_cost_millionths", "llm_replayed_cost_millionths")


class Progress:
    """Told of every finished part and of kept answers; speaks at most every ``interval`` seconds off a terminal."""

    def __init__(self, out: TextIO | None = None, interval: float = 10.0) -> None:
        self.out = out or sys.stderr
        self.interval = interval if not self.out.isatty() else 0.1
        self.step, self.started, self.spoke, self.first = "", 0.0, 0.0, 0
        self.rows = 0
        self.kept: Kept | None = None
        self.counted = dict.fromkeys(COUNTED, 0)
        self._turn = threading.Lock()

    def __call__(self, step: str, done: int, of: int, news: Report | Kept | None) -> None:
        """A part is finished, or answers were kept; without either, the step begins with ``done`` parts stored already."""
        now = time.monotonic()
        with self._turn:
            if news is None:
                self.step, self.started, self.first, self.rows, self.spoke = step, now, done, 0, now
                self.counted, self.kept = dict.fromkeys(COUNTED, 0), None
                return
            if isinstance(news, Kept):
                self.kept = news
            else:
                self.rows += news.record.get("rows", 0)
                for name in COUNTED:
                    self.counted[name] += news.record.get("counters", {}).get(name, 0)
            if self._is_due(now, done == of):
                self.spoke = now
                self._say(self._line(max(now - self.started, 1e-3), done, of), done == of)

    def _is_due(self, now: float, over: bool) -> bool:
        if over and not self.out.isatty():
            return now - self.started >= self.interval
        return over or now - self.spoke >= self.interval

    def _say(self, line: str, over: bool) -> None:
        if self.out.isatty():
            self.out.write(f"\r\x1b[2K{line}" + ("\r\x1b[2K" if over else ""))
        else:
            self.out.write(line + "\n")
        self.out.flush()

    def _line(self, elapsed: float, done: int, of: int) -> str:
        made = done - self.first
        asked = self._asked(elapsed, (of - self.first) / made if made else 0)
        line = f"{self.step}: {done} of {of} parts" + (f", {self.rows / elapsed:,.0f} rows/s" if made else "") + asked
        if done == of:
            return f"{line}, {elapsed:,.0f} s"
        left = self._left(elapsed, made, of - done)
        return line if left is None else f"{line}, about {left:,.0f} s left"

    def _left(self, elapsed: float, made: int, missing: int) -> float | None:
        """Seconds, by the answers that are missing where they are known, else by the parts."""
        if self.kept and self.kept.of and self.kept.answers:
            missing_answers = self.kept.of - self.kept.answers - self.counted["llm_replayed"]
            return max(missing_answers, 0) * elapsed / self.kept.answers
        return missing * elapsed / made if made else None

    def _asked(self, elapsed: float, share: float) -> str:
        """What a model was asked, its rate, and where it has a price what the step will have cost."""
        requests, written, replayed, cost, before = (self.counted[name] for name in COUNTED)
        words = ""
        if self.kept:
            requests, written = max(requests, self.kept.answers), max(written, self.kept.tokens_out)
            words = f", {self.kept.answers:,} answers so far"
        elif not requests and not replayed:
            return ""
        words += f", {requests / elapsed:,.1f} requests/s, {written / elapsed:,.0f} tokens/s"
        words += f", {replayed:,} answers replayed" if replayed else ""
        words += f" that had cost {before / 1e6:,.4g}" if before else ""
        return words + (f", {cost / 1e6:,.4g} spent of about {cost * share / 1e6:,.4g}" if cost else "")
