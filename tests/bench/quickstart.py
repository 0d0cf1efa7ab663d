"""The quickstart, cold, again, and with another weight of the risk: seconds, memory, model calls."""

import shutil
import tempfile

from tests.bench.harness import pithead, save

CALLS = ("llm_requests", "encoder_texts", "teacher_pairs")


def main() -> None:
    store = tempfile.mkdtemp(prefix="pithead-bench-")
    rows = []
    runs = {"cold": [], "again": [], "risk_weight 0.3": ["--set", "negatives.risk_weight=0.3"]}
    for name, change in runs.items():
        answer, seconds, mib = pithead("run", "quickstart", "--store", store, *change)
        ran = [f for f in answer["funnel"] if not f["stored"]]
        counts = {c: sum(f["counters"].get(c, 0) for f in ran) for c in CALLS}
        rows.append({"run": name, "seconds": seconds, "anon_mib": mib, "steps_run": answer["made"], **counts,
                     "rows": answer["funnel"][-1]["rows_out"]})  # fmt: skip
        if name == "cold":
            rows += [{"run": "cold: " + f["step"], "seconds": f["seconds"], "rows": f["rows_out"]} for f in answer["funnel"]]
    shutil.rmtree(store)
    save("quickstart", rows)


if __name__ == "__main__":
    main()
