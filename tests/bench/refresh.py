"""1 % of the documents change: what a refresh costs beside a full run of the same corpus, and whether both publish one set.

``python -m tests.bench.refresh`` runs both real corpora whole; with numbers, such as ``5000``, so many documents of each.
`FLOW=quickstart SETS=chosen.share=0.003 CORPUS=debian_pkgdesc_en` takes another flow, with settings, on one of them.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.store import Store
from tests.bench.harness import data, pithead, save, stored

CORPORA = os.environ.get("CORPUS", "debian_pkgdesc_en,debian_docs_en").split(",")
FLOW, SETS = os.environ.get("FLOW", "structural"), os.environ.get("SETS", "").split()
ENGINES = {"llm_share": "llm_requests", "embed_share": "encoder_texts", "teacher_share": "teacher_pairs"}
CHANGED = 0.01


def main() -> None:
    sizes, rows = [int(one) for one in sys.argv[1:]] or [0], []
    for corpus in CORPORA:
        whole = pq.read_table(data() / corpus / "corpus.parquet")
        for size in sizes:
            rows += measured(corpus, whole.slice(0, size) if size else whole)
    new = {_run_of(r) for r in rows}
    save("refresh", [r for r in stored("refresh") if _run_of(r) not in new] + rows)


def _run_of(row: dict) -> tuple[str, str, int]:
    return row["flow"], row["corpus"], row["docs"]


def measured(corpus: str, table: pa.Table) -> list[dict]:
    """One row of shares, and one a step that took a second or more."""
    home = Path(tempfile.mkdtemp(prefix="pithead-bench-"))
    try:
        write(home, table)
        _, first, _ = go(home, "run", "store", corpus)
        before = files(home / "store")
        write(home, edited(table))
        again, took, mib = go(home, "refresh", "store", corpus)
        fresh = {name: size for name, size in files(home / "store").items() if name not in before}
        hold(home, again)
        full, full_took, full_mib = go(home, "run", "fresh", corpus)
        idle, idle_took, _ = go(home, "refresh", "store", corpus)
        base = {"flow": " ".join([FLOW, *SETS]), "corpus": corpus, "docs": len(table), "changed_share": CHANGED}
        every, ran = {f["step"] for f in full["funnel"]}, set(again["ran"])
        asked = {name: share(counted(again, engine, ran), counted(full, engine, every)) for name, engine in ENGINES.items()}
        changed = len(table) * CHANGED
        rest = sum(f["seconds"] for f in again["funnel"] if f["step"] in ran and not any(e in f["counters"] for e in ENGINES.values()))
        rows = [{
            **base, **asked, "time_share": round(took / full_took, 3), "same_bytes": shards(home / "store", again) == shards(home / "fresh", full),
            "seconds": took, "full_seconds": full_took, "first_seconds": first, "idle_seconds": idle_took, "idle_new": idle["new"],
            "no_model_s_per_1m_rows": round(rest / len(table) * 1e6, 1), "bytes_per_changed_row": round(sum(fresh.values()) / changed),
            "mib": mib, "full_mib": full_mib, "rows_added": again["diff"]["added"], "rows_changed": again["diff"]["changed"],
        }]  # fmt: skip
        whole = {f["step"]: f["seconds"] for f in full["funnel"]}
        for f in again["funnel"]:
            if whole[f["step"]] >= 1:
                spent = "held" if "held" in f else f["seconds"]
                rows.append({**base, "step": f["step"], "seconds": spent, "full_seconds": whole[f["step"]], "reused": f["reused"]})
        return rows
    finally:
        shutil.rmtree(home)


def write(home: Path, table: pa.Table) -> None:
    pq.write_table(table, home / "corpus.parquet")


def edited(table: pa.Table) -> pa.Table:
    """Every hundredth document changed in turn: a sentence more, gone, or a new one beside it."""
    every = round(1 / CHANGED)
    rows, text = table.to_pylist(), "text" if "text" in table.column_names else table.column_names[-1]
    out = []
    for i, row in enumerate(rows):
        turn = i // every % 3 if i % every == 0 else -1
        if turn == 0:
            row = {**row, text: row[text] + "\nAn added sentence changes this document."}
        if turn != 1:
            out.append(row)
        if turn == 2:
            out.append({**row, **{k: f"{v}-new" for k, v in row.items() if k in ("_id", "id", "source_id")}, text: f"{row[text]}\nAnother document number {i}."})
    return pa.Table.from_pylist(out, table.schema)


def go(home: Path, verb: str, store: str, corpus: str) -> tuple[dict, float, int]:
    sets = [f"corpus.path={home}/corpus.parquet", "corpus.format=parquet", f"corpus.source={corpus}", *SETS]
    return pithead(verb, FLOW, "--store", str(home / store), *(x for s in sets for x in ("--set", s)))


def hold(home: Path, again: dict) -> None:
    """Give the full run the artifacts that the refreshed one holds."""
    for folder in ("held", *(f["home"] for f in again["funnel"] if "held" in f)):
        if (home / "store" / folder).is_dir():
            shutil.copytree(home / "store" / folder, home / "fresh" / folder)


def files(store: Path) -> dict[str, int]:
    return {str(p): p.stat().st_size for p in store.rglob("*") if p.is_file()}


def counted(answer: dict, engine: str, ran: set[str]) -> int:
    return sum(f["counters"].get(engine, 0) for f in answer["funnel"] if f["step"] in ran and "held" not in f)


def share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def shards(store: Path, answer: dict) -> list[str]:
    """The checksums of what was published."""
    return [s["sha256"] for s in Store(str(store)).read_json(f"{answer['published']}/manifest.json")["shards"]]


if __name__ == "__main__":
    main()
