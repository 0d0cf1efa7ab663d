"""The processes of a vLLM engine: what becomes of them, and of us, when one of them goes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from operators.engines.models import ModelEntry

ROOT = Path(__file__).parents[2]
START = """
    import multiprocessing, os, signal, sys, threading
    from operators.contract import EngineDead
    from operators.engines.llm import Request, Sampling
    from operators.engines.models import ModelEntry
    from operators.engines.vllm_llm import load_vllm

    def main():
        llm = load_vllm(ModelEntry.model_validate_json(sys.argv[1]))
        engines = [p.pid for p in multiprocessing.active_children()]
        asked = [Request(f"Owls number {n} hunt", seed=n) for n in range(40)]
        print(*engines, flush=True)
"""
KILLED = START + """
        llm.complete(asked, Sampling(max_tokens=900), lambda i, a: None)
"""
DIES = START + """
        threading.Timer(2, os.kill, (engines[0], signal.SIGKILL)).start()
        for _ in range(2):  # while it dies, and ever after
            try:
                llm.complete(asked, Sampling(max_tokens=900))
                print("ANSWERED", flush=True)
            except EngineDead as error:
                print("DEAD", error, flush=True)
"""
END = """
    if __name__ == "__main__":
        main()
"""


def begin(script: str, entry: ModelEntry, folder: Path) -> "subprocess.Popen[str]":
    file = folder / "script.py"
    file.write_text(textwrap.dedent(script + END))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(file), entry.model_dump_json()], stdout=subprocess.PIPE, text=True, env=environment)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


def below(pid: int) -> list[int]:
    try:
        found = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return found + [q for p in found for q in below(p)]


def gone(pids: list[int], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while any(alive(p) for p in pids) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not any(alive(p) for p in pids)


def test_the_engine_goes_with_a_worker_that_is_killed(entry: ModelEntry, tmp_path: Path) -> None:
    process = begin(KILLED, entry, tmp_path)
    engines = [int(p) for p in process.stdout.readline().split()]
    processes = engines + [q for p in engines for q in below(p)]
    assert len(processes) >= 2  # the engine and its worker
    assert all(alive(p) for p in processes)
    time.sleep(1)  # answers are under way
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert gone(processes)


def test_the_death_of_the_engine_is_told_and_python_still_ends(entry: ModelEntry, tmp_path: Path) -> None:
    process = begin(DIES, entry, tmp_path)
    engines = [int(p) for p in process.stdout.readline().split()]
    processes = engines + [q for p in engines for q in below(p)]
    said = process.stdout.read().splitlines()
    assert process.wait(60) == 0
    assert [line.split()[0] for line in said] == ["DEAD", "DEAD"]
    assert "vLLM's engine for" in said[0]
    assert gone(processes)


def test_it_answers_in_a_ray_actor_that_says_it_has_more_cores_than_there_are(entry: ModelEntry) -> None:
    import ray  # noqa: TID251

    cores = 2 * (os.cpu_count() or 1)

    class Host:
        def __init__(self, given: ModelEntry) -> None:
            from operators.engines.vllm_llm import load_vllm

            self.llm = load_vllm(given)

        def ask(self) -> tuple[list[str], list[int]]:
            import multiprocessing

            from operators.engines.llm import Request, Sampling

            answers = self.llm.complete([Request(f"Numbers in order: {n}, {n + 1},") for n in range(20)], Sampling(6, 0))
            return [a.text for a in answers], [p.pid for p in multiprocessing.active_children()]

        def close(self) -> None:
            self.llm.close()

    environment = {"PYTHONPATH": str(ROOT), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    ray.init("local", num_cpus=cores, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
    try:
        host = ray.remote(num_cpus=cores)(Host).remote(entry)
        texts, engines = ray.get(host.ask.remote(), timeout=500)
        assert sum(t.strip().startswith(str(n + 2)) for n, t in enumerate(texts)) >= 15
        processes = engines + [q for p in engines for q in below(p)]
        assert len(processes) >= 2
        ray.get(host.close.remote())
        assert gone(processes)
    finally:
        ray.shutdown()
