"""Approximate search at a million documents: recall against seconds by the number of lists that are searched.

Vectors of the static encoder, 20,000 queries, top 100, exact search beside it in the same run. `KEEP=folder` keeps the
collection and its store, and takes over those of `mining`'s run `million`.
"""

import os
import shutil
import tempfile
from pathlib import Path

from tests.bench.harness import save, watched
from tests.bench.mining import FLOW, RUNS, collection

# `again` writes a column of its own name, so that it runs beside the others even where `dense` is stored.
LISTS, PROBES = 1024, (4, 8, 16, 32, 64)
STEPS = f"""
  centroids: {{op: fit_clusters, from: vectors, with: {{clusters: {LISTS}, key: passage_id, redo: 1}}}}
  listed:    {{op: assign_clusters, from: vectors, using: {{centroids: centroids}}}}
  again:     {{op: retrieve_dense, from: asked, against: vectors, with: {{top_k: 100, scores: exact_scores}}}}
  found:
    op: retrieve_ivf
    from: asked
    against: listed
    using: {{centroids: centroids}}
    with: {{top_k: 100, probes: 4, sample: 0.02, min_recall: 0}}
"""


def main() -> None:
    home = Path(os.environ.get("KEEP") or tempfile.mkdtemp(prefix="pithead-bench-"))
    corpus, encoder, documents, queries = RUNS["million"]
    if not (home / "corpus.parquet").exists():
        collection(corpus, documents, queries, home)
    vectors = FLOW[: FLOW.index("  dense:")].replace("ENCODER", encoder)
    (home / "flow.yaml").write_text(vectors + STEPS)
    rows = []
    for probes in PROBES:
        sets = ["--set", f"found.probes={probes}"]
        answer, _, peak = watched("run", str(home / "flow.yaml"), "--store", str(home / "store"), *sets)
        assert answer["status"] == 0, answer
        step = {f["step"]: f for f in answer["funnel"]}
        if probes == PROBES[0]:
            rows.append({"search": "exact", "documents": documents, "queries": queries, "seconds": step["again"]["seconds"], "recall_at_100": 1.0})
            for what, name in ((f"fit {LISTS} centroids", "centroids"), (f"assign to {LISTS} lists", "listed")):
                if not step[name]["stored"]:  # of a kept store
                    rows.append({"search": what, "documents": documents, "seconds": step[name]["seconds"]})
        told = step["found"]["measured"]
        rows.append({"search": f"{probes} of {LISTS} lists", "documents": documents, "queries": queries, "seconds": step["found"]["seconds"],
                     "recall_at_100": round(told["exact_found"] / told["exact"], 4), "sampled_queries": told["sampled_queries"],
                     "anon_mib": peak.mib})  # fmt: skip
        save("ann", rows)
    if "KEEP" not in os.environ:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
