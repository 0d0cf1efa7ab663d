"""The flow behind `ablations`: structural pairs of a collection's own corpus, and a training set for every arm.

No judged query is read but to score; pairs whose query is one would be dropped by `pithead evaluate`, here they are counted.
"""

from dataclasses import dataclass, field
from typing import Any

from flows.collection import Collection, Steps, judged, ranked, scored, step, tests_of

SIX = ("title_body", "heading_section", "inverse_cloze", "body_first", "neighbours", "random_spans")
SPANS = {"anchors": 1, "positives": 1, "min_words": 6, "max_words": 40}
# No titles there, or one of many paragraphs.
KINDS = {"vaswani": ("random_spans",), "jaquad": ("inverse_cloze",), "xquad": ("inverse_cloze",)}
KEPT = ["query_id", "query", "query_type", "instruction", "generator", "source", "licence", "positive_ids", "passage_id", "doc_id"]
BATCH = 64


@dataclass(frozen=True)
class Arm:
    """A training: on which step's rows, how, and what it is held against."""

    name: str
    rows: str
    versus: str = "base"
    how: dict[str, Any] = field(default_factory=dict)

    def params(self, seed: int, student: dict[str, Any]) -> dict[str, Any]:
        """Of `train_student`."""
        drawn = {} if self.how.get("batches") == "set" else {"batches": "random", "batch_size": BATCH}
        return {**drawn, **self.how, **student, "seed": seed}


def arms() -> list[Arm]:
    """Every arm; those of one question name each other."""
    return [
        Arm("infonce", "fit"),
        Arm("batches-random", "random", "base", {"batches": "set"}),
        Arm("batches-clusters", "clusters", "batches-random", {"batches": "set"}),
        Arm("batches-random-masks", "random", "batches-random", {"batches": "set", "masks": True}),
        Arm("batches-clusters-masks", "clusters", "batches-random", {"batches": "set", "masks": True}),
        Arm("negatives-naive", "naive", "infonce", {"negatives": 4}),
        Arm("negatives-aware", "aware", "infonce", {"negatives": 4}),
        Arm("listwise", "lists", "infonce", {"loss": "listwise", "candidates": "fused_scores", "negatives": 16, "contrastive": 0.0}),
        Arm("listwise-infonce", "lists", "infonce", {"loss": "listwise", "candidates": "fused_scores", "negatives": 16}),
        Arm("kinds-six", "mixed", "infonce"),
        Arm("filter-round-trip", "consistent", "infonce"),
        Arm("filter-drop", "matched", "filter-round-trip"),
    ]


def data(c: Collection, encoder: str, rows: int, kept: int) -> Steps:
    """Steps by short names: pairs, what each passage's search found, and the rows of every arm. ``kept``: of filter-drop."""
    main = KINDS.get(c.name, ("title_body",))
    s: Steps = {}
    for name, kinds in (("one", main), ("six", SIX)):
        with_spans = {"spans": SPANS} if "random_spans" in kinds else {}
        params = {"kinds": list(kinds), "min_passage_words": 5, "max_passage_words": 120, **with_spans}
        s[f"{name}-pairs"] = step("structural_pairs", f"{c.name}-corpus", params, max_rejected=1)
        s[f"{name}-once"] = step("drop_duplicates", f"{name}-pairs", {"key": "query_id"}, max_rejected=1)
        s[f"{name}-chosen"] = step("choose_rows", f"{name}-once", {"budget": rows, "key": "query_id"})
        s[f"{name}-kept"] = step("keep_chosen", f"{name}-once", {"key": "query_id"}, using={"chosen": f"{name}-chosen"}, max_rejected=1)
    passage = ["passage_id", "title", "passage"]
    s["pool"] = step("drop_duplicates", "one-kept", {"key": "passage_id"}, keep=passage, max_rejected=1)
    s["pools"] = step("drop_duplicates", ["one-kept", "six-kept"], {"key": "passage_id"}, keep=passage, max_rejected=1)
    s["texts"] = step("index_texts", ["pools", f"{c.name}-unique"], {})
    s["documents"] = step("index_documents", ["one-kept", f"{c.name}-whole"], {})
    s["terms"] = step("fit_bm25", "pool", {"analyser": c.analyser})
    s["vectors"] = step("embed", "pool", {"column": "passage"}, keep=["passage_id"], using={"encoder": encoder})
    s["asked"] = step("embed", "one-kept", {"column": "query"}, keep=KEPT, using={"encoder": encoder})
    s |= _mined() | _batches() | _distilled(c)
    s["mixed"] = step("drop_duplicates", "six-kept", {"key": "query_id"}, max_rejected=1)
    s["consistent"] = step("round_trip", "candidates", {"top_k": 1}, using={"texts": "texts"}, max_rejected=1)
    s["drop"] = step("choose_rows", "candidates", {"budget": max(kept, 1), "key": "query_id", "seed": 1})
    s["matched"] = step("keep_chosen", "candidates", {"key": "query_id"}, using={"chosen": "drop"}, max_rejected=1)
    return s


def _searched(dense: str, lexical: str, terms: str, name: str) -> Steps:
    """The base model's and BM25's candidates, fused by the sum of their scores."""
    return {
        f"{name}-dense": {**step("retrieve_dense", "asked", {"top_k": 50}), "against": dense},
        f"{name}-lexical": {**step("retrieve_bm25", f"{name}-dense", {"top_k": 50}, using={"statistics": terms}), "against": lexical},
        name: step("fuse_rankings", f"{name}-lexical", {"top_k": 50, "method": "weighted"}),
    }


def _mined() -> Steps:
    """Negatives among the pairs' own passages: the nearest, and the hardest for their risk."""
    used = {"texts": "texts", "documents": "documents"}
    return {
        **_searched("vectors", "pool", "terms", "candidates"),
        "risk": step("score_false_negatives", "candidates", {}),
        "naive": step(
            "select_negatives", "risk", {"policy": "window", "score": "dense_scores", "rank_from": 1, "negatives": 4},
            using=used, max_rejected=1,
        ),
        "aware": step("select_negatives", "risk", {"policy": "utility", "score": "dense_scores", "risk_weight": 0.5, "negatives": 4},
                      using=used, max_rejected=1),
        "fit": step("drop_duplicates", "aware", {"key": "query_id"}, max_rejected=1),
    }  # fmt: skip


def _batches() -> Steps:
    """The same rows in batches of anything and in batches of a cluster, with what masks say of each."""
    s: Steps = {
        "centroids": step("fit_clusters", "aware", {"clusters": 10}),
        "clustered": step("assign_clusters", "aware", {}, using={"centroids": "centroids"}),
    }
    for name, by in (("random", []), ("clusters", ["cluster"])):
        params = {"batch_size": BATCH, "by": by, "remainder": "short", "negatives": False}
        s[f"{name}-batches"] = step("compose_batches", "clustered", params, using={"texts": "texts"})
        s[f"{name}-batched"] = step("assign_batches", "clustered", {}, using={"batches": f"{name}-batches"}, max_rejected=1)
        s[name] = step("mask_negatives", f"{name}-batched", {}, using={"texts": "texts", "documents": "documents"})
    return s


def _distilled(c: Collection) -> Steps:
    """Lists of whole documents, as they are searched at the end."""
    return _searched(f"{c.name}-base-0-vectors", f"{c.name}-unique", f"{c.name}-terms", "lists")


def flow_steps(c: Collection, encoder: str, chosen: list[Arm], seeds: int, settings: tuple[int, int, dict[str, Any]]) -> Steps:
    """Everything of one collection and student; ``settings``: rows, rows of filter-drop, how students are trained."""
    rows, kept, how = settings
    steps = {**judged(c), **tests_of(c), **ranked(c, "base", 0, encoder), **data(c, encoder, rows, kept)}
    steps["tests"] = step("index_evaluation", f"{c.name}-tests", {})
    steps["looked"] = step("match_evaluation", ["one-kept", "six-kept"], {}, using={"evaluation": "tests"})
    steps["found"] = step("measure_contamination", "looked", {}, using={"evaluation": "tests"})
    every = [scored(c, "bm25", 0), scored(c, "base", 0)]
    for arm in chosen:
        for seed in range(seeds):
            name = f"{arm.name}-student-{seed}"
            steps[name] = step("train_student", arm.rows, arm.params(seed, how), using={"encoder": encoder, "texts": "texts"})
            steps |= ranked(c, arm.name, seed, name)
            every.append(scored(c, arm.name, seed))
    pairs = [[arm.name, v] for arm in chosen for v in dict.fromkeys(("base", arm.versus)) if v == "base" or v in {a.name for a in chosen}]
    return {**steps, "comparison": step("compare_arms", every, {"pairs": pairs})}
