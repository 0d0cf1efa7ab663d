"""Certified false negatives: one positive is given, the others are hidden; who returns how many of them as negatives?

Policies and weights are chosen on vaswani and cisi; cranfield and xquad (cross-lingual qrels, a twelfth of its queries)
only report. `CROSS_ENCODER=folder` adds the rows of a trained cross-encoder, for both sides; `FLAGEMBEDDING=path` of its
hn_mine.py those of FlagEmbedding, which must be importable. `TOOLS=FlagEmbedding,…` makes the rows of these alone anew.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
import yaml

from operators import columns
from operators.contract import apply
from operators.engines.models import place, read_entries
from operators.fit_false_negatives import FitFalseNegatives, fit_false_negatives
from operators.index_texts import Texts
from operators.score_false_negatives import ScoreFalseNegatives, score_false_negatives
from operators.select_negatives import SelectNegatives, select_negatives
from tests.bench.harness import ROOT, data, pithead, save, stored

COLLECTIONS = {"vaswani": "qrels", "cisi": "qrels", "cranfield": "qrels_with_source", "xquad": "qrels_cross"}
CHOSEN_ON = ("vaswani", "cisi")
WANTED = 5
WEIGHTS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3)
TOOLS = os.environ.get("TOOLS", "pithead,oracle,sentence-transformers,FlagEmbedding").split(",")
FLAG_SCRIPT = os.environ.get("FLAGEMBEDDING", "")
CROSS = os.environ.get("CROSS_ENCODER", "")
FLOW = """
flow: certified
seed: 7
steps:
  corpus:    {op: read_corpus, with: {path: corpus.parquet}}
  asking:    {op: read_queries, with: {path: queries.parquet}}
  qrels:     {op: read_qrels, with: {path: qrels.parquet}}
  passages:  {op: split_passages, from: corpus, keep: [source, source_id, title], with: {max_words: null, min_words: 1}}
  unique:    {op: drop_duplicates, from: passages, with: {key: passage_id}, max_rejected: 0.5}
  texts:     {op: index_texts, from: unique}
  vectors:   {op: embed, from: unique, keep: [passage_id], using: {encoder: minilm}, with: {column: passage}}
  terms:     {op: fit_bm25, from: unique, with: {analyser: ANALYSER}}
  document_ids: {op: index_ids, from: passages, with: {id: passage_id}}
  query_ids: {op: index_ids, from: asking, with: {id: query_id, carry: [query]}}
  judged:    {op: resolve_qrels, from: qrels, using: {passages: document_ids, queries: query_ids}, max_rejected: 0.9}
  grouped:   {op: group_positives, from: judged, max_rejected: 1}
  hidden:    {op: hide_positives, from: grouped, max_rejected: 1}
  asked:     {op: embed, from: hidden, using: {encoder: minilm}, with: {column: query}}
  dense:     {op: retrieve_dense, from: asked, against: vectors, with: {top_k: 100}}
  lexical:   {op: retrieve_bm25, from: dense, against: unique, using: {statistics: terms}, with: {top_k: 500}}
  candidates: {op: fuse_rankings, from: lexical, with: {top_k: 100, rankings: [{ids: candidate_ids, scores: dense_scores}, {ids: bm25_ids, scores: bm25_scores, weight: 0}]}}
"""
LATE = "  late:      {op: score_teacher, from: candidates, using: {teacher: late-interaction, texts: texts}, with: {max_candidates: 50}}\n"
CROSSED = "  cross:     {op: score_teacher, from: candidates, using: {teacher: trained, texts: texts}, with: {max_candidates: 50}}\n"


@dataclass
class Judged:
    """A collection, retrieved and scored."""

    name: str
    tables: dict[str, pa.Table]  # teacher → rows
    texts: Texts
    passages: dict[bytes, np.ndarray]  # id → vector

    @property
    def rows(self) -> pa.Table:
        return next(iter(self.tables.values()))


def _crossed(name: str) -> bool:
    """Whether the trained cross-encoder is asked; it has read English alone."""
    return bool(CROSS) and name != "xquad"


def gather(name: str, folder: Path) -> Judged:
    """Run the flow over one collection."""
    home = data() / name
    shutil.copyfile(home / "corpus.parquet", folder / "corpus.parquet")
    queries = pq.read_table(home / "queries.parquet")
    if name == "xquad":
        queries = queries.filter(pa.array([xxhash.xxh3_64_intdigest(i.encode()) % 12 == 0 for i in queries["_id"].to_pylist()]))
    pq.write_table(queries, folder / "queries.parquet")
    qrels = pq.read_table(home / f"{COLLECTIONS[name]}.parquet")
    pq.write_table(qrels.filter(pa.compute.is_in(qrels["query_id"], queries["_id"])), folder / "qrels.parquet")
    flow = FLOW.replace("ANALYSER", "plain" if name == "xquad" else "english") + (LATE + CROSSED * _crossed(name)) * ("pithead" in TOOLS)
    (folder / "flow.yaml").write_text(flow)
    if _crossed(name):
        entry = {"kind": "teacher", "backend": "cross-encoder", "model": str(Path(CROSS).resolve()), "activation": "sigmoid"}
        (folder / "models.yaml").write_text(yaml.safe_dump({"trained": {**entry, "max_tokens": 256}}))
    answer, seconds, _ = pithead("run", str(folder / "flow.yaml"), "--store", str(folder / "store"), "--buckets", "1")
    assert answer["status"] == 0, answer
    print(f"{name}: {seconds} s", flush=True)
    home = {f["step"]: folder / "store" / f["home"] for f in answer["funnel"]}
    vectors = pq.read_table(next(home["vectors"].glob("parts/*.parquet")))
    told = dict(zip(vectors["passage_id"].to_pylist(), columns.vectors(vectors["vector"]), strict=True))
    scored = {t: home[s] for t, s in (("late-interaction", "late"), ("cross-encoder", "cross")) if s in home}
    scored = scored or {"none": home["candidates"]}
    tables = {teacher: pq.read_table(next(at.glob("parts/*.parquet"))) for teacher, at in scored.items()}
    return Judged(name, tables, Texts.load(next(home["texts"].glob("artifact/*"))), told)


def measured(c: Judged, negatives: list[list[bytes]]) -> dict[str, Any]:
    """The rates of one choice: a list of negatives a row, of which fewer than five count for nothing."""
    kept = [i for i, row in enumerate(negatives) if len(row) >= WANTED]
    hidden, asked = c.rows["hidden_ids"].to_pylist(), columns.vectors(c.rows["vector"])
    false = [(i, n) for i in kept for n in negatives[i] if n in set(hidden[i])]
    left = [float(asked[i] @ c.passages[n]) for i in kept for n in negatives[i] if n not in set(hidden[i])]
    total = len(false) + len(left)
    return {
        "negatives": total, "certified_fn_rate": round(len(false) / max(total, 1), 4),
        "hardness": round(float(np.mean(left or [0])), 4), "queries_kept": len(kept),
    }  # fmt: skip


def ours(c: Judged) -> list[dict[str, Any]]:
    """Every policy, without and with each teacher."""
    found = []
    dense: list[dict[str, Any]] = [{"policy": "window", "rank_from": n} for n in (1, 11, 21, 31)]
    dense += [{"policy": "percentage", "margin": m} for m in (0.05, 0.01)] + [{"policy": "margin", "margin": m} for m in (0.05, 0.1)]
    weighed: list[dict[str, Any]] = [{"policy": "utility", "risk_weight": w} for w in WEIGHTS]
    for teacher in ("none", *c.tables):
        names = ("dense_scores", "bm25_scores", *([] if teacher == "none" else ["teacher_scores"]))
        table = c.rows if teacher == "none" else c.tables[teacher]
        table = apply(score_false_negatives, table, ScoreFalseNegatives(scores=names)).table
        taught = [{"policy": "quantile", "quantile": 0.5}, *dense[4:]]
        for said in [*(dense if teacher == "none" else taught), *weighed]:
            of = "dense_scores" if teacher == "none" else "teacher_scores"
            p = SelectNegatives.model_validate({"score": of, "negatives": WANTED, "min_negatives": WANTED, **said})
            chosen = apply(select_negatives, table, p, texts=c.texts).table
            lists: list[list[bytes]] = [[] for _ in range(len(table))]
            for row, negatives in zip(chosen["_row"].to_pylist(), chosen["negative_ids"].to_pylist(), strict=True):
                lists[row] = negatives
            label = " ".join(str(v) for v in said.values())
            found.append({"collection": c.name, "tool": "pithead", "policy": label, "teacher": teacher, **measured(c, lists)})
    return [*found, {"collection": c.name, "tool": "oracle", "policy": "knows every hidden positive", "teacher": "", **measured(c, oracle(c))}]


def oracle(c: Judged) -> list[list[bytes]]:
    """The five nearest passages that are no positive."""
    rows = zip(*(c.rows[n].to_pylist() for n in ("candidate_ids", "positive_ids", "hidden_ids")), strict=True)
    return [[n for n in told if n not in {*one, *hidden}][:WANTED] for told, one, hidden in rows]


PEER: dict[str, dict[str, Any]] = {  # sentence-transformers: its defaults, and what its documentation and NV-Retriever recommend
    "naive": {}, "range_min 10": {"range_min": 10}, "range_min 20": {"range_min": 20}, "range_min 30": {"range_min": 30},
    "max_score 0.7": {"max_score": 0.7}, "absolute_margin 0.05": {"absolute_margin": 0.05},
    "absolute_margin 0.1": {"absolute_margin": 0.1}, "relative_margin 0.05": {"relative_margin": 0.05},
    "relative_margin 0.01": {"relative_margin": 0.01},
    "range 10-50, max_score 0.8, relative_margin 0.05": {"range_min": 10, "range_max": 50, "max_score": 0.8, "relative_margin": 0.05},
}  # fmt: skip
UNFILTERED = ("naive",)
PEERS = ("sentence-transformers", "FlagEmbedding")


def theirs(c: Judged, cache: str) -> list[dict[str, Any]]:
    """What `mine_hard_negatives` returns for the same queries, corpus and encoder."""
    from datasets import Dataset
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    entry = read_entries(ROOT / "configs" / "models.yaml")["minilm"]
    model = SentenceTransformer(str(place(entry.model)), device="cpu")
    every = pa.array(sorted(c.passages), pa.binary(16))
    corpus = c.texts.take(every).to_pylist()
    by_text = dict(zip(corpus, every.to_pylist(), strict=True))
    queries = c.rows["query"].to_pylist()
    positives = c.texts.take(columns.flat(c.rows["positive_ids"])[1]).to_pylist()
    row_of, found = {q: i for i, q in enumerate(queries)}, []
    crosses = [("none", None)] + ([("cross-encoder", CrossEncoder(CROSS, device="cpu", max_length=256))] if _crossed(c.name) else [])
    for teacher, cross in crosses:
        for name, said in PEER.items():
            if cross is not None and "relative_margin" not in said:
                continue  # without a margin it leaves its cross-encoder unused; with every one it would take hours
            got = mine_hard_negatives(
                Dataset.from_dict({"query": queries, "answer": positives}), model, corpus=corpus, num_negatives=WANTED,
                output_format="n-tuple", verbose=False, cache_folder=cache, cross_encoder=cross, **said,
            )  # fmt: skip
            lists: list[list[bytes]] = [[] for _ in queries]
            for line in got:
                lists[row_of[line["query"]]] = [by_text[line[f"negative_{k}"]] for k in range(1, WANTED + 1)]
            row = {"collection": c.name, "tool": "sentence-transformers", "policy": name, "teacher": teacher}
            found.append({**row, **measured(c, lists)})
    return found


FLAG = {"its defaults, ranks 10-210": "10-210", "its README, ranks 2-200": "2-200"}


def flag(c: Judged, folder: Path) -> list[dict[str, Any]]:
    """What FlagEmbedding's scripts/hn_mine.py returns; it draws from a window of ranks, unseeded, and fills up at random."""
    every = pa.array(sorted(c.passages), pa.binary(16))
    corpus = c.texts.take(every).to_pylist()
    by_text, found = dict(zip(corpus, every.to_pylist(), strict=True)), []
    positives = c.texts.take(columns.flat(c.rows["positive_ids"])[1]).to_pylist()
    rows = [{"query": q, "pos": [p]} for q, p in zip(c.rows["query"].to_pylist(), positives, strict=True)]
    for name, lines in (("pool", [{"text": one} for one in corpus]), ("pairs", rows)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    model = str(place(read_entries(ROOT / "configs" / "models.yaml")["minilm"].model))
    for policy, ranks in FLAG.items():
        said = {
            "input_file": folder / "pairs.jsonl", "output_file": folder / "mined.jsonl", "candidate_pool": folder / "pool.jsonl",
            "range_for_sampling": ranks, "negative_number": WANTED, "embedder_name_or_path": model,
            "embedder_model_class": "encoder-only-base", "pooling_method": "mean", "use_fp16": False, "devices": "cpu", "batch_size": 32,
        }  # fmt: skip
        command = [sys.executable, FLAG_SCRIPT, *(x for k, v in said.items() for x in (f"--{k}", str(v)))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lists = [[by_text[n] for n in json.loads(line)["neg"]] for line in (folder / "mined.jsonl").open()]
        row = {"collection": c.name, "tool": "FlagEmbedding", "policy": policy, "teacher": "none"}
        found.append({**row, **measured(c, lists)})
    return found


def against(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each filtering policy of the peer the one of ours that is best on vaswani and cisi, and its ratio everywhere."""
    at = {(r["collection"], r["tool"], r["policy"], r["teacher"]): r for r in rows}
    mine = list(dict.fromkeys((r["policy"], r["teacher"]) for r in rows if r["tool"] == "pithead"))
    chosen = [c for c in CHOSEN_ON if (c, "pithead", *mine[0]) in at]
    out = []
    for key in dict.fromkeys((r["tool"], r["policy"], r["teacher"]) for r in rows if r["tool"] in PEERS):
        _, policy, teacher = key
        if policy in UNFILTERED:
            continue
        peer = {c: at[c, *key] for c in COLLECTIONS if (c, *key) in at}
        allowed: list[tuple[float, tuple[str, str]]] = []
        if not all(c in peer for c in chosen):
            continue  # not measured on what policies are chosen on
        for one in [m for m in mine if all((c, "pithead", *m) in at for c in peer)]:
            if all(_fair(at[c, "pithead", *one], peer[c]) for c in chosen):
                ratio = np.mean([_ratio(at[c, "pithead", *one], peer[c]) for c in chosen])
                allowed.append((float(ratio), one))
        for c, theirs_ in peer.items():
            line = {"collection": c, "tool": "against", "policy": policy, "teacher": teacher}
            if allowed:
                got = at[c, "pithead", *min(allowed)[1]]
                line |= {"ours": " / ".join(min(allowed)[1]), "ratio": round(_ratio(got, theirs_), 3), "fair": _fair(got, theirs_)}
            fair = [_ratio(at[c, "pithead", *m], theirs_) for m in mine if (c, "pithead", *m) in at and _fair(at[c, "pithead", *m], theirs_)]
            line |= {"hindsight": round(min(fair), 3)} if fair else {}  # had the policy been chosen on this collection
            out.append({**line, **({} if allowed else {"ours": "none is as hard with as many queries"})})
    return out


def _fair(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return bool(a["hardness"] >= b["hardness"] - 0.005 and a["queries_kept"] >= b["queries_kept"])


def _ratio(a: dict[str, Any], b: dict[str, Any]) -> float:
    return float(a["certified_fn_rate"] / b["certified_fn_rate"]) if b["certified_fn_rate"] else float("inf")


def fitted(collections: list[Judged]) -> list[dict[str, Any]]:
    """The weights that `fit_false_negatives` finds on the collections to choose on; the packaged ones are these."""
    out = []
    for teacher in ("none", *collections[0].tables):
        names = ("dense_scores", "bm25_scores", *([] if teacher == "none" else ["teacher_scores"]))
        fold = fit_false_negatives(FitFalseNegatives(scores=names))
        for c in collections:
            fold.add(c.tables.get(teacher, c.rows), 0)
        made = fold.finish()
        out.append({"collection": "+".join(c.name for c in collections), "tool": "fit", "teacher": teacher, "policy": f"{made.weights} {made.bias}"})
    return out


def main() -> None:
    asked = os.environ.get("COLLECTIONS", " ".join(COLLECTIONS)).split()
    kept = [r for r in stored("false_negatives") if r["tool"] != "against" and (r["collection"] not in asked or r["tool"] not in TOOLS)]
    rows, chosen = [], []
    for name in asked:
        folder = Path(os.environ.get("KEEP", tempfile.mkdtemp(prefix="pithead-bench-"))) / name
        folder.mkdir(parents=True, exist_ok=True)
        c = gather(name, folder)
        chosen += [c] if name in CHOSEN_ON and "pithead" in TOOLS else []
        rows += theirs(c, str(folder / "peer")) if "sentence-transformers" in TOOLS else []
        rows += flag(c, folder) if FLAG_SCRIPT and "FlagEmbedding" in TOOLS else []
        rows += ours(c) if "pithead" in TOOLS else []
    if len(chosen) == len(CHOSEN_ON):
        kept = [*(r for r in kept if r["tool"] != "fit"), *fitted(chosen)]
    save("false_negatives", [*rows, *kept, *against([*rows, *kept])])


if __name__ == "__main__":
    main()
