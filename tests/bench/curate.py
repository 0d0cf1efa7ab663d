"""Curation of pairs and of rows: what filters remove of planted noise and cost of what is good, and what a selection covers.

`PARTS` names some of: `planted` (`tests.bench.curate_planted`), `consistency` (10, 30 and 50 % of the pairs get another pair's
passage; round trips by k over the whole corpus, a drawn pool as E5's and shards as Arctic's, beside floors and a drop by chance
of as many) and `selection` (coverage of 10 and 25 % of the passages, beside five draws). `COLLECTIONS` and `ENCODERS` name some
of these; rows of others stay. Settings are chosen on vaswani and cisi; the others only report. A query of vaswani has 22 and one
of cisi 41 relevant documents, a mined pair one: in a pair's ranking the query's other relevant documents count for nothing.
MiniLM is asked in bfloat16 (cosine to float32 0.99996).
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators import columns
from operators.assign_clusters import AssignClusters, assign_clusters
from operators.assign_shards import AssignShards, assign_shards
from operators.choose_rows import ChooseRows, choose_rows
from operators.contract import ROW, apply, ids, numbered, scores, text
from operators.drop_below_floor import DropBelowFloor, drop_below_floor
from operators.engines import load_model, packaged
from operators.filter_scores import FilterScores, filter_scores
from operators.fit_clusters import FitClusters, fit_clusters
from operators.fit_pair_floor import FitPairFloor, fit_pair_floor
from operators.index_texts import IndexTexts, Texts, index_texts
from operators.keep_chosen import KeepChosen, keep_chosen
from operators.measure_gaps import MeasureGaps, measure_gaps
from operators.retrieve_dense import RetrieveDense, retrieve_dense
from operators.round_trip import RoundTrip, round_trip
from operators.score_pairs import ScorePairs, name_of, score_pairs
from operators.structural_pairs import StructuralPairs, structural_pairs
from tests.bench import curate_planted
from tests.bench.harness import data, save, stored

COLLECTIONS = {
    "vaswani": ("qrels",), "cisi": ("qrels",), "cranfield": ("qrels_with_source",), "scifact": ("qrels", "qrels_train"),
    "debian_docs_en": (),
}  # fmt: skip
ENCODERS = ("minilm-bfloat16", "static")
NOISE = (0.1, 0.3, 0.5)
TOP = (1, 2, 5, 10, 20, 50)
DEPTH = 250  # of the searches: equal texts count once, a query's other relevant documents not at all
POOL, SHARDS = 500, 4
PAIRS, PASSAGES = 1000, 2000  # of a collection, at most, so that all of it takes ten minutes of a busy machine
DRAWS = 5
CACHE = os.environ.get("CACHE", "")  # a folder: a call that was stopped goes on, and another does not encode again
FLOORS: dict[str, dict[str, Any]] = {
    "floor: percentile 90 of random pairs": {"percentile": 90}, "floor: percentile 95 of random pairs": {"percentile": 95},
    "floor: percentile 99 of random pairs": {"percentile": 99}, "floor: equal error": {"rule": "equal_error"},
}  # fmt: skip


class Remembered:
    """An encoder that is asked about each text once."""

    def __init__(self, name: str) -> None:
        self._encoder, self._known = load_model("encoder", packaged("encoder", name)), {}
        self.entry, self.dim, self.counters = self._encoder.entry, self._encoder.dim, {}

    def encode(self, texts: Sequence[str], role: Any) -> np.ndarray[Any, Any]:
        new = [t for t in dict.fromkeys(texts) if (t, role) not in self._known]
        for some in (new[i : i + 256] for i in range(0, len(new), 256)):
            self._known.update(zip([(t, role) for t in some], self._cached(some, role), strict=True))
        return np.array([self._known[t, role] for t in texts], np.float32).reshape(len(texts), self.dim)


    def _cached(self, texts: list[str], role: Any) -> np.ndarray[Any, Any]:
        path = Path(CACHE) / f"{columns.row_seed(0, name_of(self.entry), role, *texts):016x}.npy"
        if not CACHE:
            return self._encoder.encode(texts, role)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            np.save(path, self._encoder.encode(texts, role))
        return np.load(path)


@dataclass
class Collection:
    """Passages, each once, and pairs that are good."""

    name: str
    passages: pa.Table  # passage_id, title, passage
    pairs: pa.Table  # query_id, query and the columns of their passage
    known: dict[bytes, set[bytes]]  # query_id → all relevant passages
    texts: Texts


def judged(name: str) -> tuple[pa.Table, pa.Table]:
    """The corpus and its positive judgements, of passages that are whole documents."""
    home, corpus = data() / name, pq.read_table(data() / name / "corpus.parquet")
    queries = pq.read_table(home / "queries.parquet")
    told = dict(zip(queries["_id"].to_pylist(), queries["text"].to_pylist(), strict=True))
    place = {one: i for i, one in enumerate(corpus["_id"].to_pylist())}
    qrels = pa.concat_tables([pq.read_table(home / f"{file}.parquet", columns=["query_id", "corpus_id", "score"]) for file in COLLECTIONS[name]])
    rows = [(r["query_id"], place[r["corpus_id"]]) for r in qrels.to_pylist() if r["score"] > 0 and r["corpus_id"] in place and r["query_id"] in told]
    passages = identified(corpus["title"].to_pylist(), corpus["text"].to_pylist())
    pairs = passages.take(pa.array([at for _, at in rows]))
    return passages, pairs.append_column("query", pa.array([told[q] for q, _ in rows], text))


def structural() -> tuple[pa.Table, pa.Table]:
    """Headings and titles with what stands below them: the first of each document by its id, which is a hash."""
    corpus = pq.read_table(data() / "debian_docs_en" / "corpus.parquet", columns=["title", "text"]).slice(0, 4 * PASSAGES)
    corpus = corpus.append_column("doc_id", columns.content_ids(corpus["title"].to_pylist(), corpus["text"].to_pylist()))
    made = apply(structural_pairs, corpus.sort_by("doc_id"), StructuralPairs()).table
    made = made.filter(pa.array(~np.concatenate([[False], np.diff(made[ROW].to_numpy()) == 0]))).slice(0, PASSAGES)
    passages = identified(made["title"].to_pylist(), made["passage"].to_pylist())
    return passages, passages.append_column("query", made["query"])


def identified(titles: list[str], bodies: list[str]) -> pa.Table:
    return pa.table({
        "passage_id": columns.content_ids(titles, bodies), "title": pa.array(titles, text), "passage": pa.array(bodies, text),
    })  # fmt: skip


def gather(name: str) -> Collection:
    """A collection; of passages and of pairs that are there twice, the first; of both the first by id, but for positives."""
    passages, pairs = judged(name) if COLLECTIONS[name] else structural()
    pairs = pairs.append_column("query_id", columns.content_ids(pairs["query"].to_pylist(), [""] * len(pairs)))
    pairs = pairs.filter(pa.array([bool(one.strip()) for one in pairs["passage"].to_pylist()]))
    both = list(zip(pairs["query_id"].to_pylist(), pairs["passage_id"].to_pylist(), strict=True))
    draw = columns.mix(columns.draws(pairs["query_id"], 0) + columns.draws(pairs["passage_id"], 1))
    first = {pair: i for i, pair in reversed([*enumerate(both)])}
    order = sorted(first.values(), key=lambda i: draw[i])
    known: dict[bytes, set[bytes]] = {}
    for query, passage in first:
        known.setdefault(query, set()).add(passage)
    pairs = pairs.take(pa.array(order[:PAIRS]))
    unique = passages.take(pa.array(sorted({one: i for i, one in reversed([*enumerate(passages["passage_id"].to_pylist())])}.values())))
    unique = unique.sort_by("passage_id")
    needed = np.isin(np.arange(len(unique)), np.flatnonzero(pa.compute.is_in(unique["passage_id"], pairs["passage_id"]).to_numpy()))
    others = np.flatnonzero(~needed)[: max(PASSAGES - needed.sum(), 0)]
    unique = unique.take(pa.array(np.sort(np.concatenate([np.flatnonzero(needed), others]))))
    fold = index_texts(IndexTexts())
    fold.add(unique, 0)
    return Collection(name, unique, pairs, known, fold.finish())


def shuffled(c: Collection, share: float) -> tuple[pa.Table, np.ndarray[Any, Any]]:
    """The pairs, of which a share got the passage of another one that is not judged relevant; and which (N,)."""
    rng, count = np.random.default_rng(int(share * 100)), len(c.pairs)
    queries, passages = c.pairs["query_id"].to_pylist(), c.pairs["passage_id"].to_pylist()
    bad = np.zeros(count, bool)
    bad[rng.permutation(count)[: round(share * count)]] = True
    other = np.arange(count)
    for i in np.flatnonzero(bad):
        while passages[other[i]] in c.known[queries[i]]:
            other[i] = rng.integers(count)
    mixed = c.pairs.select(["query_id", "query"])
    for column in ("passage_id", "title", "passage"):
        mixed = mixed.append_column(column, c.pairs[column].take(pa.array(other)).combine_chunks())
    own = columns.lists(np.arange(count + 1), mixed["passage_id"].combine_chunks())
    return mixed.append_column("positive_ids", own.cast(ids)), bad


def ranks(table: pa.Table, pool: pa.Table, c: Collection, scored: bool = False, **search: Any) -> np.ndarray[Any, Any]:
    """Each pair's rank by `round_trip` (N,), 0 where it is not among the first 50."""
    p = RetrieveDense(top_k=DEPTH, **search)
    found = retrieve_dense.merge([retrieve_dense(numbered(table), pool, p)], p).sort_by(ROW)
    rows = zip(*(t.to_pylist() for t in (table["query_id"], table["passage_id"], found[p.ids], found[p.scores])), strict=True)
    lists = [[(i, s) for i, s in zip(some, told, strict=True) if i == own or i not in c.known[q]] for q, own, some, told in rows]
    listed = table.append_column(p.ids, pa.array([[i for i, _ in one] for one in lists], ids))
    listed = listed.append_column(p.scores, pa.array([[s for _, s in one] for one in lists], scores))
    trip = RoundTrip(top_k=TOP[-1], scores=p.scores, own="similarity" if scored else None)
    kept = apply(round_trip, listed, trip, texts=c.texts).table
    rank = np.zeros(len(table), np.int64)
    rank[kept[ROW].to_numpy()] = kept["round_trip_rank"].to_numpy()
    return rank


def pools(c: Collection, encoder: Remembered) -> dict[str, pa.Table]:
    """The passages with their vectors: all, some drawn, all with their shards."""
    vectors = encoder.encode(columns.shown(c.passages), "passage")
    ends = np.arange(len(vectors) + 1, dtype=np.int64) * encoder.dim
    whole = c.passages.select(["passage_id"]).append_column("vector", columns.lists(ends, pa.array(vectors.reshape(-1))))
    whole = whole.filter(pa.array(vectors.any(axis=1)))  # as embed does: cranfield has empty documents
    fold = choose_rows(ChooseRows(budget=POOL))
    fold.add(whole, 0)
    drawn = apply(keep_chosen, whole, KeepChosen(), chosen=fold.finish()).table
    return {"corpus": whole, "drawn": drawn, "shards": apply(assign_shards, whole, AssignShards(shards=SHARDS)).table}


def consistency(c: Collection, encoder: Remembered, name: str) -> list[dict[str, Any]]:
    """Every filter at every share of noise."""
    out, pool = [], pools(c, encoder)
    for share in NOISE:
        mixed, bad = shuffled(c, share)
        mixed = apply(score_pairs, mixed, ScorePairs(vector="vector"), encoder=encoder).table.drop_columns([ROW])
        sharded = apply(assign_shards, mixed, AssignShards(shards=SHARDS)).table
        found = {"corpus": ranks(mixed, pool["corpus"], c)}
        found[f"{POOL} drawn"] = ranks(mixed, pool["drawn"], c, scored=True)
        found[f"{SHARDS} shards"] = ranks(sharded, pool["shards"], c, alike=("shard",))
        row = {"part": "consistency", "collection": c.name, "encoder": name, "pairs": len(mixed), "passages": len(c.passages), "shuffled": share}
        for where, rank in found.items():
            for k in TOP if where == "corpus" else (2, 20):
                out.append({**row, "filter": f"round trip: top {k} of {where}", **cost((rank > 0) & (rank <= k), bad)})
        for told, said in FLOORS.items():
            fold = fit_pair_floor(FitPairFloor(**said), encoder=encoder)
            fold.add(mixed, 0)
            floor = fold.finish()
            kept = apply(drop_below_floor, mixed, DropBelowFloor(), floor=floor).table
            out.append({**row, "filter": told, **cost(mask(kept, mixed), bad), "threshold": round(floor.threshold, 3), "auc": round(floor.auc, 3)})
        kept = apply(filter_scores, mixed, FilterScores(at_least={"similarity": 0.4})).table
        out.append({**row, "filter": "floor: fixed 0.4", **cost(mask(kept, mixed), bad), "threshold": 0.4})
    return out


def mask(kept: pa.Table, table: pa.Table) -> np.ndarray[Any, Any]:
    return np.isin(np.arange(len(table)), kept[ROW].to_numpy())


def cost(kept: np.ndarray[Any, Any], bad: np.ndarray[Any, Any]) -> dict[str, float]:
    """What a filter removes, and what a drop of as many by chance would (the mean of five)."""
    draws = [np.isin(np.arange(len(kept)), np.random.default_rng(s).permutation(len(kept))[: kept.sum()]) for s in range(DRAWS)]
    return {
        "kept": round(float(kept.mean()), 4), "bad_removed": round(float((~kept)[bad].mean()), 4),
        "good_lost": round(float((~kept)[~bad].mean()), 4), "bad_left": round(float(bad[kept].mean()), 4) if kept.any() else None,
        "chance_bad_removed": round(float(np.mean([(~d)[bad].mean() for d in draws])), 4),
        "chance_good_lost": round(float(np.mean([(~d)[~bad].mean() for d in draws])), 4),
    }  # fmt: skip


SELECTIONS: dict[str, dict[str, Any]] = {
    "as the clusters are": {"by": "cluster"}, "clusters by n^0.5": {"by": "cluster", "alpha": 0.5}, "clusters alike": {"by": "cluster", "alpha": 0},
    "k-center": {"quality": "gap"}, "k-center, as the clusters are": {"quality": "gap", "by": "cluster"},
    "drawn by gap, temperature 0.1": {"quality": "gap", "temperature": 0.1},
}  # fmt: skip


def selection(c: Collection, encoder: Remembered, name: str) -> list[dict[str, Any]]:
    """How far passages lie from the nearest chosen one, and how evenly clusters are met."""
    whole = pools(c, encoder)["corpus"]
    fold = fit_clusters(FitClusters(clusters=max(8, len(whole) // 200), key="passage_id", redo=1))
    fold.add(whole, 0)
    whole = apply(assign_clusters, whole, AssignClusters(), centroids=fold.finish()).table.drop_columns([ROW])
    start = time.monotonic()
    whole = apply(measure_gaps, whole, MeasureGaps()).table
    seconds = round(time.monotonic() - start, 1)
    rows, cluster = columns.vectors(whole["vector"]), whole["cluster"].to_numpy()
    out = []
    for share in (0.1, 0.25):
        budget = round(share * len(whole))
        row = {"part": "selection", "collection": c.name, "encoder": name, "passages": len(whole), "clusters": int(cluster.max()) + 1, "budget": budget}
        draws = [covered(rows, cluster, chosen(whole, budget, seed=s)) for s in range(DRAWS)]
        for told, of in (("draws: mean of 5", np.mean), ("draws: best of 5", None)):
            best = {k: max(d[k] for d in draws) if k == "entropy" else min(d[k] for d in draws) for k in draws[0]}
            out.append({**row, "selection": told, **({k: round(float(of([d[k] for d in draws])), 4) for k in draws[0]} if of else best)})
        for told, said in SELECTIONS.items():
            out.append({**row, "selection": told, **covered(rows, cluster, chosen(whole, budget, **said)), "gap_seconds": seconds})
    return out


def chosen(whole: pa.Table, budget: int, **said: Any) -> np.ndarray[Any, Any]:
    fold = choose_rows(ChooseRows(budget=budget, **said))
    fold.add(whole.sort_by("passage_id"), 0)
    return fold.finish().has(whole["passage_id"])


def covered(rows: np.ndarray[Any, Any], cluster: np.ndarray[Any, Any], taken: np.ndarray[Any, Any]) -> dict[str, float]:
    """The farthest and the mean distance to the nearest chosen row, and the entropy of the chosen rows' clusters."""
    best = np.concatenate([(rows[i : i + 1024] @ rows[taken].T).max(axis=1) for i in range(0, len(rows), 1024)])
    far = np.where(taken, 0, np.sqrt(np.maximum(2 - 2 * best, 0)))
    share = np.bincount(cluster[taken]) / taken.sum()
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    return {"radius": round(float(far.max()), 4), "mean_distance": round(float(far.mean()), 4), "entropy": round(float(entropy), 4)}


PARTS = {"consistency": consistency, "selection": selection}


def main() -> None:
    every = (("PARTS", (*PARTS, "planted")), ("COLLECTIONS", COLLECTIONS), ("ENCODERS", ENCODERS))
    parts, names, encoders = (os.environ.get(name, ",".join(known)).split(",") for name, known in every)
    if "planted" in parts:
        parts.remove("planted")
        curate_planted.main()
    if not parts:
        return
    for name in names:
        c = gather(name)
        for key in encoders:
            start, encoder = time.monotonic(), Remembered(key)
            rows = [r for r in stored("curate") if (r.get("collection"), r.get("encoder")) != (name, key) or r["part"] not in parts]
            save("curate", rows + [row for part in parts for row in PARTS[part](c, encoder, key)])
            print(f"{name}, {key}: {len(c.passages)} passages, {len(c.pairs)} pairs, {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
