"""Every recipe on real passages: yield, rejects by reason, distinct-2, source passages that come back, five rows to read.

RECIPES=cadet,gecko takes these alone, PASSAGES=20 fewer passages. What is stored for a recipe at that size is not run again;
the table of configs/recipes/README.md gets the numbers.
"""

import json
import os
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from cluster.store import Store
from cluster.task import parts_of
from flows.config import CONFIGS, find_flow
from flows.flow import load
from operators import python_docs
from tests.bench.harness import RESULTS, pithead, save, stored

PASSAGES = int(os.environ.get("PASSAGES", "100"))
DOCUMENTS = 4  # documents of the corpus for each passage that is asked about: what a source passage is found among
RECIPES = [
    "cadet", "e5_mistral", "e5_nl", "nv_embed", "gecko", "kalm_personas", "nemotron_mix",
    *(p.stem for p in sorted((CONFIGS / "recipes").glob("*.yaml"))),
]  # fmt: skip
# Sizes of the recipes that have no corpus; {n} is the number of passages, a brainstorm gives three to five tasks.
SIZES = {
    "e5_mistral": ["seeds.rows={n12}", "sentences.rows={n6}"], "e5_nl": ["seeds.rows={n12}"], "nv_embed": ["seeds.rows={n24}"],
    "kalm_personas": [f"seeds_{k}.rows={{n12}}" for k in ("short_long", "long_short", "short_short")], "nemotron_mix": ["seeds.rows={n4}"],
    "verbalise": ["chosen.share={share}"], "long_documents": ["long.min_words=100", "chosen.share=1"],  # 100 of the bench's corpus
}  # fmt: skip
BOOKKEEPING = {"not in the sample", "in another split", "merged into its query", "gathered into its query"}
LLM_STEPS = ("ask_llm", "generate_queries")


def main() -> None:
    """Run what is missing, one recipe after the other."""
    wanted = os.environ.get("RECIPES", "").split(",") if os.environ.get("RECIPES") else list(dict.fromkeys(RECIPES))
    rows = stored("recipes")
    home = Path(tempfile.mkdtemp(prefix="pithead-recipes-"))
    corpus = write_corpus(home / "corpus.jsonl")
    for name in wanted:
        if any(r["recipe"] == name and r["passages"] == PASSAGES for r in rows):
            continue
        row, sample = measured(name, corpus, home / name)
        rows = [*(r for r in rows if r["recipe"] != name), row]
        save("recipes", rows)
        keep_sample(name, sample)
        fill(CONFIGS / "recipes" / "README.md", rows)
    shutil.rmtree(home)


def write_corpus(path: Path) -> Path:
    """Docstrings of Python's library, spread over all of it."""
    docs = [d for d in python_docs.docs() if len(d[2].split()) > 30]
    step = max(1, len(docs) // (PASSAGES * DOCUMENTS))
    lines = [json.dumps({"_id": n, "title": t, "text": d}) for n, t, d in docs[::step][: PASSAGES * DOCUMENTS]]
    path.write_text("\n".join(lines) + "\n")
    return path


def changes(name: str, corpus: Path) -> list[str]:
    """What makes the recipe ask about ``PASSAGES`` passages."""
    steps = {s.name for s in load(find_flow(name)).steps}
    told = SIZES.get(name, [])
    if "corpus" in steps:
        told = [f"corpus.path={corpus}", "corpus.format=auto", *(["chosen.share={quarter}"] if "chosen" in steps else []), *told]
    sizes = {f"n{k}": max(1, PASSAGES // k) for k in (4, 6, 12, 24)}
    return [t.format(quarter=1 / DOCUMENTS, share=min(1, PASSAGES / 590), **sizes) for t in told]


def measured(name: str, corpus: Path, home: Path) -> tuple[dict, list[dict]]:
    """The recipe's row, and rows of its last step to read."""
    told = changes(name, corpus)
    sets = [x for t in told for x in ("--set", t)]
    # One part: SmolLM2 writes sixteen rows side by side, and eight parts of a few rows each took four times as long.
    answer, seconds, _ = pithead("run", name, "--store", str(home), "--workers", "1", "--buckets", "1", *sets)
    base = {"recipe": name, "passages": PASSAGES, "seconds": seconds}
    if "funnel" not in answer:
        return {**base, "fault": str(answer.get("errors", answer))[:300]}, []
    flow, store = load(find_flow(name), told), Store(str(home))
    funnel = {f["step"]: f for f in answer["funnel"]}
    asking = [s for s in flow.steps if s.op.name in LLM_STEPS]
    writers = [s for s in asking if "query" in s.op.columns_written(s.params)]
    asked = sum(funnel[s.name]["counters"].get("llm_requests", 0) for s in writers or asking)
    last = flow.steps[-1]
    final = table(store, funnel[last.name]["home"])
    written = [(s, table(store, funnel[s.name]["home"])) for s in writers]
    said = final["query"].to_pylist() if "query" in final.column_names else told_by(asking[-1], final)
    lost = Counter[str]()
    for f in answer["funnel"][next(i for i, s in enumerate(flow.steps) if s in asking):]:
        lost.update({why: n for why, n in f["rejected"].items() if why not in BOOKKEEPING})
    row = {
        **base, "llm_requests": sum(f["counters"].get("llm_requests", 0) for f in answer["funnel"]), "asked": asked,
        "kept": len(final), "yield": round(len(final) / max(asked, 1), 3), "rejects": dict(lost.most_common()),
        "distinct_2": distinct(said),
        "back_in_top_10": back(written or [(last, final)], flow, store, funnel) if "corpus" in funnel else None,
    }  # fmt: skip
    return row, final.slice(0, 5).to_pylist()


def table(store: Store, home: str) -> pa.Table:
    """All rows of a step."""
    return pa.concat_tables([store.read_table(p["file"]) for p in parts_of(store, [home])])


def told_by(step, final: pa.Table) -> list[str]:
    """What the last request wrote, where a recipe makes no queries."""
    column = next((c for c in step.op.columns_written(step.params) if c in final.column_names), None)
    return [v for v in final[column].to_pylist() if isinstance(v, str)] if column else []


def distinct(said: list[str]) -> float | None:
    """Different pairs of neighbouring words, of all such pairs (Li et al. 2016)."""
    words = [re.findall(r"\w+", one.casefold()) for one in said]
    pairs = [p for one in words for p in zip(one, one[1:], strict=False)]
    return round(len(set(pairs)) / len(pairs), 3) if pairs else None


def back(written: list, flow, store: Store, funnel: dict) -> float | None:
    """Share of the queries, as they were written, whose source passage is among the 10 nearest of the whole corpus."""
    from operators.engines import load_model, packaged

    index = next((s for s in flow.steps if s.op.name == "index_texts"), None)
    asked = {}
    for _, t in written:
        fault = t["fault"].to_pylist() if "fault" in t.column_names else [""] * len(t)
        if {"query", "positive_ids"} <= set(t.column_names):
            asked.update({(q, i[0]): None for q, i, f in zip(t["query"].to_pylist(), t["positive_ids"].to_pylist(), fault) if i and not f})
    if index is None or not asked:
        return None
    texts = table(store, funnel[index.sources[0]]["home"])
    place = {key: i for i, key in enumerate(texts["passage_id"].to_pylist())}
    pairs = [(q, place[i]) for q, i in asked if i in place]
    if len(place) < 20 or not pairs:
        return None
    encoder = load_model("encoder", packaged("encoder"))
    told = [f"{t}\n{p}" if t else p for t, p in zip(texts["title"].to_pylist(), texts["passage"].to_pylist(), strict=True)]
    scored = encoder.encode([q for q, _ in pairs], "query") @ encoder.encode(told, "passage").T
    own = scored[np.arange(len(pairs)), [i for _, i in pairs]]
    return round(float(((scored > own[:, None]).sum(axis=1) < 10).mean()), 3)


def keep_sample(name: str, sample: list[dict]) -> None:
    """Five rows to read: printed, and in ``results/recipes_rows.json``."""
    path = RESULTS / "recipes_rows.json"
    rows = json.loads(path.read_text()) if path.exists() else {}
    shown = ("query_type", "instruction", "query", "positives", "negatives", "enriched", "passage", "label")
    told = [{k: cut(row[k]) for k in shown if row.get(k)} for row in sample]
    path.write_text(json.dumps({**rows, name: told}, indent=1, ensure_ascii=False) + "\n")
    for row in told:
        print(name, json.dumps(row, ensure_ascii=False))


def cut(value):
    """A text, or the first of several, short enough to read."""
    one = value[0] if isinstance(value, list) else value
    return one[:200] if isinstance(one, str) else one


def fill(readme: Path, rows: list[dict]) -> None:
    """Set the last four cells of each recipe's line in the table."""
    of = {r["recipe"]: r for r in rows}
    lines = []
    for line in readme.read_text().splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        row = of.get(cells[0].strip("`"))
        if line.startswith("|") and len(cells) == 8 and row:
            line = f"| {' | '.join([*cells[:4], *numbers(row)])} |"
        lines.append(line)
    readme.write_text("\n".join(lines) + "\n")


def numbers(row: dict) -> list[str]:
    """The measured cells."""
    if "fault" in row:
        return [f"0 of {row['passages']} passages", row["fault"].replace("|", "/"), "", ""]
    most = ", ".join(f"{n} {why}" for why, n in list(row["rejects"].items())[:5]) or "none"
    found = [row["distinct_2"], row["back_in_top_10"]]
    return [f"{row['kept']} of {row['asked']}", most, *("–" if v is None else str(v) for v in found)]


if __name__ == "__main__":
    main()
