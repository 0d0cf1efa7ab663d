"""A cost model of mining, fitted to what this machine does, told for 1M to 100M documents on 1 and 8 GPUs.

Work is counted (products of an encoder and a search, tokens of a teacher, bytes read), rates are measured here on the CPU;
a GPU's are stated, not measured: a third of an H100's dense bfloat16 peak, a fifth of it where float32 products are asked.
"""

import json
import time
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from operators.engines import load_model, packaged
from operators.engines.search import Pool
from tests.bench.harness import RESULTS, data, save

PASSAGE_TOKENS, QUERY_TOKENS, DIMS, TOP, RANGE = 200, 20, 384, 100, 1 << 16
TEACHER_CANDIDATES = 20
BODY = 10.6e6  # MiniLM-L6's parameters without its word table; 2 products a parameter and token
GPU_HALF, GPU_FLOAT = 989e12 / 3, 67e12 / 2  # H100: products/s in bfloat16 and in float32, as far as one gets
GPU_BYTES = 2e9  # bytes/s that one node reads of its store


@dataclass(frozen=True)
class Rates:
    """What one device does in a second."""

    name: str
    encode: float  # products of an encoder
    search: float  # products of an exact search
    decide: float  # proposals scored in float64
    read: float  # bytes


def measured() -> Rates:
    """This machine, one thread."""
    encoder = load_model("encoder", packaged("encoder", "minilm"))
    texts = pq.read_table(data() / "debian_pkgdesc_en" / "corpus.parquet", columns=["text"])["text"].to_pylist()[:400]
    encoder.encode(texts[:20], "passage")
    start = time.process_time()
    encoder.encode(texts, "passage")
    spent = time.process_time() - start
    tokens = sum(len(encoder._tokens([t])[0][0]) for t in texts)  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    q, p = (rng.normal(size=(n, DIMS)).astype(np.float32) for n in (1024, RANGE))
    pool = Pool(p)
    pool.propose(q[:64], TOP, pool.rough(q))
    start = time.process_time()
    pool.propose(q, TOP, pool.rough(q))
    searched = time.process_time() - start
    from operators import topk

    rows, places = np.repeat(np.arange(1024), TOP + 16), rng.integers(RANGE, size=1024 * (TOP + 16))
    start = time.process_time()
    topk.exact(q, p, rows, places)
    return Rates("one core here", 2 * BODY * tokens / spent, 2 * 1024 * RANGE * DIMS / searched, 1024 * (TOP + 16) / (time.process_time() - start), 5e8)


def costs(documents: float, queries: float, of: Rates, devices: int) -> dict[str, float]:
    """Seconds of each phase on so many devices, and the bytes that they keep."""
    encode = 2 * BODY * (documents * PASSAGE_TOKENS + queries * QUERY_TOKENS) / of.encode
    ranges = max(documents / RANGE, 1)
    search = 2 * queries * documents * DIMS / of.search + queries * ranges * (TOP + 16) / of.decide
    blocks = max(queries / 20_000, 1)  # blocks of the left that read the right side again
    teacher = 2 * BODY * queries * TEACHER_CANDIDATES * (PASSAGE_TOKENS + QUERY_TOKENS) / of.encode
    read = documents * DIMS * 4 * blocks / of.read
    return {
        "encode_h": encode / devices / 3600, "search_h": search / devices / 3600, "teacher_h": teacher / devices / 3600,
        "read_h": read / devices / 3600, "vectors_gb": documents * DIMS * 4 / 1e9, "partials_gb": queries * ranges * TOP * 20 / 1e9,
    }  # fmt: skip


def breaks(documents: float, queries: float, of: Rates, devices: int) -> str:
    """What costs most, and what gives way first."""
    said = costs(documents, queries, of, devices)
    most = max(("encode_h", "search_h", "teacher_h", "read_h"), key=lambda k: said[k])
    told = [f"most: {most.removesuffix('_h')}"]
    if said["partials_gb"] > 1000:
        told.append("partials outgrow a disk: wider ranges")
    if documents * DIMS * 4 / devices > 80e9:
        told.append("vectors outgrow the GPUs: they are streamed")
    return "; ".join(told)


def main() -> None:
    here, rows = measured(), []
    rows.append({"device": here.name, "encode_gproducts_s": round(here.encode / 1e9, 1), "search_gproducts_s": round(here.search / 1e9, 1),
                 "decided_per_s": round(here.decide)})  # fmt: skip
    path = RESULTS / "mining.json"
    for r in json.loads(path.read_text())["rows"] if path.exists() else []:
        if r["tool"].startswith("pithead") and r["phase"] == "search" and r["seconds"]:
            said = costs(r["docs"], r["queries"], here, 2)["search_h"] * 3600
            rows.append({"device": "two cores here", "run": r["run"], "documents": r["docs"], "queries": r["queries"],
                         "search_s_predicted": round(said, 1), "search_s_measured": r["seconds"]})  # fmt: skip
    gpu = Rates("H100, stated", GPU_HALF, GPU_FLOAT, 5e8, GPU_BYTES)
    for documents in (1e6, 1e7, 1e8):
        for device, counts in ((here, (2, 64)), (gpu, (1, 8))):
            for devices in counts:
                said = {k: round(v, 2) for k, v in costs(documents, documents / 10, device, devices).items()}
                told = breaks(documents, documents / 10, device, devices)
                rows.append({"device": device.name, "devices": devices, "documents": int(documents), "queries": int(documents / 10), **said, "breaks": told})
    save("scale", rows)


if __name__ == "__main__":
    main()
