"""Requests per second against one loopback server that takes 50 ms for each answer: ours, distilabel's, Ray's HTTP processor.

Peers run in interpreters of their own, named by DISTILABEL_PYTHON (`pip install "distilabel[openai]==1.5.3" requests`) and RAY_PYTHON
(this one's, where it is not set); a peer that is missing is left out, with the reason. Part of BENCH=generation.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUESTS, CONCURRENCY, LATENCY, ROUNDS = 2000, 64, 0.05, 3
PROMPT = "Text: passage number {} speaks of owls, rivers and bread.\nSearch query:"

# Each script reads URL, REQUESTS and CONCURRENCY and prints the seconds of the requests alone and the answers that came.
DISTILABEL = """
import sys, time, warnings, logging
warnings.simplefilter("ignore")
url, count, wide = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
from distilabel.models import OpenAILLM
llm = OpenAILLM(model="m", base_url=url, api_key="none", generation_kwargs={"max_new_tokens": 32})
llm.load()
asked = [[{"role": "user", "content": %(prompt)r.format(i)}] for i in range(-wide, count)]
llm.generate_outputs(asked[:wide], max_new_tokens=32)  # connections and imports
start, found = time.perf_counter(), 0
for i in range(wide, len(asked), wide):  # distilabel sends a batch (Task.input_batch_size) and waits for all of it
    found += sum(bool(o["generations"][0]) for o in llm.generate_outputs(asked[i : i + wide], max_new_tokens=32))
print("SECONDS", time.perf_counter() - start, found)
"""
RAY = """
import os, sys, time
os.environ["RAY_DEDUP_LOGS"] = "0"
url, count, wide = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
import ray
from ray.data.llm import HttpRequestProcessorConfig, build_processor
ray.init(num_cpus=8, logging_level="error", include_dashboard=False, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
prompt = %(prompt)r
# A batch is sent one request after the other ("sequentially" in its own words) and an actor holds four: 16 actors make 64.
def processor():
    return build_processor(
        HttpRequestProcessorConfig(url=url + "/chat/completions", batch_size=32, concurrency=wide // 4, http_request_stage={"num_cpus": 0.1}),
        preprocess=lambda row: {"payload": {"model": "m", "max_tokens": 32, "messages": [{"role": "user", "content": prompt.format(row["id"])}]}},
        postprocess=lambda row: {"text": row["http_response"]["choices"][0]["message"]["content"]},
    )
def run(rows):
    return sum(bool(r["text"]) for r in processor()(ray.data.range(rows, override_num_blocks=rows // 32)).take_all())
run(wide)
start = time.perf_counter()
found = run(count)
print("SECONDS", time.perf_counter() - start, found)
"""


OURS = """
import sys, time
from operators.engines.endpoint import load_endpoint
from operators.engines.llm import Request, Sampling
from operators.engines.models import ModelEntry, Serving
url, count, wide = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
llm = load_endpoint(ModelEntry(kind="llm", backend="openai", model="m", dtype="", serving=Serving(endpoint=url, concurrency=wide)))
asked = [Request(%(prompt)r.format(i), i, chat=True) for i in range(-wide, count)]
llm.complete(asked[:wide], Sampling(32))
start = time.perf_counter()
found = sum(bool(a.text) for a in llm.complete(asked[wide:], Sampling(32)))
print("SECONDS", time.perf_counter() - start, found)
"""


def timed(python: str, script: str, url: str) -> tuple[float, int] | str:
    """Seconds of the requests and answers that came; or why there are none."""
    command = [python, "-c", script.replace("%(prompt)r", repr(PROMPT)), url, str(REQUESTS), str(CONCURRENCY)]
    try:
        out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error).splitlines()[0]
    line = next((text.split() for text in out.stdout.splitlines() if text.startswith("SECONDS")), None)
    return (float(line[1]), int(line[2])) if line else (out.stderr.strip().splitlines() or ["no output"])[-1][:200]


def steady(url: str) -> float:
    """Requests per second between the first and the last tenth, by the server's clock: start-up is left out."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/times") as reply:
        times = sorted(json.load(reply)[-REQUESTS:])
    return 0.8 * REQUESTS / (times[REQUESTS * 9 // 10 - 1] - times[REQUESTS // 10 - 1])


def peers() -> dict[str, tuple[str, str, str]]:
    """Name: interpreter, script, and why it cannot run (empty where it can)."""
    distilabel, ray = os.environ.get("DISTILABEL_PYTHON", ""), os.environ.get("RAY_PYTHON", sys.executable)
    no_ray = "" if "RAY_PYTHON" in os.environ or importlib.util.find_spec("ray") else "set RAY_PYTHON to an interpreter with ray[data,llm]"
    no_distilabel = "" if distilabel else "set DISTILABEL_PYTHON to an interpreter with distilabel[openai]==1.5.3 and requests"
    return {
        "pithead": (sys.executable, OURS, ""),
        "distilabel OpenAILLM, batches of 64": (distilabel, DISTILABEL, no_distilabel),
        "ray HttpRequestProcessor, 16 actors": (ray, RAY, no_ray),
    }


def rows() -> list[dict]:
    """One row a client: the median of the rounds, in which the clients take turns at the same server process.

    `requests_per_s` is of the middle of a run, `with_start_up` of all of it (Ray starts its actors in it).
    """
    command = [sys.executable, "-m", "tests.operators.engines.openai_server", "--latency", str(LATENCY)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    url = server.stdout.readline().strip()
    seconds: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    notes: dict[str, str] = {}
    try:
        for _ in range(ROUNDS):
            for name, (python, script, missing) in peers().items():
                found = missing or timed(python, script, url)
                if isinstance(found, str):
                    notes[name] = f"left out: {found}"
                else:
                    seconds.setdefault(name, []).append(found[0])
                    rates.setdefault(name, []).append(steady(url))
                    notes[name] = "" if found[1] == REQUESTS else f"{REQUESTS - found[1]} rows without an answer"
    finally:
        server.terminate()
        server.wait()
    base = {"requests": REQUESTS, "concurrency": CONCURRENCY, "latency_ms": int(LATENCY * 1000)}
    return [
        {"client": name, **base, "requests_per_s": round(statistics.median(rates[name])) if name in rates else "",
         "rounds": " ".join(f"{rate:.0f}" for rate in rates.get(name, [])),
         "with_start_up": round(REQUESTS / statistics.median(seconds[name])) if name in seconds else "", "note": note}
        for name, note in notes.items()
    ]  # fmt: skip


def main() -> None:
    start = time.monotonic()
    found = rows()
    for row in found:
        print("  ".join(f"{key}={value}" for key, value in row.items()))
    print(f"ceiling {CONCURRENCY / LATENCY:.0f} requests/s; {time.monotonic() - start:.0f} s in all")


if __name__ == "__main__":
    main()
