"""Judges on vaswani: does relabelling find a better passage (C24), does an LLM's order follow the qrels (C25), what does
CUR find for how many calls of a teacher (C32)? `PARTS=planted,listwise,cur` takes some.
"""

import os
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from scipy.stats import kendalltau

from operators import columns
from operators.content import indexed
from operators.contract import apply, ids, text
from operators.embed_by_teacher import EmbedByTeacher, embed_by_teacher
from operators.engines import load_model, packaged
from operators.engines.llm import Request, Sampling
from operators.fit_anchors import FitAnchors, fit_anchors, scored
from operators.index_texts import Texts
from operators.rank_listwise import RankListwise, rank_listwise
from operators.relabel_positives import GECKO, RelabelPositives, relabel_positives
from operators.score_teacher import ScoreTeacher, score_teacher
from operators.template import Template
from tests.bench.harness import data, save, stored

PLANTED, ORDERED, ITEMS, ANCHORS = 40, 20, 1500, 50
BUDGETS, TOP = (25, 50, 100, 200), 10


def collection() -> tuple[list[str], list[str], list[set[int]]]:
    """Passages in the order of a hash, queries, and the passages that are relevant to each."""
    home = data() / "vaswani"
    corpus, queries, qrels = (pq.read_table(home / f"{n}.parquet").to_pylist() for n in ("corpus", "queries", "qrels"))
    corpus.sort(key=lambda d: xxhash.xxh3_64_intdigest(d["text"].encode()))
    place = {d["_id"]: i for i, d in enumerate(corpus)}
    good = {q["_id"]: set() for q in queries}
    for r in qrels:
        if r["score"] > 0:
            good[r["query_id"]].add(place[r["corpus_id"]])
    return [d["text"] for d in corpus], [q["text"] for q in queries], [good[q["_id"]] for q in queries]


def table_of(queries: list[str], positives: list[list[bytes]], candidates: list[list[bytes]]) -> pa.Table:
    """Rows for a judge."""
    return pa.table({
        "query_id": columns.content_ids(queries, [""] * len(queries)), "query": pa.array(queries, text),
        "positive_ids": pa.array(positives, ids), "candidate_ids": pa.array(candidates, ids),
    })  # fmt: skip


def planted() -> list[dict[str, Any]]:
    """A query is written from a passage; a near-duplicate that says what it answers stands among six others: who picks it?"""
    passages, _, _ = collection()
    llm, prompt = load_model("llm", packaged("llm")), Template.model_validate("web_query.md")
    seeds = passages[:PLANTED]
    asked = [Request(prompt.asked({"passage": one}, i)[1], i, str(i)) for i, one in enumerate(seeds)]
    queries = [a.text.strip() for a in llm.complete(asked, Sampling(24, 0.0, 1, ("\n",)))]
    better = [f"{one} In short, this is the answer to: {query}" for one, query in zip(seeds, queries, strict=True)]
    others = passages[PLANTED : PLANTED + 6 * PLANTED]
    key, texts = indexed([*seeds, *better, *others])
    rows = table_of(
        queries, [[key[i]] for i in range(PLANTED)],
        [[key[PLANTED + i], *key[2 * PLANTED + 6 * i : 2 * PLANTED + 6 * i + 6]] for i in range(PLANTED)],
    )  # fmt: skip
    for name in ("likelihood", "relevance"):
        p = ScoreTeacher(scores=f"{name}_scores", positives=f"{name}_positives")
        rows = apply(score_teacher, rows, p, teacher=load_model("teacher", packaged("teacher", f"smollm2-{name}")), texts=texts).table
    wanted, out = dict(zip(queries, key[PLANTED : 2 * PLANTED], strict=True)), []
    for name, judges in (("likelihood", GECKO[:1]), ("relevance", GECKO[1:]), ("both, fused", GECKO)):
        told = apply(relabel_positives, rows, RelabelPositives(judges=judges), texts=texts).table
        picked = [p[0] == wanted[q] for q, p in zip(told["query"].to_pylist(), told["positive_ids"].to_pylist(), strict=True)]
        moved = np.mean(told["relabelled"].to_pylist())
        out.append({"part": "planted", "judge": name, "queries": len(picked), "planted_chosen": round(float(np.mean(picked)), 3),
                    "relabelled": round(float(moved), 3), "chance": 0.125})  # fmt: skip
    return out


def listwise() -> list[dict[str, Any]]:
    """Three relevant passages and five others in an LLM's order: Kendall τ with the qrels, and of two orders."""
    passages, queries, good = collection()
    chosen = [i for i, found in enumerate(good) if len(found) >= 3][:ORDERED]
    lists = [[*sorted(good[i])[:3], *[n for n in range(8 * k, 8 * k + 8) if n not in good[i]][:5]] for k, i in enumerate(chosen)]
    places = sorted({n for one in lists for n in one})
    names, texts = indexed([passages[n] for n in places])
    key = dict(zip(places, names, strict=True))
    rows = table_of([queries[i] for i in chosen], [[key[one[0]]] for one in lists], [[key[n] for n in one] for one in lists])
    llm, out = load_model("llm", packaged("llm")), []
    done = apply(rank_listwise, rows, RankListwise.model_validate({"prompt": "listwise.md", "orders": 2}), llm=llm, texts=texts)
    told = {"smollm2 listwise": done.table["listwise_scores"].to_pylist()}
    for name in ("smollm2-relevance", "late-interaction"):
        teacher = load_model("teacher", packaged("teacher", name))
        told[name] = apply(score_teacher, rows, ScoreTeacher(), teacher=teacher, texts=texts).table["teacher_scores"].to_pylist()
    for name, found in told.items():
        taus = [kendalltau([1] * 3 + [0] * (len(one) - 3), one).statistic for one in found]
        out.append({"part": "listwise", "judge": name, "queries": len(found), "tau_qrels": round(float(np.nanmean(taus)), 3)})
    out[0] |= {"tau_two_orders": round(float(np.mean(done.table["listwise_agreement"].to_pylist())), 3),
               "repaired": round(float(np.mean(done.table["listwise_repaired"].to_pylist())), 3), "rejected": len(done.rejects)}  # fmt: skip
    return out


def cur() -> list[dict[str, Any]]:
    """Recall of the teacher's own top 10 of 1,500 passages, by the calls a query that each way has."""
    passages, queries, _ = collection()
    passages, teacher = passages[:ITEMS], load_model("teacher", packaged("teacher"))
    names, texts = indexed(passages)
    exact = scored(teacher, queries[ANCHORS:], passages)
    best = np.argsort(-exact, axis=1, kind="stable")[:, :TOP]
    first = {name: _cosines(queries[ANCHORS:], passages, name) for name in ("minilm", "static")}
    out = []
    for budget in BUDGETS:
        proposals = {f"{n} and rerank": (s, budget) for n, s in first.items()}
        for share in (0.25, 0.5, 0.75):
            spent = int(budget * share)
            proposals[f"CUR, {share:.0%} of the calls for anchors"] = _cur(queries, passages, names, texts, spent, teacher), budget - spent
        for name, (approximate, left) in proposals.items():
            tried = np.argsort(-approximate, axis=1, kind="stable")[:, :left]
            recall = np.mean([len(set(b) & set(t)) / TOP for b, t in zip(best.tolist(), tried.tolist(), strict=True)])
            out.append({"part": "cur", "judge": name, "queries": len(exact), "calls_a_query": budget, "recall_top_10": round(float(recall), 3)})
    return out


def _cosines(queries: list[str], passages: list[str], name: str) -> np.ndarray:
    encoder = load_model("encoder", packaged("encoder", name))
    return encoder.encode(queries, "query") @ encoder.encode(passages, "passage").T


def _cur(queries: list[str], passages: list[str], names: list[bytes], texts: Texts, spent: int, teacher: Any) -> np.ndarray:
    """Approximate scores from ``spent`` anchor passages, which are drawn by id."""
    anchors = sorted(names)[:spent]
    fold = fit_anchors(FitAnchors(queries=ANCHORS, passages=spent), teacher=teacher, texts=texts)
    fold.add(table_of(queries[:ANCHORS], [anchors] * ANCHORS, [[]] * ANCHORS), 0)
    used = {"teacher": teacher, "anchors": fold.finish()}
    asked = pa.table({"query": pa.array(queries[ANCHORS:], text)})
    told = pa.table({"title": pa.array([""] * len(passages), text), "passage": pa.array(passages, text)})
    left = apply(embed_by_teacher, asked, EmbedByTeacher(column="query"), **used).table
    right = apply(embed_by_teacher, told, EmbedByTeacher(), **used).table
    return columns.vectors(left["teacher_vector"]) @ columns.vectors(right["teacher_vector"]).T


PARTS = {"planted": planted, "listwise": listwise, "cur": cur}


def main() -> None:
    """Run the parts that are asked for."""
    for name in os.environ.get("PARTS", ",".join(PARTS)).split(","):
        save("judges", [*(r for r in stored("judges") if r["part"] != name), *PARTS[name]()])


if __name__ == "__main__":
    main()
