"""structural.yaml on two real corpora: seconds by step, anonymous memory of the process tree."""

import shutil
import tempfile

from tests.bench.harness import data, pithead, save


def main() -> None:
    rows = []
    for corpus in ("debian_pkgdesc_en", "debian_docs_en"):
        store = tempfile.mkdtemp(prefix="pithead-bench-")
        path = data() / corpus / "corpus.parquet"
        answer, seconds, mib = pithead("run", "structural", "--store", store, "--set", f"corpus.path={path}",
                                       "--set", "corpus.format=parquet", "--set", f"corpus.source={corpus}")  # fmt: skip
        rows.append({"corpus": corpus, "step": "all", "rows": answer["funnel"][-1]["rows_out"], "seconds": seconds, "anon_mib": mib})
        rows += [{"corpus": corpus, "step": f["step"], "rows": f["rows_out"], "seconds": f["seconds"]} for f in answer["funnel"]]
        shutil.rmtree(store)
    save("structural", rows)


if __name__ == "__main__":
    main()
