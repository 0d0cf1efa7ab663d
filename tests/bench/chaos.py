"""Runs that are hurt: each, re-run plainly until it ends, has the checksums of the run that nothing happened to.

`RUNS=10` appends so many seeds; every third is on a Ray cluster of a head and two nodes (`ENGINE=local`, `ray`: all of them),
whose nodes are process groups of their own. A seed has 1 to 5 faults, at random moments of as many runs as that takes:

driver, worker  SIGKILL          endpoint  the LLM's server is killed, and is there again later
slow            a worker stands still for a while, then goes on
full            the store's disk is full (a tmpfs of its own; where mounting is not allowed, the fault is left out)
away            the store's folder of steps is a file for a while: nothing can be written
truncated       a committed part loses its second half; `verify` then has to find it
node            the processes of a whole node are killed; another takes its place (Ray alone)
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cluster.store import Store
from tests.bench.harness import ROOT, _children, save, stored

DOCUMENTS, BUCKETS, PORT, ATTEMPTS = 2400, 8, 8531, 6
HEAD = "127.0.0.1:6397"
FLOW = """
flow: chaos
seed: 7
steps:
  corpus:   {op: read_corpus, with: {path: corpus.jsonl}}
  passages: {op: split_passages, from: corpus, with: {min_words: 1}}
  unique:   {op: drop_duplicates, from: passages, with: {key: passage_id}}
  queries:  {op: generate_queries, from: unique, using: {llm: remote}, with: {per_passage: 1}}
  asked:    {op: embed, from: queries, using: {encoder: static}, with: {column: query}}
"""
MODELS = "remote: {{kind: llm, backend: openai, model: m, max_tokens: 4096, serving: {{endpoint: http://127.0.0.1:{port}/v1, patience: 3}}}}\n"
FAULTS = ("driver", "worker", "endpoint", "slow", "full", "away", "truncated")
RAY = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-this-bench-only", "PYTHONPATH": str(ROOT)}


class Endpoint:
    """The LLM's server, a process."""

    def __init__(self) -> None:
        self.up()

    def up(self) -> None:
        """Start it, where it is not there."""
        if not hasattr(self, "process") or self.process.poll() is not None:
            command = [sys.executable, "-m", "tests.operators.engines.openai_server", "--port", str(PORT)]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.5)

    def kill(self) -> None:
        """It is gone."""
        self.process.kill()
        self.process.wait()


class Nodes:
    """A Ray head without work of its own and two nodes, each a session of processes."""

    def __init__(self) -> None:
        self.head = self._start("--head", f"--port={HEAD.rpartition(':')[2]}", "--num-cpus=2", "--include-dashboard=false")
        time.sleep(8)
        self.nodes = [self._node(), self._node()]
        time.sleep(4)

    @staticmethod
    def _start(*flags: str) -> "subprocess.Popen[bytes]":
        command = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--node-ip-address=127.0.0.1", *flags]
        return subprocess.Popen(command, env=RAY, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _node(self) -> "subprocess.Popen[bytes]":
        return self._start(f"--address={HEAD}", "--num-cpus=2")

    def lose(self, rng: random.Random) -> None:
        """Kill one with all below it; another joins."""
        at = rng.randrange(2)
        _kill(self.nodes[at])
        self.nodes[at] = self._node()

    def end(self) -> None:
        """Stop all."""
        for node in (*self.nodes, self.head):
            _kill(node)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    for pid in (process.pid, *_children(process.pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


class Run:
    """One seed: its store, its runs, and what is done to them."""

    def __init__(self, seed: int, home: Path, endpoint: Endpoint, nodes: Nodes | None) -> None:
        self.rng, self.home, self.endpoint, self.nodes = random.Random(seed), home, endpoint, nodes
        self.seed, self.store = seed, tempfile.mkdtemp(prefix="pithead-chaos-")
        self.mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", self.store], capture_output=True).returncode == 0
        self.done: list[str] = []
        self.process: subprocess.Popen[bytes]

    def command(self) -> list[str]:
        """The run, on its engine."""
        engine = ["--engine", "ray", "--address", HEAD] if self.nodes else []
        return [sys.executable, "-m", "flows", "run", str(self.home / "flow.yaml"), "--store", self.store, "--json",
                "--buckets", str(BUCKETS), "--workers", "2", *engine]  # fmt: skip

    def start(self) -> None:
        """Run in the background."""
        self.process = subprocess.Popen(self.command(), cwd=ROOT, env=RAY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def workers(self) -> list[int]:
        """The processes that do its work."""
        if self.nodes is None:
            return _children(self.process.pid)
        found = subprocess.run(["pgrep", "-f", "^ray::(Map|_Map|Actor)"], capture_output=True, text=True).stdout.split()
        return [int(pid) for pid in found]

    def hurt(self, fault: str) -> bool:
        """Do it; False where there is nothing to do it to."""
        acts: dict[str, Callable[[], bool]] = {
            "driver": lambda: self._signal([self.process.pid], signal.SIGKILL), "worker": lambda: self._signal(self.workers(), signal.SIGKILL),
            "endpoint": self._endpoint, "slow": self._slow, "full": self._full, "away": self._away, "truncated": self._truncated, "node": self._node,
        }  # fmt: skip
        return acts[fault]()

    def _signal(self, pids: list[int], what: signal.Signals) -> bool:
        with contextlib.suppress(ProcessLookupError):
            if pids:
                os.kill(self.rng.choice(pids), what)
                return True
        return False

    def _wait(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self.rng.uniform(0.5, 3))

    def _endpoint(self) -> bool:
        self.endpoint.kill()
        self._wait()
        self.endpoint.up()
        return True

    def _slow(self) -> bool:
        pids = self.workers()
        if not pids:
            return False
        pid = self.rng.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._wait()
            os.kill(pid, signal.SIGCONT)
        return True

    def _full(self) -> bool:
        filler = Path(self.store, "filler")
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(b"x" * (1 << 20))
                file.flush()
        self._wait()
        filler.unlink()
        return True

    def _away(self) -> bool:
        steps, aside = Path(self.store, "steps"), Path(self.store, "steps.away")
        if not steps.exists():
            return False
        steps.rename(aside)
        with contextlib.suppress(OSError):
            steps.touch(exist_ok=False)
        self._wait()
        if steps.is_file():
            steps.unlink()
        else:  # the run was faster: what it wrote in between is no more there than on a disk that was lost
            shutil.rmtree(steps)
        aside.rename(steps)
        return True

    def _truncated(self) -> bool:
        files = sorted(p for p in Path(self.store, "steps").glob("*/parts/*.parquet") if (p.parents[1] / "commits" / f"{p.stem}.json").exists())
        if not files:
            return False
        chosen = self.rng.choice(files)
        os.truncate(chosen, chosen.stat().st_size // 2)
        return True

    def _node(self) -> bool:
        assert self.nodes
        self.nodes.lose(self.rng)
        return True

    def plan(self) -> list[str]:
        """What will be done to it."""
        possible = [f for f in FAULTS if f != "full" or self.mounted] + ["node", "node"] * (self.nodes is not None)
        return [self.rng.choice(possible) for _ in range(self.rng.randint(1, 5))]

    def go(self, length: float, expected: dict[str, str]) -> dict[str, Any]:
        """Hurt runs of it, then re-run until one ends."""
        for fault in self.plan():
            if not hasattr(self, "process") or self.process.poll() is not None:
                self.start()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(self.rng.uniform(0.3, length))
            if self.hurt(fault):
                self.done.append(fault)
        self.process.wait()
        statuses = self._rerun()
        found = subprocess.run([*self.command()[:3], "verify", *self.command()[4:7]], cwd=ROOT, capture_output=True).returncode
        if found:
            statuses += self._rerun()
        return {"seed": self.seed, "engine": "ray" if self.nodes else "local", "faults": ",".join(self.done), "statuses": ",".join(map(str, statuses)),
                "same_bytes": manifests(self.store) == expected and intact(self.store), "parts_repeated": repeated(self.store),
                "found_by_verify": bool(found)}  # fmt: skip

    def _rerun(self) -> list[int]:
        statuses = []
        while len(statuses) < ATTEMPTS and (not statuses or statuses[-1]):
            statuses.append(subprocess.run(self.command(), cwd=ROOT, env=RAY, capture_output=True).returncode)
        return statuses

    def end(self) -> None:
        """Give the disk back."""
        if self.mounted:
            subprocess.run(["umount", "-l", self.store], check=True)
        shutil.rmtree(self.store, ignore_errors=True)


def manifests(store: str) -> dict[str, str]:
    """What the manifest of each step says, but for the attempts in the names of its files: checksums, schema, counts."""
    return {p.parent.name: re.sub(r"\.[0-9a-f]{8}-\d+\.parquet", "", p.read_text()) for p in Path(store, "steps").glob("*/manifest.json")}


def intact(store: str) -> bool:
    """Whether every part is what its manifest says."""
    kept = Store(store)
    parts = [p for home in kept.names("steps") for p in kept.read_json(f"steps/{home}/manifest.json")["parts"]]
    return all(kept.digest(p["file"]) == p["sha256"] for p in parts)


def repeated(store: str) -> int:
    """Parts that were committed more than once."""
    names = Counter(f"{home}/{n.rsplit('.', 2)[0]}" for home in Store(store).names("steps") for n in Store(store).names(f"steps/{home}/commits"))
    return sum(count - 1 for count in names.values())


@contextlib.contextmanager
def nodes_of(engines: list[str]) -> Iterator[Nodes | None]:
    """A cluster, where one is needed."""
    made = Nodes() if "ray" in engines else None
    try:
        yield made
    finally:
        if made:
            made.end()


def flow_of(home: Path) -> None:
    """Write the flow, its corpus, its model."""
    (home / "flow.yaml").write_text(FLOW)
    (home / "models.yaml").write_text(MODELS.format(port=PORT))
    docs = [{"text": f"document number {i} speaks of owls and of {i * i} kinds of iron"} for i in range(DOCUMENTS)]
    (home / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in docs))


def hurt(seeds: Iterable[int], engines: list[str], home: Path) -> Iterator[dict[str, Any]]:
    """A row a seed."""
    flow_of(home)
    endpoint = Endpoint()
    try:
        with nodes_of(engines) as nodes:
            plain = Run(-1, home, endpoint, None)
            length = timed(plain)
            expected = manifests(plain.store)
            plain.end()
            for seed, engine in zip(seeds, engines, strict=True):
                run = Run(seed, home, endpoint, nodes if engine == "ray" else None)
                yield run.go(length * (4 if engine == "ray" else 1), expected)
                run.end()
    finally:
        endpoint.kill()


def main() -> None:
    rows = stored("chaos")
    first = 1 + max((r["seed"] for r in rows), default=-1)
    seeds = range(first, first + int(os.environ.get("RUNS", "9")))
    engines = [os.environ.get("ENGINE") or ("ray" if seed % 3 == 2 else "local") for seed in seeds]
    with tempfile.TemporaryDirectory(prefix="pithead-chaos-flow-") as home:
        for row in hurt(seeds, engines, Path(home)):
            print(row, flush=True)
            rows.append(row)
            save("chaos", rows)


def timed(run: Run) -> float:
    """Seconds of a run that nothing happens to."""
    start = time.monotonic()
    subprocess.run(run.command(), cwd=ROOT, env=RAY, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


if __name__ == "__main__":
    main()
