"""Three hundred SciFact passages through the whole flow: yield by step and by type, and twenty rows to read."""

import tempfile
from pathlib import Path

import pyarrow.dataset as ds

from cluster.store import Store
from cluster.task import parts_of
from tests.bench.harness import data, pithead, save

STORE = f"{tempfile.gettempdir()}/pithead-scifact"  # kept: its rows are to be read


def main() -> None:
    answer, seconds, mib = pithead(
        "run", "quickstart", "--store", STORE, "--set", f"corpus.path={data()}/scifact/corpus.parquet", "--set", "corpus.format=parquet",
        "--set", "corpus.source=scifact", "--set", "corpus.licence=CC-BY-NC-2.0", "--set", "chosen.share=0.0231",
    )  # fmt: skip
    rows = [{"step": "all", "seconds": seconds, "anon_mib": mib}]
    rows += [{"step": f["step"], "rows_in": f["rows_in"], "rows": f["rows_out"], "rejected": f["rejected"]} for f in answer["funnel"]]
    for step in ("queries", "clean", "consistent", "negatives"):
        home = next(f["home"] for f in answer["funnel"] if f["step"] == step)
        parts = [f"{STORE}/{p['file']}" for p in parts_of(Store(STORE), [home])]
        types = ds.dataset(parts).to_table(columns=["query_type"]).group_by("query_type").aggregate([([], "count_all")])
        rows += [{"step": step, "query_type": t["query_type"], "rows": t["count_all"]} for t in types.to_pylist()]
    save("scifact", rows)
    table = ds.dataset(sorted(map(str, Path(STORE, answer["published"]).glob("train-*.parquet")))).to_table()
    for row in table.sort_by("query_id").slice(0, 20).to_pylist():
        print(row["query_type"], "|", row["query"], "\n   +", row["positives"][0][:300].replace("\n", " / "), "\n   -", row["negatives"][0][:160].replace("\n", " / "))


if __name__ == "__main__":
    main()
