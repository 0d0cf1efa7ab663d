"""Requests per second through our vLLM back end beside vLLM's own `LLM.generate`, on the same prompts.

In turn A B A B, each in a process of its own, so that neither warms the other's cache nor takes its
cores. Ours answers part by part: two threads feed parts, each finished answer goes to a file.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from operators.engines.llm import Answer, Request, Sampling
from operators.engines.models import ModelEntry, Serving

PARTS, PROMPTS = int(os.environ.get("PARTS", "8")), int(os.environ.get("PROMPTS", "250"))
TURNS, TOKENS, FEEDERS = int(os.environ.get("TURNS", "5")), int(os.environ.get("TOKENS", "16")), 2
WINDOW = 1024
SAMPLING = Sampling(max_tokens=TOKENS, temperature=0.8, top_p=0.95, stop=("\n\n\n",))
OPTIONS = {"enforce_eager": True, "kv_cache_memory_bytes": 2 << 30}
INSTRUCTION = "Write one search query that the passage answers.\n\nPassage: Iron rusts in rain.\nQuery: why does iron rust\n\nPassage: "
WORDS = "river sand glacier valley owl night bread yeast iron rain vitamin kettle harbour engine paper stone".split()
ROOT = Path(__file__).parents[2]


def requests(round_: int) -> list[Request]:
    """Prompts of skewed lengths (log-normal: half below 30 words, a few of hundreds), new in each round."""
    rng = np.random.default_rng(round_)
    lengths = np.minimum(rng.lognormal(3.4, 0.9, PARTS * PROMPTS), 500).astype(int) + 1
    texts = [" ".join(rng.choice(WORDS, n)) for n in lengths]
    return [Request(f"{INSTRUCTION}{t}.\nQuery:", seed=int(i)) for i, t in enumerate(texts)]


def ours(folder: str) -> float:
    """Seconds that our back end takes, part by part, two at a time, each answer written as it is told."""
    from operators.engines.vllm_llm import load_vllm

    llm = load_vllm(ModelEntry(kind="llm", backend="vllm", model=folder, dtype="bfloat16", max_tokens=WINDOW, serving=Serving(options=OPTIONS)))
    llm.complete(requests(99)[:4], SAMPLING)
    asked = requests(int(os.environ["ROUND"]))
    parts = iter([asked[i : i + PROMPTS] for i in range(0, len(asked), PROMPTS)])
    lock, done = threading.Lock(), []

    def feed() -> None:
        while True:
            with lock:
                part = next(parts, None)
            if part is None:
                return
            with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:

                def finished(i: int, answer: Answer, part: list[Request] = part, file=file) -> None:
                    file.write(json.dumps([part[i].row, part[i].seed, answer.text, answer.finish, answer.tokens_in, answer.tokens_out]) + "\n")
                    file.flush()

                done.extend(llm.complete(part, SAMPLING, finished))

    threads = [threading.Thread(target=feed) for _ in range(FEEDERS)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    assert len(done) == PARTS * PROMPTS
    assert not any(a.fault for a in done)
    llm.close()
    return seconds


def theirs(folder: str) -> float:
    """Seconds that `LLM.generate` takes with all prompts at once."""
    from vllm import LLM, SamplingParams

    engine = LLM(folder, dtype="bfloat16", max_model_len=WINDOW, enable_prefix_caching=True, **OPTIONS)

    def params(request: Request) -> SamplingParams:
        return SamplingParams(max_tokens=TOKENS, temperature=SAMPLING.temperature, top_p=SAMPLING.top_p, stop=list(SAMPLING.stop), seed=request.seed)

    warm, asked = requests(99)[:4], requests(int(os.environ["ROUND"]))
    engine.generate([r.prompt for r in warm], [params(r) for r in warm], use_tqdm=False)
    start = time.monotonic()
    done = engine.generate([r.prompt for r in asked], [params(r) for r in asked], use_tqdm=False)
    seconds = time.monotonic() - start
    assert len(done) == len(asked)
    return seconds


def rows() -> list[dict]:
    """One row a side: requests per second of each turn, their median, and the ratio of the medians."""
    from tests.vllm.conftest import save_smollm2

    folder = os.environ.get("PITHEAD_SMOLLM2") or str(save_smollm2(Path(tempfile.mkdtemp(prefix="pithead-smollm2-"))))
    rates: dict[str, list[float]] = {"pithead": [], "LLM.generate": []}
    for turn in range(TURNS):
        for side, name in (("pithead", "ours"), ("LLM.generate", "theirs")):
            environment = {**os.environ, "ROUND": str(turn), "VLLM_LOGGING_LEVEL": "ERROR"}
            command = [sys.executable, "-m", "tests.bench.vllm_throughput", name, folder]
            ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
            if ran.returncode:
                raise RuntimeError(ran.stderr[-2000:])
            seconds = float(ran.stdout.split("SECONDS")[-1])
            rates[side].append(PARTS * PROMPTS / seconds)
            print(f"turn {turn} {side}: {rates[side][-1]:.2f} requests/s", file=sys.stderr, flush=True)
    medians = {side: statistics.median(found) for side, found in rates.items()}
    return [
        {"engine": "vllm", "side": side, "parts": PARTS, "prompts": PROMPTS, "tokens": TOKENS, "requests_per_s": round(medians[side], 2),
         "turns": " ".join(f"{r:.2f}" for r in found), "ratio": round(medians[side] / medians["LLM.generate"], 3)}
        for side, found in rates.items()
    ]  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print("SECONDS", {"ours": ours, "theirs": theirs}[sys.argv[1]](sys.argv[2]))
    else:
        for row in rows():
            print(row)
