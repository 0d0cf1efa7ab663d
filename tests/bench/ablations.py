"""What each choice of a training set is worth: students trained on structural pairs of a collection, on its judged queries.

`make bench BENCH=ablations` runs the static student on vaswani and cisi, which choose. STUDENT=minilm, ON=cranfield,scifact,jaquad,
ARMS=infonce,listwise, SEEDS=3, ROWS=2000 and HOW='learning_rate=2e-5 negatives=8', before an arm's own, say otherwise. KEEP=FOLDER keeps the
store, so that a run that was cut off goes on and another arm costs only itself.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench
from flows.collection import Collection, collection_of
from flows.evaluate import artifact, composed
from flows.progress import Progress
from flows.run import run
from operators.compare_arms import Comparison
from operators.engines.processor import flags
from operators.measure_contamination import FOUND, Contamination
from tests.bench.ablation_flow import Arm, arms, flow_steps
from tests.bench.harness import RESULTS, data, save, stored

FILES = {"cranfield": "cranfield/qrels_with_source.parquet"}  # its qrels.parquet scores the source paper of a query 0
HOW: dict[str, dict[str, Any]] = {
    "static": {"epochs": 3},
    "minilm-bfloat16": {"dtype": "bfloat16"},
    "minilm": {},
}
ENCODERS = {"minilm": "minilm-bfloat16"} if "amx_bf16" in flags() else {}  # the same weights, there three times as fast


def one(c: Collection, student: str, chosen: list[Arm], bench: Bench) -> list[dict[str, Any]]:
    """The rows of a collection and a student."""
    encoder = ENCODERS.get(student, student)
    how = HOW.get(encoder, {}) | {k: yaml.safe_load(v) for k, _, v in (x.partition("=") for x in os.environ.get("HOW", "").split())}
    seeds, rows = int(os.environ.get("SEEDS", "3")), int(os.environ.get("ROWS", "2000"))
    kept = 1
    if any(arm.rows == "matched" for arm in chosen):
        first = run(composed(flow_steps(c, encoder, [], seeds, (rows, 1, how)), "ablations"), bench, until="consistent", latest=False)
        kept = first.funnel[-1]["rows_out"]
    flow = composed(flow_steps(c, encoder, chosen, seeds, (rows, kept, how)), "ablations")
    ran = run(flow, bench, latest=False)
    sizes = {f["step"]: f["rows_out"] for f in ran.funnel}
    of = {arm.name: sizes[arm.rows] for arm in chosen}
    found = artifact(flow, bench.store, "found", Contamination).counts
    told = artifact(flow, bench.store, "comparison", Comparison).rows
    more = {"judged_in_pairs": sum(v[FOUND] for v in found.values()), **({"how": how} if how else {})}
    return [{"collection": c.name, "student": student, **row, "rows": of.get(row["arm"], 0), **more} for row in told]


def main() -> None:
    """Run what is asked for; rows of other students, collections and arms stay in the results."""
    wanted = os.environ.get("ARMS", "")
    chosen = [arm for arm in arms() if not wanted or arm.name in wanted.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(str(Path(os.environ.get("KEEP", scratch)).absolute()))
        engine, progress = LocalEngine(int(os.environ.get("WORKERS", "2"))), Progress()
        try:
            for student in os.environ.get("STUDENT", "static").split(","):
                for name in os.environ.get("ON", "vaswani,cisi").split(","):
                    bench = Bench(store, engine, 4, progress, every=30.0)
                    made = one(collection_of(str(data() / FILES.get(name, name))), student, chosen, bench)
                    mine = {(r["collection"], r["student"], r["arm"], r.get("versus")) for r in made}
                    rest = [r for r in stored("ablations") if (r["collection"], r["student"], r["arm"], r.get("versus")) not in mine]
                    save("ablations", [*rest, *made])
                    write_table(stored("ablations"))
        finally:
            engine.close()


def write_table(rows: list[dict[str, Any]]) -> None:
    """The table of RESULTS.md, between its marks."""
    path = RESULTS.parent / "RESULTS.md"
    start, end = "<!-- ablations -->\n", "<!-- /ablations -->\n"
    said = path.read_text(encoding="utf-8") if path.exists() else f"# Results\n\n{start}{end}"
    keys = ("collection", "student", "arm", "rows", "seeds", "ndcg10", "versus", "gain", "low", "high", "p", "p_corrected", "detectable")
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(_told(row.get(k, "")) for k in keys) + " |" for row in rows]
    before, _, rest = said.partition(start)
    _, _, after = rest.partition(end)
    path.write_text(before + start + "\n".join(lines) + "\n" + end + after, encoding="utf-8")


def _told(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
