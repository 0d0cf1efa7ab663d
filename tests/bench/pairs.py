"""Pairs that exist already, checked on real collections: co-relevant texts against random ones, planted pairs found by margin.

C14: texts that one query joins (co_cited over qrels), cosine by MiniLM of pairs beside random pairs: area under the curve.
C16: known pairs among texts without a mate, in two lists; the best F1 of each margin, matched alike.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.harness import data, save, watched

COLLECTIONS = (("cisi", "qrels"), ("vaswani", "qrels"), ("cranfield", "qrels_with_source"), ("scifact", "qrels_train"))
MARGINS = ("ratio", "distance", "absolute")
SIDES = ("ours.using.encoder", "theirs.using.encoder")


def related(name: str, qrels: str, home: Path) -> dict[str, object]:
    """AUC of the pairs of `relations` with `joined.pairs: co_cited` against as many random pairs of the same texts."""
    from sklearn.metrics import roc_auc_score

    from operators.engines import load_model, packaged

    table = pq.read_table(data() / name / f"{qrels}.parquet")
    kept = table.filter(pa.compute.greater(table["score"].cast(pa.float64()), 0)).select(["query_id", "corpus_id"])
    pq.write_table(kept, home / f"{name}.parquet")
    answer, seconds, _ = watched(
        "run", "relations", "--store", str(home / name), "--until", "pairs", "--set", f"corpus.path={data() / name}/corpus.parquet",
        "--set", f"edges.path={home / name}.parquet", "--set", "joined.pairs=co_cited", "--set", "joined.max_rejected=1",
    )  # fmt: skip
    funnel = {f["step"]: f for f in answer["funnel"]}
    manifest = json.loads((home / name / funnel["pairs"]["home"] / "manifest.json").read_text())
    pairs = pa.concat_tables([pq.read_table(home / name / part["file"]) for part in manifest["parts"]])
    most = {key: max(np.unique([r.hex() for r in pairs[key].to_pylist()], return_counts=True)[1]) for key in ("anchor_id", "passage_id")}
    pairs = pairs.slice(0, 200)  # by id, which is a hash
    texts = [*pairs["query"].to_pylist(), *pairs["passage"].to_pylist()]
    found = load_model("encoder", packaged("encoder")).encode(texts, "passage")
    left, right = np.split(np.asarray(found, np.float64), 2)
    true, other = (left * right).sum(axis=1), (left * right[np.random.default_rng(0).permutation(len(right))]).sum(axis=1)
    auc = roc_auc_score([1] * len(true) + [0] * len(other), np.concatenate([true, other]))
    return {"check": "co_cited", "collection": name, "edges": len(kept), "pairs": funnel["pairs"]["rows_out"], "auc": round(float(auc), 3),
            "most_of_an_anchor": int(most["anchor_id"]), "most_of_a_passage": int(most["passage_id"]), "seconds": seconds}  # fmt: skip


def planted(name: str, left: list[tuple[str, str]], right: list[tuple[str, str]], home: Path, encoder: str) -> list[dict[str, object]]:
    """The best F1 of each margin; a pair is known where the ids are one."""
    home = home / f"{name}-{encoder}"
    home.mkdir()
    for side, rows in (("left", left), ("right", right)):
        lines = (json.dumps({"_id": f"{side}-{key}", "text": said}) + "\n" for key, said in rows)
        (home / f"{side}.jsonl").write_text("".join(lines))
    known = sorted({key for key, _ in left} & {key for key, _ in right})
    (home / "known.csv").write_text("from,to\n" + "".join(f"left-{key},right-{key}\n" for key in known))
    rows = []
    for margin in MARGINS:
        sets = [f"{side}.path={home}/{side}.jsonl" for side in ("left", "right")] + [f"known.path={home}/known.csv", "least.complete=true"]
        sets += [f"{step}.margin={margin}" for step in ("forth_scored", "back_scored")] + [f"{side}={encoder}" for side in SIDES]
        sets += [f"{step}.using={{}}" for step in ("forth_scored", "back_scored") if margin == "absolute"]
        answer, seconds, _ = watched("run", "bitext", "--store", str(home / "store"), "--until", "least", *(a for one in sets for a in ("--set", one)))
        step = next(f for f in answer["funnel"] if f["step"] == "least")
        rows.append({"check": "planted", "pairs_of": name, "encoder": encoder, "margin": margin, "left": len(left), "right": len(right),
                     "known": len(known), **{k.removesuffix("_per_mille"): v / 1000 for k, v in step["measured"].items() if k.endswith("per_mille")}, "seconds": seconds})  # fmt: skip
    return rows


def lists() -> dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]]:
    """Two lists each: of three quarters of the ids on either side, so that a third of a list has no mate on the other."""
    xquad = pq.read_table(data() / "xquad" / "corpus.parquet").to_pylist()
    of = {lang: [(r["_id"][-3:], r["text"][:200]) for r in xquad if r["lang"] == lang] for lang in ("en", "de", "es", "ro")}
    made = {f"xquad en-{lang}": (of["en"][:180], of[lang][60:]) for lang in ("de", "es", "ro")}
    debian = pq.read_table(data() / "debian_pkgdesc_en" / "corpus.parquet").to_pylist()[::40][:1200]
    titles = [(r["_id"], r["title"]) for r in debian if r["title"] and r["text"]]
    bodies = [(r["_id"], r["text"][:200]) for r in debian if r["title"] and r["text"]]
    made["debian title-text"] = titles[: len(titles) * 3 // 4], bodies[len(bodies) // 4 :]
    return made


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="pithead-bench-"))
    rows = [related(name, qrels, home) for name, qrels in COLLECTIONS]
    for name, sides in lists().items():
        for encoder in ("minilm", "static"):
            rows += planted(name, *sides, home, encoder)
    save("pairs", rows)


if __name__ == "__main__":
    main()
