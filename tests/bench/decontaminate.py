"""Evaluation queries and documents planted among titles of Debian packages: recall by tier, and what is removed by mistake.

Half of a collection's judged queries are its evaluation; 30 of them are planted as they are, in capitals, with other
punctuation, and as SmolLM2 puts them in other words: `paraphrased` where MiniLM's cosine is 0.5 or more, as the recipe asks,
else `strayed`. Of 30 documents the whole, the first half, and the whole within a title's passage are planted as passages.
What is removed by mistake: of 3,000 titles (clean), and of the same field's other half of queries and 300 other documents.
Scifact writes many claims twice, the other time denied: of the 18 of its field that ROUGE-L removes, 17 are such (by reading).
A tier's threshold is the lowest one that removes at most 0.1 % of the titles and 2 % of the field's queries and documents
on vaswani and cisi together; scifact only reports.

The store is kept in the temporary folder: a bench that was stopped goes on where it was.
"""

import json
import random
import string
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.store import Store
from cluster.task import parts_of
from tests.bench.harness import data, pithead, save
from tests.decontamination import scoring

PLANTED, CLEAN, FIELD = 30, 3000, 300
STORE = f"{tempfile.gettempdir()}/pithead-decontaminate"
CHOOSE, REPORT = ("vaswani", "cisi"), ("scifact",)
ALLOWED = {"clean": 0.001, "field_query": 0.02, "field_document": 0.02}  # shares that a threshold may remove by mistake
COLUMNS = {"exact": "", "n-gram": "ngram_scores", "ROUGE-L": "rouge_scores", "BM25": "bm25_shares", "embedding": "dense_scores"}
ASK = """
flow: paraphrase
steps:
  asked:  {op: read_queries, with: {path: ask.jsonl}}
  said:   {op: ask_llm, from: asked, using: {llm: smollm2}, with: {prompt: paraphrase/query.md, writes: rewrite, max_tokens: 48, max_chars: 300}, max_rejected: 1}
  close:  {op: compare_rewrites, from: said, using: {encoder: minilm}, with: {original: query, rewrite: rewrite, role: query}}
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pithead-bench-") as home:
        found = {name: scored(name, Path(home, name)) for name in (*CHOOSE, *REPORT)}
    halves = [row["n-gram"] for name in CHOOSE for row in found[name]["half_document"]]
    print("n-grams of half documents, at least", min(halves))
    limits = {tier: chosen(tier, [found[name] for name in CHOOSE]) for tier in COLUMNS}
    rows = []
    for name, best in found.items():
        for tier in [*COLUMNS, "all"]:
            tiers = limits if tier == "all" else {tier: limits[tier]}
            hit = {kind: share([any(row[t] >= at for t, at in tiers.items()) for row in of]) for kind, of in best.items()}
            rows.append({
                "collection": name, "tier": tier, "threshold": "" if tier == "all" else limits[tier], "recall": hit["paraphrased"],
                "false_removal": hit["clean"], **{k: v for k, v in hit.items() if k != "clean"},
                "paraphrases": len(best["paraphrased"]), "rows": sum(map(len, best.values())),
            })  # fmt: skip
    save("decontaminate", rows)


def share(flags: list[bool]) -> float:
    return round(sum(flags) / max(len(flags), 1), 4)


def chosen(tier: str, found: list[dict[str, list[dict]]]) -> float:
    """The lowest threshold, of hundredths, that removes few enough rows of these collections together by mistake."""
    values = {kind: [row[tier] for best in found for row in best[kind]] for kind in ALLOWED}
    return next(at / 100 for at in range(10, 102) if all(share([v >= at / 100 for v in values[k]]) <= most for k, most in ALLOWED.items()))


def scored(name: str, home: Path) -> dict[str, list[dict]]:
    """Kind of planted row → its rows' best score by tier."""
    home.mkdir()
    planted = plant(name, home)
    (home / "flow.yaml").write_text(scoring("decontaminate", "minilm"))
    answer, seconds, _ = pithead("run", str(home / "flow.yaml"), "--store", STORE)
    print(name, seconds, "s")
    table = rows_of(answer, "scored")
    found: dict[str, list[dict]] = {kind: [] for kind in dict.fromkeys(planted.values())}
    for row in table.to_pylist():
        best = {tier: max(row[column], default=0.0) for tier, column in COLUMNS.items() if column}
        found[planted[row["source_id"]]].append({"exact": float(bool(row["exact_ids"])), **best})
    return found


def rows_of(answer: dict, step: str) -> pa.Table:
    store, at = Store(STORE), next(f["home"] for f in answer["funnel"] if f["step"] == step)
    return pa.concat_tables([store.read_table(p["file"]) for p in parts_of(store, [at])])


def plant(name: str, home: Path) -> dict[str, str]:
    """Write the evaluation and the rows; id of a row → its kind."""
    rng = random.Random(7)
    read = {f: pq.read_table(data() / name / f"{f}.parquet").to_pylist() for f in ("queries", "qrels", "corpus")}
    judged = {r["query_id"] for r in read["qrels"]}
    queries = [q["text"] for q in sorted(read["queries"], key=lambda q: q["_id"]) if q["_id"] in judged]
    rng.shuffle(queries)
    evaluation, field = queries[::2], [q for q in queries[1::2] if q not in queries[::2]][:FIELD]
    long = rng.sample([d["text"] for d in read["corpus"] if len(d["text"].split()) >= 40], PLANTED + FIELD)
    documents, others = long[:PLANTED], long[PLANTED:]
    write(home / "evaluation.jsonl", [{"text": q} for q in evaluation])
    write(home / "documents.jsonl", [{"title": "", "text": d} for d in documents])
    some = evaluation[:PLANTED]
    titles = clean(random.Random(7))  # the same for every collection: their vectors are taken over
    passages = iter(titles[CLEAN:])
    rows = [(kind, q, next(passages)["text"]) for kind, of in reworded(some, home, rng).items() for q in of]
    rows += [("field_query", q, next(passages)["text"]) for q in field]
    rows += [("field_document", next(passages)["title"], d) for d in others]
    rows += [("clean", t["title"], t["text"]) for t in titles[:CLEAN]]
    for document in documents:
        words, (a, b, c) = document.split(), (next(passages) for _ in range(3))
        rows += [("document", a["title"], document), ("half_document", b["title"], " ".join(words[: len(words) // 2]))]
        rows.append(("within", c["title"], f"{c['text']} {document} {c['text']}"))
    write(home / "pairs.jsonl", [{"_id": str(i), "query": q, "positive": p} for i, (_, q, p) in enumerate(rows)])
    return {str(i): kind for i, (kind, _, _) in enumerate(rows)}


def clean(rng: random.Random) -> list[dict]:
    """Titles, each once, with their texts."""
    told = pq.read_table(data() / "debian_pkgdesc_en" / "corpus.parquet", columns=["title", "text"]).to_pylist()
    once = list({t["title"].casefold(): t for t in told if t["title"].strip() and t["text"].strip()}.values())
    return rng.sample(once, CLEAN + 2 * 1000)


def reworded(queries: list[str], home: Path, rng: random.Random) -> dict[str, list[str]]:
    """The queries in four ways; a paraphrase is not the query, letter by letter."""
    write(home / "ask.jsonl", [{"_id": str(i), "text": q} for i, q in enumerate(queries)])
    (home / "ask.yaml").write_text(ASK)
    answer, seconds, _ = pithead("run", str(home / "ask.yaml"), "--store", STORE)
    print("paraphrases", seconds, "s")
    told = [(r["rewrite"], r["similarity"]) for r in rows_of(answer, "close").sort_by("query_id").to_pylist() if letters(r["rewrite"]) != letters(r["query"])]
    return {
        "verbatim": queries, "recased": [q.upper() if i % 2 else q.title() for i, q in enumerate(queries)],
        "repunctuated": [punctuated(q, rng) for q in queries],
        "paraphrased": [said for said, close in told if close >= 0.5], "strayed": [said for said, close in told if close < 0.5],
    }  # fmt: skip


def punctuated(query: str, rng: random.Random) -> str:
    """Without its own punctuation, and with other marks behind a third of its words."""
    words = query.translate(str.maketrans("", "", string.punctuation)).split()
    return " ".join(w + rng.choice(",;:!") if rng.random() < 1 / 3 else w for w in words) + " …"


def letters(said: str) -> str:
    return "".join(filter(str.isalnum, said.casefold()))


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
