"""What the engine costs: wall time beyond the operators' own, and what a step costs that does next to nothing.

Sixteen parts that sleep, so that four workers are four on any machine: their own time is parts × seconds ÷ workers, and the
share is what a step takes beyond it. A first step also starts the workers (or Ray, and its actors); a second one finds local
workers there, while Ray starts actors anew. The fixed cost is the same two steps without sleep. SECONDS=30 is the aim's.
"""

import os
import tempfile
from pathlib import Path

from cluster.local_engine import LocalEngine
from cluster.ray_engine import RayEngine
from cluster.store import Store
from cluster.task import Bench
from flows.flow import load
from flows.plan import plan
from flows.run import run
from tests.bench.harness import ROOT, save, stored

PARTS = 16
SECONDS = float(os.environ.get("SECONDS_A_PART", "30"))
ENGINES = os.environ.get("ENGINES", "local,ray").split(",")
WORKERS = [int(n) for n in os.environ.get("WORKERS", "1,2,4").split(",")]
FLOW = """
flow: overhead
steps:
  docs:   {op: "tests.toy_ops:count_docs", with: {path: none, rows: 1600}}
  first:  {op: "tests.toy_ops:shout", from: docs, with: {sleep: SLEEP}}
  second: {op: "tests.toy_ops:shout", from: first, with: {sleep: SLEEP, times: 2}}
"""


def steps(engine: LocalEngine | RayEngine, sleep: float) -> dict[str, float]:
    """The seconds of both steps, from looking what is there to the manifest."""
    with tempfile.TemporaryDirectory(prefix="pithead-bench-") as name:
        path, store = Path(name, "flow.yaml"), Store(f"{name}/store")
        path.write_text(FLOW.replace("SLEEP", str(sleep)))
        run(load(path), Bench(store, LocalEngine(0), PARTS), until="docs")  # no worker has started yet
        run(load(path), Bench(store, engine, PARTS))
        return {p.step.name: store.read_json(f"{p.task.home}/run.json")["seconds"] for p in plan(load(path), store)}


def measured(kind: str, workers: int) -> list[dict]:
    rows = []
    for sleep in (0.0, SECONDS):
        engine = LocalEngine(workers) if kind == "local" else RayEngine(workers)
        took = steps(engine, sleep)
        engine.close()
        own = PARTS * sleep / workers
        for step, what in (("first", "a first step"), ("second", "a second step")):
            row = {"row": f"{'fixed cost of' if not sleep else ''} {what}".strip(), "engine": kind, "workers": workers,
                   "part_seconds": sleep, "own_seconds": own, "seconds": took[step]}  # fmt: skip
            rows.append(
                {**row, "share": round((took[step] - own) / own, 4) if own else None, "load": round(os.getloadavg()[0], 1)}
            )
    return rows


def main() -> None:
    os.environ["PYTHONPATH"] = str(ROOT)

    def key(r: dict) -> tuple:
        return r["engine"], r["workers"], r["part_seconds"], r["row"]

    for kind in ENGINES:
        for workers in WORKERS:
            new = measured(kind, workers)
            rows = {key(r): r for r in [*stored("overhead"), *new]}
            save("overhead", [rows[k] for k in sorted(rows)])


if __name__ == "__main__":
    main()
