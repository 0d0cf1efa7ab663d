"""What benchmarks share: peak memory of the process tree, results as JSON, a table for people."""

import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.conftest import DATA

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("pyarrow", "torch", "ray", "faiss-cpu", "sentence-transformers", "transformers", "bm25s")


def save(name: str, rows: list[dict]) -> None:
    """Write ``results/<name>.json`` and print the table."""
    RESULTS.mkdir(exist_ok=True)
    value = {
        "command": f"make bench BENCH={name}", "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "machine": {"cpus": os.cpu_count(), "processor": _processor(), "python": platform.python_version()},
        "versions": {lib: version(lib) for lib in LIBRARIES}, "rows": rows,
    }  # fmt: skip
    (RESULTS / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")
    columns = list(dict.fromkeys(k for r in rows for k in r))
    widths = [max(len(c), *(len(str(r.get(c, ""))) for r in rows)) for c in columns]
    for line in [columns, *([str(r.get(c, "")) for c in columns] for r in rows)]:
        print("  ".join(str(v).ljust(w) for v, w in zip(line, widths, strict=True)))


def _processor() -> str:
    """What it calls itself, and whether it multiplies matrices of bfloat16: figures of two kinds do not compare."""
    path = Path("/proc/cpuinfo")
    told = path.read_text() if path.exists() else ""
    named = re.search(r"^model name\s*: (.+)$", told, re.M)
    return (named.group(1) if named else platform.machine()) + " with AMX" * ("amx_bf16" in told)


def stored(name: str) -> list[dict]:
    """The rows that an earlier call wrote: long benches append by seed."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def _anonymous(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as file:  # smaps_rollup walks every page: a twelfth of a core
            return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))
    except (OSError, StopIteration):
        return 0


def _children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(c) for c in found] + [g for c in found for g in _children(int(c))]


class Peak(threading.Thread):
    """Samples the anonymous memory (KiB) of a process and of all below it, with the time of each sample."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.over = pid, False
        self.samples: list[tuple[float, int, int]] = []  # seconds since 1970, the process, all below it

    def run(self) -> None:
        while not self.over:
            self.samples.append((time.time(), _anonymous(self.pid), sum(map(_anonymous, _children(self.pid)))))
            time.sleep(0.25)

    @property
    def mib(self) -> int:
        """The most that all held together."""
        return max((own + below for _, own, below in self.samples), default=0) // 1024

    def within(self, start: float, end: float) -> tuple[int, int]:
        """The most (MiB) that the process, and all below it, held between two times."""
        found = [(own, below) for at, own, below in self.samples if start <= at <= end]
        return max((o for o, _ in found), default=0) // 1024, max((b for _, b in found), default=0) // 1024


def watched(*args: str) -> tuple[dict, float, Peak]:
    """Run the command with --json: its answer, seconds, and the memory of its process tree."""
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", *args, "--json"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    peak = Peak(process.pid)
    peak.start()
    out, _ = process.communicate()
    peak.over = True
    return json.loads(out.strip().splitlines()[-1]), round(time.monotonic() - start, 1), peak


def pithead(*args: str) -> tuple[dict, float, int]:
    """`watched`, with the peak of its memory in MiB."""
    answer, seconds, peak = watched(*args)
    return answer, seconds, peak.mib


def data() -> Path:
    """The real collections; says so and ends where they are missing."""
    if not DATA.exists():
        sys.exit(f"the real collections are not at {DATA}; set PITHEAD_DATA to their folder")
    return DATA
