"""Requests per second through our vLLM back end beside vLLM's own `LLM.generate`, on the same prompts.

In turn A B A B: two processes with an engine each, of which one works and one waits. A turn has new
prompts, the same for both. Ours answers part by part: two threads feed parts, each answer goes to a file.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from operators.engines.llm import Answer, Request, Sampling
from operators.engines.models import ModelEntry, Serving

# 250 prompts a part where there is a GPU. Two cores answer four a second, so parts and batches are 16 times smaller there.
PARTS, PROMPTS = int(os.environ.get("PARTS", "8")), int(os.environ.get("PROMPTS", "16"))
TURNS, TOKENS, FEEDERS = int(os.environ.get("TURNS", "5")), int(os.environ.get("TOKENS", "16")), 2
WINDOW = 1024
SAMPLING = Sampling(max_tokens=TOKENS, temperature=0.8, top_p=0.95, stop=("\n\n\n",))
# Both sides alike. Prompts are read whole because seeded ones read in pieces end vLLM 0.32's engine on a CPU.
OPTIONS = {"enforce_eager": True, "kv_cache_memory_bytes": 2 << 30, "enable_chunked_prefill": False, "max_num_batched_tokens": 4096}
OPTIONS["max_num_seqs"] = max(4, 256 * PROMPTS // 250)  # vLLM's 256 beside parts of 250
INSTRUCTION = "Write one search query that the passage answers.\n\nPassage: Iron rusts in rain.\nQuery: why does iron rust\n\nPassage: "
WORDS = ["river", "sand", "glacier", "valley", "owl", "night", "bread", "yeast", "iron", "rain", "vitamin", "kettle", "harbour", "engine", "paper", "stone"]
ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("PITHEAD_VLLM_PYTHON") or next((str(p) for p in [ROOT / ".venv-vllm/bin/python"] if p.exists()), sys.executable)
Turn = Callable[[list[Request]], float]


def requests(round_: int) -> list[Request]:
    """Prompts of skewed lengths (log-normal: half below 30 words, a few of hundreds), new in each round."""
    rng = np.random.default_rng(round_)
    lengths = np.minimum(rng.lognormal(3.4, 0.9, PARTS * PROMPTS), 500).astype(int) + 1
    texts = [" ".join(rng.choice(WORDS, n)) for n in lengths]
    return [Request(f"{INSTRUCTION}{t}.\nQuery:", seed=int(i)) for i, t in enumerate(texts)]


def ours(folder: str) -> Turn:
    """Our back end: seconds that it takes part by part, two at a time, each answer written as it is told."""
    from operators.engines.vllm_llm import load_vllm

    llm = load_vllm(ModelEntry(kind="llm", backend="vllm", model=folder, dtype="bfloat16", max_tokens=WINDOW, serving=Serving(options=OPTIONS)))

    def complete(part: list[Request]) -> list[Answer]:
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:

            def finished(i: int, answer: Answer) -> None:
                row = [part[i].row, part[i].seed, answer.text, answer.finish, answer.tokens_in, answer.tokens_out]
                file.write(json.dumps(row) + "\n")
                file.flush()

            return llm.complete(part, SAMPLING, finished)

    def turn(asked: list[Request]) -> float:
        parts = [asked[i : i + PROMPTS] for i in range(0, len(asked), PROMPTS)]
        with ThreadPoolExecutor(FEEDERS) as feeders:
            start = time.monotonic()
            done = [a for answers in feeders.map(complete, parts) for a in answers]
            seconds = time.monotonic() - start
        assert len(done) == len(asked)
        assert not any(a.fault for a in done)
        return seconds

    return turn


def theirs(folder: str) -> Turn:
    """vLLM alone: seconds that `LLM.generate` takes with all prompts at once."""
    from vllm import LLM, SamplingParams

    engine = LLM(folder, dtype="bfloat16", max_model_len=WINDOW, enable_prefix_caching=True, **OPTIONS)

    def turn(asked: list[Request]) -> float:
        given = {"max_tokens": TOKENS, "temperature": SAMPLING.temperature, "top_p": SAMPLING.top_p, "stop": list(SAMPLING.stop)}
        start = time.monotonic()
        done = engine.generate([r.prompt for r in asked], [SamplingParams(seed=r.seed, **given) for r in asked], use_tqdm=False)
        seconds = time.monotonic() - start
        assert len(done) == len(asked)
        return seconds

    return turn


SIDES = {"pithead": ours, "LLM.generate": theirs}


def serve(side: str, folder: str) -> None:
    """Print the seconds of every turn that a line of input names."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    turn = SIDES[side](folder)
    turn(requests(99)[:8])
    for line in sys.stdin:
        print(turn(requests(int(line))), file=replies, flush=True)


def _ask(process: "subprocess.Popen[str]", turn: int) -> float:
    process.stdin.write(f"{turn}\n")
    process.stdin.flush()
    return PARTS * PROMPTS / float(process.stdout.readline())


def rows() -> list[dict]:
    """One row a side: requests per second of each turn, their median, and the ratio of the medians."""
    from tests.vllm.conftest import save_smollm2

    folder = os.environ.get("PITHEAD_SMOLLM2") or str(save_smollm2(Path(tempfile.mkdtemp(prefix="pithead-smollm2-"))))
    command = [PYTHON, "-m", "tests.bench.vllm_throughput"]
    given = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with contextlib.ExitStack() as stack:
        running = {}
        for side in SIDES:
            process = subprocess.Popen([*command, side, folder], cwd=ROOT, env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            running[side] = stack.enter_context(process)
        rates: dict[str, list[float]] = {side: [] for side in SIDES}
        for turn in range(TURNS):
            for side, process in running.items():
                rates[side].append(_ask(process, turn))
                print(f"turn {turn} {side}: {rates[side][-1]:.2f} requests/s", file=sys.stderr, flush=True)
    medians = {side: statistics.median(found) for side, found in rates.items()}
    return [
        {"engine": "vllm", "side": side, "parts": PARTS, "prompts": PROMPTS, "tokens": TOKENS, "requests_per_s": round(medians[side], 2),
         "turns": " ".join(f"{r:.2f}" for r in found), "ratio": round(medians[side] / medians["LLM.generate"], 3)}
        for side, found in rates.items()
    ]  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(*sys.argv[1:])
    else:
        for row in rows():
            print(row)
