"""Mining beside sentence-transformers: seconds by phase and anonymous memory, cold and warm, in one run.

`RUNS=pkgdesc` (65k documents, MiniLM, a cross-encoder on the top 20 of 500 queries, then ours with the encoder in bfloat16),
`small` (a third of it, with a quarter of the queries), `docs` (110k, the static encoder), `million` (the same, 1M documents).
`CROSS_ENCODER=folder` is the teacher of both. `KEEP=folder` keeps a run's store there; where that holds the vectors already,
all phases but the encoding are measured, the peer's with the same vectors, in rows of their own.
`ENCODER=key` encodes for such a store with another one.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
import yaml

from operators.engines.models import place, read_entries
from tests.bench.harness import ROOT, Peak, data, save, stored, watched

CROSS, KEEP = os.environ.get("CROSS_ENCODER", ""), os.environ.get("KEEP", "")
RUNS: dict[str, tuple[str, str, int, int]] = {  # corpus, encoder, documents (0: all), queries
    "pkgdesc": ("debian_pkgdesc_en", "minilm", 0, 20_000), "small": ("debian_pkgdesc_en", "minilm", 20_000, 5_000),
    "docs": ("debian_docs_en", "static", 0, 20_000), "million": ("debian_docs_en", "static", 1_000_000, 20_000),
}  # fmt: skip
FLOW = """
flow: mining
seed: 7
steps:
  pairs:     {op: read_pairs, with: {path: pairs.parquet}}
  corpus:    {op: read_corpus, with: {path: corpus.parquet}, max_rejected: 0.1}
  passages:  {op: split_passages, from: corpus, keep: [source, source_id, title], with: {max_words: null, min_words: 1}, max_rejected: 0.1}
  unique:    {op: drop_duplicates, from: [pairs, passages], keep: [passage_id, title, passage], with: {key: passage_id}, max_rejected: 0.9}
  texts:     {op: index_texts, from: unique}
  vectors:   {op: embed, from: unique, keep: [passage_id], using: {encoder: ENCODER}, with: {column: passage}}
  queries:   {op: group_positives, from: pairs, keep: [query], max_rejected: 1}
  asked:     {op: embed, from: queries, using: {encoder: ENCODER}, with: {column: query}}
  dense:     {op: retrieve_dense, from: asked, against: vectors, with: {top_k: 100}}
  negatives:
    op: select_negatives
    from: dense
    using: {texts: texts}
    with: {score: dense_scores, policy: percentage, margin: 0.05, negatives: 5, min_negatives: 5, near_duplicate: null}
    max_rejected: 1
"""
TAUGHT = """
  sampled:   {op: sample_rows, from: dense, with: {key: query_id, share: 0.025}, max_rejected: 1}
  scored:    {op: score_teacher, from: sampled, using: {teacher: trained, texts: texts}, with: {max_candidates: 20}}
"""
PHASES = {"vectors": "encode", "asked": "encode", "dense": "search", "negatives": "filter", "scored": "teacher"}


def collection(corpus: str, documents: int, queries: int, home: Path) -> None:
    """corpus.parquet, pairs.parquet (title → body) and pairs_more.parquet, which has 1 % more queries."""
    table = pq.read_table(data() / corpus / "corpus.parquet")
    rows = {b: t for t, b in zip(table["title"].to_pylist(), table["text"].to_pylist(), strict=True) if t and b.strip()}
    order = sorted(rows, key=lambda b: xxhash.xxh3_64_intdigest(b.encode()))
    order = order[: documents or len(order)]
    titles: dict[str, str] = {}
    for body in order:
        titles.setdefault(rows[body], body)
    asked = list(titles.items())
    for name, count in (("pairs", queries), ("pairs_more", queries * 101 // 100)):
        told = asked[:count]
        pq.write_table(pa.table({"query": [q for q, _ in told], "passage": [p for _, p in told]}), home / f"{name}.parquet")
    with pq.ParquetWriter(home / "corpus.parquet", pa.schema([("_id", pa.string()), ("text", pa.string())])) as file:
        for part in _grown(order, documents or len(order)):
            file.write_table(part)


def _grown(bodies: list[str], documents: int) -> Iterator[pa.Table]:
    """So many documents: the bodies, then their copies with a sentence of their own."""
    for start in range(0, documents, 50_000):
        where = range(start, min(start + 50_000, documents))
        told = [bodies[i % len(bodies)] + (f" Edition {i // len(bodies)} of {i}." if i >= len(bodies) else "") for i in where]
        yield pa.table({"_id": [str(i) for i in where], "text": told})


def prepare(name: str, encoder: str, home: Path, cross: str = CROSS) -> list[str]:
    """Write the collection and the flow. Where the vectors are kept: forget what comes behind them, and name their steps."""
    corpus, _, documents, queries = RUNS[name]
    if not (home / "corpus.parquet").exists():
        collection(corpus, documents, queries, home)
    (home / "flow.yaml").write_text((FLOW + (TAUGHT if cross else "")).replace("ENCODER", encoder))
    if cross:
        teach(home, cross)
    shutil.rmtree(home / "ours", ignore_errors=True)
    shutil.rmtree(home / "texts", ignore_errors=True)
    if not (home / "store").exists():
        return []
    answer, _, _ = watched("run", str(home / "flow.yaml"), "--store", str(home / "store"), "--until", "asked")
    for old in (p for kind in ("retrieve_dense", "select_negatives", "sample_rows", "score_teacher") for p in (home / "store" / "steps").glob(f"{kind}-*")):
        shutil.rmtree(old)
    homes = {f["step"]: str(home / "store" / f["home"]) for f in answer["funnel"]}
    return [homes["vectors"], homes["asked"]]


def ours(name: str, encoder: str, home: Path, cross: str = CROSS) -> list[dict[str, Any]]:
    """Cold, then warm: a new margin, a new k, 1 % new queries."""
    rows, kept = [], False
    for phase, more in (("cold", []), ("new margin", ["negatives.margin=0.1"]), ("new k", ["dense.top_k=50"]), ("1 % new queries", ["pairs.path=pairs_more.parquet"])):
        sets = [x for one in more for x in ("--set", one)]
        answer, seconds, peak = watched("run", str(home / "flow.yaml"), "--store", str(home / "store"), *sets)
        assert answer["status"] == 0, answer
        base = {"run": name, "tool": f"pithead {encoder}", "docs": answer["funnel"][1]["rows_in"], "queries": answer["funnel"][0]["rows_in"]}
        spent: dict[str, float] = {}
        for f in answer["funnel"]:
            key = PHASES.get(f["step"], "rest")
            spent[key] = spent.get(key, 0.0) + (0 if f["stored"] else f["seconds"])
        if phase == "cold":
            kept = all(f["stored"] for f in answer["funnel"] if f["step"] == "vectors")
            rows += [{**base, "phase": k, "seconds": round(v, 1)} for k, v in spent.items() if not kept or k in ("search", "filter", "teacher")]
            shutil.copytree(home / "store" / next(f["home"] for f in answer["funnel"] if f["step"] == "negatives"), home / "ours")
            shutil.copytree(home / "store" / next(f["home"] for f in answer["funnel"] if f["step"] == "texts"), home / "texts")
        rows.append({**base, "phase": f"warm: {phase}" if phase != "cold" else "total but encoding" if kept else "total", "seconds": seconds, "anon_mib": peak.mib})
    return rows + (in_half(name, home, cross) if cross else [])


def teach(home: Path, cross: str, **more: str) -> None:
    """Write the entry of the cross-encoder."""
    entry = {"kind": "teacher", "backend": "cross-encoder", "model": cross, "activation": "sigmoid", "max_tokens": 256, **more}
    (home / "models.yaml").write_text(yaml.safe_dump({"trained": entry}))


def in_half(name: str, home: Path, cross: str) -> list[dict[str, Any]]:
    """The teacher once more in bfloat16, and how far its scores are from those in float32."""
    told = []
    for more in ({}, {"dtype": "bfloat16"}):
        teach(home, cross, **more)
        answer, _, _ = watched("run", str(home / "flow.yaml"), "--store", str(home / "store"), "--until", "scored")
        step = answer["funnel"][-1]
        files = sorted((home / "store" / step["home"]).glob("parts/*.parquet"))
        told.append(pa.concat_tables(pq.read_table(p, columns=["teacher_scores"]) for p in files)["teacher_scores"].combine_chunks())
    one, other = (list_.flatten().drop_null().to_numpy() for list_ in told)
    best = [[max(range(len(row)), key=row.__getitem__) for row in ([x for x in r if x is not None] for r in list_.to_pylist()) if row] for list_ in told]
    same = sum(a == b for a, b in zip(*best, strict=True))
    said = f"teacher in bfloat16: scores differ by {abs(one - other).mean():.5f}, at most {abs(one - other).max():.5f}; {same} of {len(best[0])} best alike"
    return [{"run": name, "tool": "pithead, cross-encoder in bfloat16", "queries": step["rows_in"], "phase": "teacher", "seconds": step["seconds"]},
            {"run": name, "tool": "agreement", "phase": said}]  # fmt: skip


def theirs(name: str, encoder: str, home: Path, vectors: list[str]) -> list[dict[str, Any]]:
    """Cold for all queries; the teacher's phase of a fortieth apart, with the embeddings from its cache; warm with that cache."""
    entry, rows = read_entries(ROOT / "configs" / "models.yaml")[encoder], []
    pairs = pq.read_table(home / "pairs.parquet")
    queries = len(pairs)
    pq.write_table(pairs.slice(0, queries // 40), home / "pairs_few.parquet")
    base = {"model": str(place(entry.model)), "static": encoder == "static", "corpus": f"{home}/corpus.parquet", "negatives": 5, "cache": f"{home}/cache", "vectors": vectors}
    options = {"relative_margin": 0.05, "range_max": 100, "use_faiss": True}
    calls = [("cold", {"pairs": f"{home}/pairs.parquet", "options": options, "out": f"{home}/theirs.parquet"}),
             ("warm: new margin", {"pairs": f"{home}/pairs.parquet", "options": {**options, "relative_margin": 0.1}})]  # fmt: skip
    if CROSS:
        calls.append(("teacher", {"pairs": f"{home}/pairs_few.parquet", "options": {**options, "range_max": 20}, "cross_encoder": CROSS}))
    for phase, more in calls:
        (home / "spec.json").write_text(json.dumps({**base, **more}))
        start = time.monotonic()
        env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}  # all cores: Pithead has a worker a core
        command = [sys.executable, "-m", "tests.bench.mining_peer", str(home / "spec.json")]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        peak = Peak(process.pid)
        peak.start()
        out, _ = process.communicate()
        peak.over = True
        told = json.loads(out.strip().splitlines()[-1])["seconds"]
        line = {"run": name, "tool": "sentence-transformers", "docs": pq.read_metadata(home / "corpus.parquet").num_rows, "queries": queries if phase != "teacher" else queries // 40}
        parts = {k: told.get(k, 0.0) for k in ("encode", "search", "teacher")}
        parts["filter"] = told["total"] - sum(parts.values())
        if phase == "cold":
            rows += [{**line, "phase": k, "seconds": round(v, 1)} for k, v in parts.items() if k != "teacher" and not (vectors and k == "encode")]
            rows.append({**line, "phase": "total but encoding" if vectors else "total", "seconds": round(time.monotonic() - start, 1), "anon_mib": peak.mib})
        elif phase == "teacher":
            rows.append({**line, "phase": "teacher", "seconds": round(parts["teacher"], 1), "anon_mib": peak.mib})
        else:
            rows.append({**line, "phase": f"{phase}, from its cache", "seconds": round(time.monotonic() - start, 1), "anon_mib": peak.mib})
    return rows


def agreement(name: str, encoder: str, home: Path) -> list[dict[str, Any]]:
    """The share of queries of both whose five negatives are the same texts in the same order."""
    from operators.index_texts import Texts

    texts = Texts.load(next((home / "texts").glob("artifact/*")))
    mine = pa.concat_tables(pq.read_table(p, columns=["query", "negative_ids"]) for p in sorted((home / "ours").glob("parts/*.parquet")))
    told = texts.take(mine["negative_ids"].combine_chunks().flatten()).to_pylist()
    own = {q: told[5 * i : 5 * i + 5] for i, q in enumerate(mine["query"].to_pylist())}
    other = {r["query"]: [r[f"negative_{k}"] for k in range(1, 6)] for r in pq.read_table(home / "theirs.parquet").to_pylist()}
    both = own.keys() & other.keys()
    same = sum(own[q] == other[q] for q in both)
    return [{"run": name, "tool": f"agreement of {encoder}", "phase": f"{len(own)} and {len(other)} queries kept, {len(both)} by both, {same} of these alike"}]


def main() -> None:
    rows = stored("mining")
    for name in os.environ.get("RUNS", " ".join(RUNS)).split():
        encoder = os.environ.get("ENCODER", RUNS[name][1])
        home = Path(KEEP or tempfile.mkdtemp(prefix="pithead-bench-"))
        home.mkdir(parents=True, exist_ok=True)
        vectors = prepare(name, encoder, home)
        said = f"{name}, kept {encoder} vectors" if vectors else name
        made = [*ours(said, encoder, home), *theirs(said, encoder, home, vectors), *agreement(said, encoder, home)]
        rows = [r for r in rows if r["run"] != said] + made
        save("mining", rows)
        if name == "pkgdesc" and not vectors:
            half = home / "half"
            half.mkdir()
            for file in home.glob("*.parquet"):
                shutil.copyfile(file, half / file.name)
            prepare(name, f"{encoder}-bfloat16", half, cross="")
            rows += [*ours(name, f"{encoder}-bfloat16", half, cross=""), *agreement(name, f"{encoder}-bfloat16", half)]
            save("mining", rows)
        if not KEEP:
            shutil.rmtree(home)


if __name__ == "__main__":
    main()
