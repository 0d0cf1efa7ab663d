"""Every export read by its trainer (tests/exports/test_trainers.py): version, loaded, steps, rows equal; and reading back at speed.

A trainer whose environment is missing is a row with the reason. `BENCH_ONLY="pylate or beir"` does those alone and `BENCH_ONLY=speed`
the speeds; the rows of the others stay.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq

from flows.export import export
from tests.bench.harness import ROOT, Peak, save, stored
from tests.exporting import publish, table_of

_STREAM = """import sys, datasets
print(sum(1 for _ in datasets.load_dataset(sys.argv[1], split="train", streaming=True)))"""
_PLAIN = """import sys, pathlib, pyarrow.parquet as pq
files = sorted(pathlib.Path(sys.argv[1], "data").iterdir())
print(sum(1 for f in files for b in pq.ParquetFile(f).iter_batches(1024) for _ in b.to_pylist()))"""


def main() -> None:
    home, only = Path(tempfile.mkdtemp(prefix="pithead-bench-")), os.environ.get("BENCH_ONLY", "")
    rows = ([] if only == "speed" else trainers(home, only)) + (speeds(home) if only in ("", "speed") else [])
    known = {(row["trainer"], row.get("export"), row.get("rows")): row for row in [*(stored("exports") if only else []), *rows]}
    save("exports", list(known.values()))


def trainers(home: Path, only: str) -> list[dict]:
    """What every test of a trainer found, with the version that it ran."""
    log, report = home / "log.jsonl", home / "report.xml"
    env = {**os.environ, "PITHEAD_EXPORTS_LOG": str(log)}
    command = [sys.executable, "-m", "pytest", "-q", "tests/exports/test_trainers.py", f"--junitxml={report}", "-k", only]
    subprocess.run(command, cwd=ROOT, env=env, check=False)
    return found(log, report)


def found(log: Path, report: Path) -> list[dict]:
    """A row a test: what its loader told, and whether pytest held it equal."""
    said = {one["test"]: one for one in map(json.loads, log.read_text().splitlines())} if log.exists() else {}
    rows = []
    for case in ElementTree.parse(report).iter("testcase"):
        name, skipped = case.get("name"), case.find("skipped")
        one = said.get(name, {})
        trainer = {"main": "sentence-transformers" if "sentence" in name else "datasets"}.get(one.get("trainer"), one.get("trainer"))
        rows.append({"trainer": trainer or re.sub(r"^test_|\[.*", "", name), "export": name, "version": one.get("version", ""),
                     "loaded": bool(one), "stepped": one.get("steps", 0), "rows_equal": skipped is None and case.find("failure") is None,
                     **({"reason": skipped.get("message")} if skipped is not None else {})})  # fmt: skip
    return rows


def speeds(home: Path) -> list[dict]:
    """Rows per second of `datasets` streaming over shards beside a plain parquet reader, at two sizes, with memory."""
    table, rows = table_of(500), []
    for times in (20, 100):
        made = publish(home / str(times), pa.concat_tables([table] * times), shards=8)
        start = time.monotonic()
        out = home / f"out{times}"
        export(str(made), "datasets", str(out), ["shard_rows=4096"], "store")
        spent = time.monotonic() - start
        rows.append({"trainer": "pithead export --to datasets", "rows": len(table) * times, "rows_per_second": round(len(table) * times / spent)})
        for name, code in (("datasets streaming", _STREAM), ("pyarrow", _PLAIN)):
            start = time.monotonic()
            process = subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True)
            peak = Peak(process.pid)
            peak.start()
            told, _ = process.communicate()
            peak.over = True
            assert int(told.split()[-1]) == len(table) * times == sum(pq.read_metadata(p).num_rows for p in (out / "data").iterdir())
            rows.append({"trainer": name, "rows": len(table) * times, "anon_mib": peak.mib,
                         "rows_per_second": round(len(table) * times / (time.monotonic() - start))})  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
