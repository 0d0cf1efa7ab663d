"""Progress of long steps with rate and estimate: a line rewritten on a terminal, plain lines elsewhere."""

import json
import os
import sys
import threading
import time
from datetime import UTC, datetime
from typing import TextIO

from cluster.journal import Kept
from cluster.work import Report

COUNTED = ("llm_requests", "llm_tokens_out", "llm_replayed", "llm_cost_millionths", "llm_replayed_cost_millionths")


def structured() -> bool:
    """Whether logs are lines of JSON: `PITHEAD_LOG=json`."""
    return os.environ.get("PITHEAD_LOG", "") == "json"


class Progress:
    """Told of every finished part and of kept answers; speaks at most every ``interval`` seconds off a terminal."""

    def __init__(self, out: TextIO | None = None, interval: float = 10.0) -> None:
        self.out = out or sys.stderr
        self.structured = structured()
        self.interval = 0.1 if self.out.isatty() and not self.structured else interval
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
                same, self.kept = self.kept is not None and self.kept.answers == news.answers, news
                if same:  # nothing but the clock went on
                    return
            else:
                self.rows += news.record.get("rows", 0)
                for name in COUNTED:
                    self.counted[name] += news.record.get("counters", {}).get(name, 0)
            if self._is_due(now, done == of):
                self.spoke = now
                elapsed = max(now - self.started, 1e-3)
                if self.structured:
                    self._tell(elapsed, done, of)
                else:
                    self._say(self._line(elapsed, done, of), done == of)

    def pace(self, done: int, of: int) -> dict[str, float | None]:
        """Rows a second of the step, and the seconds that it may still take; None where that is not known."""
        with self._turn:
            elapsed, made = max(time.monotonic() - self.started, 1e-3), done - self.first
            left = self._left(elapsed, made, of - done) if done < of else 0.0
            return {"rows_per_second": round(self.rows / elapsed, 1), "seconds_left": None if left is None else round(left, 1)}

    def _is_due(self, now: float, over: bool) -> bool:
        if over and (self.structured or not self.out.isatty()):
            return now - self.started >= self.interval
        return over or now - self.spoke >= self.interval

    def _tell(self, elapsed: float, done: int, of: int) -> None:
        """A line of JSON, for whoever gathers logs."""
        left = self._left(elapsed, done - self.first, of - done) if done < of else 0.0
        value = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"), "level": "info", "event": "progress", "step": self.step,
            "parts": done, "of": of, "rows": self.rows, "rows_per_second": round(self.rows / elapsed, 1),
            "seconds": round(elapsed, 1), "seconds_left": None if left is None else round(left, 1),
            **{k: v for k, v in self.counted.items() if v}, **({"answers": self.kept.answers} if self.kept else {}),
        }  # fmt: skip
        self.out.write(json.dumps(value) + "\n")
        self.out.flush()

    def _say(self, line: str, over: bool) -> None:
        if self.out.isatty():
            self.out.write(f"\r\x1b[2K{line}" + ("\r\x1b[2K" if over else ""))
        else:
            self.out.write(line + "\n")
        self.out.flush()

    def _line(self, elapsed: float, done: int, of: int) -> str:
        made = done - self.first
        asked = self._asked(elapsed, (of - self.first) / made if made else 0)
        line = f"{self.step}: {done} of {of} parts" + (f", {_rate(self.rows / elapsed)} rows/s" if made else "") + asked
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
        words += f", {_rate(requests / elapsed)} requests/s, {_rate(written / elapsed)} tokens/s"
        words += f", {replayed:,} answers replayed" if replayed else ""
        words += f" that had cost {before / 1e6:,.4g}" if before else ""
        return words + (f", {cost / 1e6:,.4g} spent of about {cost * share / 1e6:,.4g}" if cost else "")


def _rate(value: float) -> str:
    """Two digits of what is slow: 0 rows a second would say that nothing happens."""
    return f"{value:,.0f}" if value >= 10 or not value else f"{value:.2g}"
