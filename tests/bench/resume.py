"""Kill runs at random and resume them: the same checksums, no committed part made again.

Each run is a fresh store; SIGKILL goes to the driver or to one of its workers at a random moment, or mid-write:
to all of them at the moment that a part's file stands there and nobody has committed it.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster.store import Store
from operators import python_docs
from tests.bench.harness import ROOT, _children, save, stored

CORPUS = Path(tempfile.gettempdir()) / "pithead-resume.jsonl"
FLAGS = ["--buckets", "8", "--workers", "2", "--set", f"corpus.path={CORPUS}", "--set", "corpus.format=jsonl", "--set", "chosen.share=0.06", "--set", "queries.per_passage=2",
         "--set", "clean.max_rejected=1", "--set", "consistent.max_rejected=1", "--set", "negatives.max_rejected=1",
         "--set", "centroids.clusters=2"]  # fmt: skip
RUNS = int(os.environ.get("RUNS", "10"))


def command(store: str) -> list[str]:
    return [sys.executable, "-m", "flows", "run", "quickstart", "--store", store, "--json", *FLAGS]


def published(store: str) -> list[str]:
    manifest = Path(store, "datasets/quickstart", Store(store).read_text("datasets/quickstart/latest").strip(), "manifest.json")
    return [s["sha256"] for s in json.loads(manifest.read_text())["shards"]] + [manifest.read_text()]


def repeated(store: str) -> int:
    """Parts that were committed more than once, by the commit records that the engines wrote."""
    names = [f"{home}/{n.rsplit('.', 2)[0]}" for home in Store(store).names("steps") for n in Store(store).names(f"steps/{home}/commits")]
    return len(names) - len(set(names))


def written(store: str, process: "subprocess.Popen[bytes]") -> bool:
    """Wait for a file of a part that is being written, or is written and not committed; whether one was seen."""
    while process.poll() is None:
        for part in Path(store, "steps").glob("*/parts/*.parquet"):
            if not (part.parents[1] / "commits" / f"{part.stem}.json").exists():
                return True
    return False


def one(seed: int, length: float, expected: list[str]) -> dict:
    rng, store, kills = random.Random(seed), tempfile.mkdtemp(prefix="pithead-bench-"), []
    for _ in range(rng.randint(1, 3)):
        process = subprocess.Popen(command(store), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(1, length))
        below = _children(process.pid)
        target = rng.choice(["driver", "worker", "mid-write"]) if below else "driver"
        if target == "mid-write" and not written(store, process):
            continue  # the run was over first
        try:
            os.kill(rng.choice(below) if target == "worker" else process.pid, signal.SIGKILL)
            kills.append(target)
        except ProcessLookupError:
            pass
        process.wait()
    process = subprocess.run(command(store), cwd=ROOT, capture_output=True, text=True)
    row = {"seed": seed, "kills": len(kills), "of": ",".join(kills), "status": process.returncode,
           "same_bytes": process.returncode == 0 and published(store) == expected, "parts_repeated": repeated(store)}  # fmt: skip
    shutil.rmtree(store)
    return row


def main() -> None:
    docs = [{"_id": n, "title": t, "text": d} for n, t, d in list(python_docs.docs())[::14]]
    CORPUS.write_text("".join(json.dumps(d) + "\n" for d in docs))
    store = tempfile.mkdtemp(prefix="pithead-bench-")
    start = time.monotonic()
    subprocess.run(command(store), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    length, expected = time.monotonic() - start, published(store)
    rows = [r for r in stored("resume") if "seed" in r]
    first = 1 + max((r["seed"] for r in rows), default=-1)
    for seed in range(first, first + RUNS):
        rows.append(one(seed, length, expected))
        print(rows[-1], flush=True)
        save("resume", rows)
    shutil.rmtree(store)


if __name__ == "__main__":
    main()
