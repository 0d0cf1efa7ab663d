"""Kill a run twenty times while it asks an endpoint: no answer that was kept is asked for again.

The server counts. What it answered and nobody kept was under way at a kill; only that is paid for twice.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from operators import python_docs
from tests.bench.harness import ROOT, _children, save
from tests.operators.engines.openai_server import OpenAIServer

KILLS = int(os.environ.get("KILLS", "20"))
FLOW = """
flow: asked
steps:
  corpus:   {op: read_corpus, with: {path: corpus.jsonl}}
  passages: {op: split_passages, from: corpus, with: {max_words: 120, min_words: 1}, max_rejected: 1}
  unique:   {op: drop_duplicates, from: passages, with: {key: passage_id}, max_rejected: 1}
  queries:  {op: generate_queries, from: unique, using: {llm: remote}, with: {per_passage: 4}}
"""
MODELS = "remote: {kind: llm, backend: openai, model: m, max_tokens: 4096, serving: {endpoint: URL, concurrency: 16, parts_at_once: 2}}\n"


def kept(folder: Path) -> int:
    return sum(f.read_bytes().count(b"\n") for f in folder.glob("store/ledger/*/*/*/*.jsonl"))


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "flows", "run", str(folder / "flow.yaml"), "--store", str(folder / "store"), "--json"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    folder, rng, rows = Path(tempfile.mkdtemp(prefix="pithead-bench-")), random.Random(7), []
    docs = [{"_id": n, "title": t, "text": d} for n, t, d in list(python_docs.docs())[::3]]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in docs))
    (folder / "flow.yaml").write_text(FLOW)
    with OpenAIServer(latency=0.1) as server:
        (folder / "models.yaml").write_text(MODELS.replace("URL", server.url))
        answered, held, lost = 0, 0, 0
        for kill in range(KILLS):
            process, began = start(folder), sum(server.asked.values())
            while process.poll() is None and sum(server.asked.values()) < began + rng.randint(16, 200):
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.3))
            target = rng.choice(["driver", "worker"])
            victims = _children(process.pid) if target == "worker" else []
            if process.poll() is None:
                os.kill(rng.choice(victims) if victims else process.pid, signal.SIGKILL)
            if target == "worker":
                time.sleep(1)
                process.kill()
            process.wait()
            time.sleep(0.3)  # what is under way ends at the server
            lost += sum(server.answered.values()) - answered - (kept(folder) - held)
            answered, held = sum(server.answered.values()), kept(folder)
            rows.append({"kill": kill, "of": target, "answered": answered, "kept": held, "under_way_so_far": lost})
        status = start(folder).wait()
        whole, distinct = sum(server.answered.values()), len(server.answered)
        rows.append({"kill": "none", "of": f"exit status {status}", "answered": whole, "kept": kept(folder), "under_way_so_far": lost,
                     "requests": distinct, "repeated": whole - distinct, "kept_and_repeated": max(0, whole - distinct - lost)})  # fmt: skip
    save("ledger", rows)


if __name__ == "__main__":
    main()
