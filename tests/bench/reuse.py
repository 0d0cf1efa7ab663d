"""1 % of the documents change: what the engines' own counters say was computed again."""

import json
import shutil
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from tests.bench.harness import data, pithead, save


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="pithead-bench-"))
    table = pq.read_table(data() / "scifact" / "corpus.parquet").slice(0, 2000)
    docs, rows = table.to_pylist(), []
    for name, changed in (("first", 0), ("1 % changed", 20), ("nothing changed", 20)):
        for doc in docs[:changed]:
            doc["text"] += " An added sentence changes this abstract."
        if name != "nothing changed":
            (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in docs))
        answer, seconds, mib = pithead(
            "run", "quickstart", "--store", str(folder / "store"), "--until", "scored", "--set", f"corpus.path={folder}/corpus.jsonl",
            "--set", "corpus.format=jsonl", "--set", "chosen.share=0.02",
        )  # fmt: skip
        ran = [f for f in answer["funnel"] if not f["stored"]]
        for f in ran:
            for engine, count in f["counters"].items():
                if engine in ("llm_requests", "encoder_texts", "teacher_pairs"):
                    rows.append({"run": name, "step": f["step"], "engine": engine, "count": count, "rows": f["rows_out"]})
        rows.append({"run": name, "step": "all", "seconds": seconds, "anon_mib": mib, "rows": len(ran)})
    shutil.rmtree(folder)
    save("reuse", rows)


if __name__ == "__main__":
    main()
