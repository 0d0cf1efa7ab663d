"""Plan and resume a step of 100,000 parts that are made already: seconds, and the driver's memory.

The parts' records are written as workers write them and gathered as a driver gathers them; the last 500 were committed by
workers whose driver was killed before it heard of them. What is measured is a process that plans, resumes and writes the
manifest, and another that finds the step whole; the driver's own seconds of a processor tell what a shared machine hides.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster.committed import Gathered
from cluster.local_engine import LocalEngine
from cluster.run import run_task
from cluster.store import Store
from cluster.task import Bench
from flows.flow import load
from flows.plan import plan
from tests.bench.harness import ROOT, save

PARTS = int(os.environ.get("PARTS", "100000"))
UNHEARD = 500
FLOW = """
flow: bookkeeping
steps:
  docs:  {op: "tests.toy_ops:count_docs", with: {path: none, rows: 1000}}
  loud:  {op: "tests.toy_ops:shout", from: docs}
"""


def prepare(path: Path, store: Store, parts: int) -> None:
    """A whole source, and a map of which every part is committed."""
    docs, loud = plan(load(path), store)
    engine = LocalEngine(0)
    manifest = run_task(docs.task, Bench(store, engine, 1))
    names = [f"{i:05d}-of-{parts:05d}" for i in range(parts)]
    store.write_json(f"{docs.task.home}/manifest.json", {**manifest, "parts": [{**manifest["parts"][0], "part": n} for n in names]})
    gathered = Gathered(store, loud.task.home, "0123abcd")
    for i, name in enumerate(names):
        record = {
            "file": f"{loud.task.home}/parts/{name}.0123abcd-0.parquet", "rows": 10, "sha256": f"{i:064x}", "rows_in": 10,
            "rejected": {}, "schema": manifest["schema"], "reused": 0, "part": name, "attempt": "0123abcd-0", "counters": {},
            "seconds": 0.01,
        }  # fmt: skip
        store.write_json(f"{loud.task.home}/commits/{name}.0123abcd-0.json", record)
        if i < parts - UNHEARD:
            gathered.add(record)
    gathered.close()


def resume(path: Path, uri: str) -> dict:
    """In a process of its own: plan, then what a run does with the step."""
    start, used, store = time.monotonic(), time.process_time(), Store(uri)
    loud = plan(load(path), store)[1]
    planned = time.monotonic() - start
    manifest = run_task(loud.task, Bench(store, LocalEngine(0), 1))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"parts": len(manifest["parts"]), "plan_seconds": round(planned, 2),
            "seconds": round(time.monotonic() - start, 2), "cpu_seconds": round(time.process_time() - used, 2), "driver_mib": memory}  # fmt: skip


def measured(name: str, path: Path, uri: str) -> dict:
    """`resume` in a process of its own, and the time of that whole process."""
    start = time.monotonic()
    command = [sys.executable, "-m", "tests.bench.bookkeeping", str(path), uri]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {"row": name, **json.loads(done.stdout.splitlines()[-1]), "process_seconds": round(time.monotonic() - start, 2)}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pithead-bench-") as name:
        path = Path(name, "flow.yaml")
        path.write_text(FLOW)
        uri = f"{name}/store"
        prepare(path, Store(uri), PARTS)
        rows = [measured(said, path, uri) for said in ("resumed: all parts are committed", "planned: the step is whole")]
    save("bookkeeping", rows)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(resume(Path(sys.argv[1]), sys.argv[2])))
    else:
        main()
