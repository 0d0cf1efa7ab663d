"""Near-duplicates: recall and precision against brute force, then seconds and memory beside datasketch and datatrove.

Runs: `oracle` (`DOCS`, 20,000, of debian_pkgdesc_en: every pair of Jaccard 0.8, by sets of strings), `speed` (all of it and of
debian_pkgdesc_i18n, 222,334 distinct texts; `DOCS` of them by hash where `RUNS=speed` is asked for with it), and, named in
`RUNS` alone, `million`: debian_docs_en and copies of it, of which each tenth word is another. Exact duplicates are gone
before: every tool gets the same texts, in two files, one a core. Of the peers' defaults the bands are not those of a recall of
0.98 at 0.8, so each is also asked with ours, 12 of 5, and datasketch with 18 of 7 of its 128 numbers; only a verified row
answers the question that Pithead answers. The peers are in an environment of their own, made once a call, or of `DEDUP_PEERS`,
a folder.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_array

from operators.columns import content_id
from tests.bench.dedup_peer import shingles
from tests.bench.harness import ROOT, Peak, data, save, stored, watched

DOCS = int(os.environ.get("DOCS", "20000"))
PINNED = ("datasketch==2.0.0", "datatrove[processing]==0.10.1", "orjson", "pyarrow", "xxhash")
FLOW = """
flow: dedup
steps:
  docs:    {op: read_corpus, with: {path: corpus}, max_rejected: 1}
  texts:   {op: index_texts, from: docs, with: {of: documents}}
  bands:   {op: sign_bands, from: docs, using: {texts: texts}, with: {key: doc_id}, max_rejected: 1}
  met:     {op: pair_bands, from: bands, with: {key: doc_id}, max_rejected: 1}
  pairs:   {op: drop_duplicates, from: met, with: {key: pair_id}, max_rejected: 1}
  edges:   {op: link_duplicates, from: pairs, using: {texts: texts}, max_rejected: 1}
  classes: {op: fit_classes, from: edges, using: {texts: texts}}
  told:    {op: drop_near_duplicates, from: docs, keep: [doc_id, source_id], using: {classes: classes}, with: {key: doc_id, keep: all}}
  kept:    {op: drop_near_duplicates, from: docs, keep: [doc_id, source_id], using: {classes: classes}, with: {key: doc_id}, max_rejected: 1}
"""
Pairs = set[tuple[int, int]]


def collection(names: Iterable[str], docs: int, home: Path) -> list[str]:
    """Distinct texts, of each the title above; `docs` by the hash of what they say (0: all), then copies. Two files, one a core."""
    told: dict[bytes, str] = {}
    for name in names:
        table = pq.read_table(data() / name / "corpus.parquet", columns=["title", "text"])
        for title, body in zip(table["title"].to_pylist(), table["text"].to_pylist(), strict=True):
            whole = f"{title}\n{body}" if title else body
            if whole.strip():
                told.setdefault(content_id("", whole), whole)
    order = [told[one] for one in sorted(told)]
    texts = [_copy(order[i % len(order)], i // len(order)) for i in range(docs or len(order))]
    table, half = pa.table({"_id": [str(i) for i in range(len(texts))], "text": texts}), len(texts) // 2 + 1
    (home / "corpus").mkdir()
    for i in range(2):
        pq.write_table(table.slice(i * half, half), home / "corpus" / f"{i}.parquet")
    return texts


def _copy(value: str, number: int) -> str:
    """The text, of another copy than the first with a word of its own in each ten."""
    return " ".join(f"{number}x{i}" if i % 10 == 9 else word for i, word in enumerate(value.split(" "))) if number else value


def brute_force(texts: list[str]) -> Pairs:
    """Every pair whose sets of shingles have a Jaccard of 0.8: the sets' products, a thousand rows at a time."""
    codes: dict[str, int] = {}
    sets = [[codes.setdefault(one, len(codes)) for one in shingles(value)] for value in texts]
    ends, flat = np.cumsum([0, *map(len, sets)]), np.array([one for told in sets for one in told])
    matrix = csr_array((np.ones(len(flat), np.int32), flat, ends), shape=(len(texts), len(codes)))
    turned, sizes, found = matrix.T.tocsr(), np.diff(ends), Pairs()
    for start in range(0, len(texts), 1000):
        both = (matrix[start : start + 1000] @ turned).tocoo()
        a, b = both.row + start, both.col
        near = (a < b) & (both.data >= 0.8 * (sizes[a] + sizes[b] - both.data))
        found |= set(zip(a[near].tolist(), b[near].tolist(), strict=True))
    return found


def ours(home: Path) -> tuple[dict[str, Any], Pairs, list[list[int]], dict[str, Any]]:
    """A row, the edges, the classes, and seconds by step."""
    (home / "flow.yaml").write_text(FLOW)
    answer, seconds, peak = watched("run", str(home / "flow.yaml"), "--store", str(home / "store"))
    assert answer["status"] == 0, answer
    homes = {f["step"]: home / "store" / f["home"] / "parts" for f in answer["funnel"]}

    def read(step: str, columns: list[str]) -> dict[str, list[Any]]:
        return pa.concat_tables(pq.read_table(p, columns=columns) for p in sorted(homes[step].glob("*.parquet"))).to_pydict()

    told = read("told", ["doc_id", "class_id", "source_id"])
    row = {one: int(name) for one, name in zip(told["doc_id"], told["source_id"], strict=True)}
    classes: dict[bytes, list[int]] = {}
    for one, of in zip(told["doc_id"], told["class_id"], strict=True):
        classes.setdefault(of, []).append(row[one])
    edges = read("edges", ["id_a", "id_b"])
    pairs = {_pair(row[a], row[b]) for a, b in zip(edges["id_a"], edges["id_b"], strict=True)}
    steps = {f["step"]: round(f["seconds"], 1) for f in answer["funnel"]}
    return {"tool": "pithead", "seconds": seconds, "peak_mib": peak.mib}, pairs, list(classes.values()), steps


def peers(home: Path) -> tuple[str, str]:
    """The interpreter that has them, or why there is none."""
    if given := os.environ.get("DEDUP_PEERS"):
        return f"{given}/bin/python", ""
    made = subprocess.run([sys.executable, "-m", "venv", str(home / "peers")], capture_output=True, text=True)
    if not made.returncode:
        made = subprocess.run([str(home / "peers/bin/pip"), "install", "-q", *PINNED], capture_output=True, text=True)
    return str(home / "peers/bin/python"), made.stderr.strip()[-200:] if made.returncode else ""


def theirs(python: str, name: str, home: Path, **spec: Any) -> tuple[dict[str, Any], Any]:
    """A row and what it found: pairs or clusters."""
    place = Path(tempfile.mkdtemp(dir=home))
    (place / "spec.json").write_text(json.dumps({"corpus": str(home / "corpus"), "home": str(place / "work"), "out": str(place / "out.json"), **spec}))
    start = time.monotonic()
    process = subprocess.Popen([python, "-m", "tests.bench.dedup_peer", str(place / "spec.json")], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    peak = Peak(process.pid)
    peak.start()
    _, said = process.communicate()
    peak.over = True
    if process.returncode:
        return {"tool": name, "skipped": (said.strip().splitlines() or ["it ended"])[-1][:200]}, None
    return {"tool": name, "seconds": round(time.monotonic() - start, 1), "peak_mib": peak.mib}, json.loads((place / "out.json").read_text())


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def within(classes: Iterable[list[int]]) -> Iterator[tuple[int, int]]:
    """The pairs of one class."""
    return (pair for one in classes for pair in combinations(sorted(one), 2))


def measured(found: Iterable[tuple[int, int]], wanted: Pairs) -> dict[str, float]:
    pairs = set(found)
    hit = len(pairs & wanted)
    return {"pairs": len(pairs), "recall": round(hit / max(len(wanted), 1), 4), "precision": round(hit / max(len(pairs), 1), 4)}


def run(name: str, texts: list[str], home: Path, python: str, reason: str) -> list[dict[str, Any]]:
    """The rows of every tool; of `oracle` with recall and precision."""
    wanted = brute_force(texts) if name == "oracle" else Pairs()
    base = {"run": name, "docs": len(texts)}
    rows = [{**base, "tool": "brute force", "pairs": len(wanted), "found": "pairs"}] if wanted else []
    row, edges, classes, steps = ours(home)
    told = [("pairs", edges, {}), ("classes", within(classes), {"kept": len(classes)})]
    rows += [{**base, **row, "found": found, **(measured(pairs, wanted) if wanted else {}), **more} for found, pairs, more in told]
    rows += [{**base, "tool": f"pithead, {step}", "seconds": spent} for step, spent in steps.items()]
    asked: list[tuple[str, dict[str, Any]]] = [
        ("datasketch", {"tool": "datasketch", "verify": False}),
        ("datasketch 18 x 7, verified", {"tool": "datasketch", "bands": [18, 7], "verify": True}),
        ("datasketch 12 x 5, verified", {"tool": "datasketch", "bands": [12, 5], "verify": True}),
        ("datatrove", {"tool": "datatrove"}), ("datatrove 12 x 5", {"tool": "datatrove", "bands": [12, 5]}),
    ]  # fmt: skip
    print(*rows, sep="\n", file=sys.stderr, flush=True)  # what is measured is told though a later tool never ends
    for tool, spec in asked:
        if reason:
            rows.append({**base, "tool": tool, "skipped": reason})
            continue
        row, told_by = theirs(python, tool, home, **spec)
        rows.append({**base, **row})
        if told_by is not None:
            pairs = map(tuple, told_by["pairs"]) if "pairs" in told_by else within(told_by["clusters"])
            kept = {} if "pairs" in told_by else {"kept": len(texts) - sum(len(one) - 1 for one in told_by["clusters"])}
            rows[-1] |= {"found": "pairs" if "pairs" in told_by else "classes", **(measured(pairs, wanted) if wanted else {}), **kept}
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    runs = os.environ.get("RUNS", "oracle speed").split()
    rows = [r for r in stored("dedup") if r["run"] not in runs] if "RUNS" in os.environ else []
    place = Path(tempfile.mkdtemp(prefix="pithead-bench-"))
    python, reason = peers(place)
    for name in runs:
        home = Path(tempfile.mkdtemp(dir=place))
        more = ["debian_pkgdesc_i18n"] if name == "speed" else []
        names = ["debian_docs_en"] if name == "million" else ["debian_pkgdesc_en", *more]
        whole = DOCS if "DOCS" in os.environ else 0
        texts = collection(names, {"oracle": DOCS, "million": 1_000_000, "speed": whole}[name], home)
        rows += run(name, texts, home, python, reason)
        save("dedup", rows)
        shutil.rmtree(home)
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
