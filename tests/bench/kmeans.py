"""Clusters beside faiss and scikit-learn on the same vectors: seconds, memory, and the objective over all of them.

110,308 documents of debian_docs_en by the static encoder; 500,000 are these, repeated with noise and made unit vectors again.
`ROWS=110000,500000`, `CLUSTERS=100`, `TOOLS=pithead,faiss,…`, `VECTORS=file.npy` takes over vectors that were encoded before.

Every tool's centroids are made unit vectors and judged alike: `cosine` is the mean of each row with its nearest one, `inertia`
the mean squared distance to the mean of the rows that are nearest to the same one. `balanced` caps clusters at 1.25 times
the mean. Each runs in a process of its own; `mib` is its anonymous memory: pithead reads the vectors part by part, the peers hold them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.columns import content_ids
from operators.engines import load_model
from operators.engines.models import read_entries
from tests.bench.harness import ROOT, Peak, data, save, stored

PART = 20_000
TOOLS = ("pithead", "pithead redo 1", "faiss", "scikit-learn", "balanced")


def encoded() -> Path:
    """The vectors of the collection, (110308, 384) float32."""
    if "VECTORS" in os.environ:
        return Path(os.environ["VECTORS"])
    encoder = load_model("encoder", read_entries(ROOT / "configs" / "models.yaml")["static"])
    table = pq.read_table(data() / "debian_docs_en" / "corpus.parquet")
    said = [f"{title} {text[:600]}" for title, text in zip(table["title"].to_pylist(), table["text"].to_pylist(), strict=True)]
    path = Path(tempfile.mkdtemp(prefix="pithead-bench-")) / "vectors.npy"
    np.save(path, encoder.encode(said, "passage"))
    return path


def grown(path: Path, rows: int, home: Path) -> Path:
    """So many vectors: those there are, then these with noise of a tenth of their length."""
    known, rng = np.load(path, mmap_mode="r"), np.random.default_rng(0)
    out = np.lib.format.open_memmap(home / f"{rows}.npy", "w+", np.float32, (rows, known.shape[1]))
    for start in range(0, rows, PART):
        at = np.arange(start, min(start + PART, rows))
        part = known[at % len(known)]
        fresh = at >= len(known)
        part[fresh] += rng.normal(size=(int(fresh.sum()), known.shape[1])).astype(np.float32) * (0.1 / known.shape[1] ** 0.5)
        out[at] = part / np.linalg.norm(part, axis=1, keepdims=True)
    out.flush()
    return home / f"{rows}.npy"


def fold(op: Any, vectors: Any) -> Any:
    """Feed the rows, a part at a time, to a build."""
    for start in range(0, len(vectors), PART):
        part = np.asarray(vectors[start : start + PART])
        flat = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), part.shape[1]).cast(pa.list_(pa.float32()))
        op.add(pa.table({"query_id": content_ids([str(i) for i in range(start, start + len(part))]), "vector": flat}), 0)
    return op.finish()


def fitted(tool: str, path: Path, clusters: int, home: Path) -> dict[str, Any]:
    """Run one tool and leave its centroids in ``home``."""
    from operators.balance_clusters import BalanceClusters, balance_clusters, measure_balance
    from operators.centroids import Centroids
    from operators.fit_clusters import FitClusters, fit_clusters

    vectors = np.load(path, mmap_mode="r")
    told: dict[str, Any] = {}
    start = time.monotonic()
    if tool == "balanced":
        made = fold(balance_clusters(BalanceClusters(), centroids=Centroids(np.load(home / "pithead.npy"))), vectors)
        told = measure_balance(made, BalanceClusters())
        told = {"most": told["rows in the largest"], "moved": told["not in the nearest"], "cosine": round(1 - told["inertia per mille"] / 2000, 4)}
    elif tool.startswith("pithead"):
        told = {tool.split()[1]: int(tool.split()[2])} if " " in tool else {}  # as in `pithead redo 1`
        p = FitClusters(clusters=clusters, **told)
        found = fold(fit_clusters(p), vectors).matrix
    elif tool == "faiss":
        import faiss

        kmeans = faiss.Kmeans(
            vectors.shape[1], clusters, niter=25, nredo=1, spherical=True, seed=42, max_points_per_centroid=len(vectors)
        )
        kmeans.train(np.array(vectors))
        found = kmeans.centroids
    else:
        from sklearn.cluster import KMeans

        found = KMeans(clusters, n_init=1, random_state=42).fit(np.array(vectors)).cluster_centers_
    seconds = round(time.monotonic() - start, 1)
    if tool != "balanced":
        np.save(home / f"{tool}.npy", found / np.linalg.norm(found, axis=1, keepdims=True))
    return {"seconds": seconds, **(told if tool == "balanced" else {})}


def judged(path: Path, matrix: Any) -> dict[str, float | int]:
    """Both objectives of these unit centroids, over every row."""
    vectors, sums, sizes = np.load(path, mmap_mode="r"), np.zeros(matrix.shape), np.zeros(len(matrix), np.int64)
    near = 0.0
    for start in range(0, len(vectors), PART):
        part = np.asarray(vectors[start : start + PART])
        scores = part @ matrix.astype(np.float32).T
        labels = scores.argmax(axis=1)
        near += float(scores.max(axis=1).sum(dtype=np.float64))
        np.add.at(sums, labels, part)
        sizes += np.bincount(labels, minlength=len(matrix))
    means = (sums**2).sum(axis=1) / np.maximum(sizes, 1)  # of unit rows: Σ |x − m|² = N − Σ |Σ x|² / n
    return {"cosine": round(near / len(vectors), 4), "inertia": round(1 - float(means.sum()) / len(vectors), 4), "most": int(sizes.max())}


def main() -> None:
    if len(sys.argv) > 1:
        tool, path, clusters, home = sys.argv[1:]
        print(json.dumps(fitted(tool, Path(path), int(clusters), Path(home))))
        return
    known, clusters = encoded(), int(os.environ.get("CLUSTERS", 100))
    sizes = [int(n) for n in os.environ.get("ROWS", "110000,500000").split(",")]
    tools = os.environ.get("TOOLS", ",".join(TOOLS)).split(",")
    rows = [r for r in stored("kmeans") if not (r["rows"] in sizes and r["clusters"] == clusters and r["tool"] in tools)]
    with tempfile.TemporaryDirectory(prefix="pithead-bench-") as folder:
        for size in sizes:
            path = grown(known, size, Path(folder))
            for tool in tools:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.bench.kmeans", tool, str(path), str(clusters), folder],
                    cwd=ROOT, stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
                peak = Peak(process.pid)
                peak.start()
                out, _ = process.communicate()
                peak.over = True
                told = json.loads(out.strip().splitlines()[-1])
                if tool != "balanced":
                    told |= judged(path, np.load(Path(folder) / f"{tool}.npy"))
                rows.append({"rows": size, "clusters": clusters, "tool": tool, **told, "mib": peak.mib})
                save("kmeans", sorted(rows, key=lambda r: (r["rows"], r["clusters"])))


if __name__ == "__main__":
    main()
