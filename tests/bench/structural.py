"""structural.yaml on real corpora, one of them at three sizes: seconds and anonymous memory, by step."""

import json
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from tests.bench.harness import Peak, data, save, watched

RUNS = [("debian_pkgdesc_en", 1), ("debian_docs_en", 0.25), ("debian_docs_en", 0.5), ("debian_docs_en", 1)]


def main() -> None:
    rows = []
    for corpus, share in RUNS:
        home = Path(tempfile.mkdtemp(prefix="pithead-bench-"))
        table = pq.read_table(data() / corpus / "corpus.parquet")
        pq.write_table(table.slice(0, int(share * len(table))), home / "corpus.parquet")
        answer, seconds, peak = watched("run", "structural", "--store", str(home / "store"), "--set", f"corpus.path={home}/corpus.parquet",
                                        "--set", "corpus.format=parquet", "--set", f"corpus.source={corpus}")  # fmt: skip
        funnel, base = answer["funnel"], {"corpus": corpus, "documents": answer["funnel"][0]["rows_in"]}
        rows.append({**base, "step": "all", "rows": funnel[-1]["rows_out"], "seconds": seconds, "anon_mib": peak.mib})
        rows += [{**base, "step": f["step"], "rows": f["rows_out"], "seconds": f["seconds"], **held(peak, home / "store" / f["home"])} for f in funnel]
        shutil.rmtree(home)
    save("structural", rows)


def held(peak: Peak, home: Path) -> dict[str, int]:
    """The most that the driver and its workers held while the step ran, by its own provenance."""
    said = json.loads((home / "run.json").read_text())
    start = datetime.fromisoformat(said["started"]).timestamp()
    driver, workers = peak.within(start, start + said["seconds"])
    return {"driver_mib": driver, "workers_mib": workers}


if __name__ == "__main__":
    main()
