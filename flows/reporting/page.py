"""The page: figures as sentences, bars and points, set into the template, which escapes all that a set holds."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from flows.card import KINDS
from flows.reporting import charts
from flows.reporting.charts import count, number, percent, share
from flows.reporting.fold import Scores
from flows.reporting.gather import POINTS, ROWS, Gathered
from flows.show import reasons

FOLDER = Path(__file__).parent
MARK = "pithead report"  # of a page of ours, which may be written over
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
NAMES = {"query": "queries", "positive_scores": "positives", "negative_scores": "negatives", "text": "texts", "title": "titles",
         "passage": "passages"}  # fmt: skip
FACTS = ("query_type", "source", "lang", "cluster", "batch")
TONES = {"query": "ink", "positives": "good", "negatives": "bad", "positive_scores": "good", "negative_scores": "bad"}


def render(found: Gathered, manifest: dict[str, Any]) -> bytes:
    """The page, the same bytes of equal figures."""
    loader = FileSystemLoader(FOLDER)
    env = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters |= {"size": charts.size, "count": count, "number": number, "clip": clip, "percent": percent}
    env.globals |= {"share": share}
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    said = env.get_template("page.html").render(
        mark=MARK, style=Markup(style), script=Markup(script), policy=policy(style, script), **context(found, manifest)
    )
    return said.encode()


def policy(style: str, script: str) -> str:
    """A Content-Security-Policy under which the page's own style and script run and nothing else, nor anything from elsewhere."""
    styles, scripts = (base64.b64encode(hashlib.sha256(x.encode()).digest()).decode() for x in (style, script))
    own = f"style-src 'sha256-{styles}'; script-src 'sha256-{scripts}'"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def clip(value: Any, size: int = 160) -> str:
    """A text for people: white space folded, control characters shown as one sign, at most twice ``size`` bytes escaped."""
    text = _CONTROLS.sub("\ufffd", " ".join(str(value)[: 4 * size].split()))
    short = text[:size]
    while len(escape(short).encode()) > 2 * size:
        short = short[: len(short) * 9 // 10]
    return short + ("…" if len(short) < len(text) or len(str(value)) > 4 * size else "")


def context(found: Gathered, manifest: dict[str, Any]) -> dict[str, Any]:
    """All that the template needs."""
    figures = found.figures
    rows, order, _ = KINDS.get(figures["set"]["kind"], KINDS["train"])
    return {
        "f": figures, "rows_are": rows, "order": order, "tiles": _tiles(figures), "funnel": _funnel(figures["funnel"]),
        "scores": _scores(found), "margins": _margins(figures["candidates"], manifest),
        "lengths": [
            charts.of_lengths(NAMES.get(c, c), TONES.get(c, "ink"), x, max(y.longest for y in found.fold.lengths.values()))
            for c, x in found.fold.lengths.items() if x.texts
        ],
        "values": _values(figures), "map": _map(found), "batches": _batches(found), "yields": _yields(figures["yields"]),
        "examples": _examples(found.sample), "alone": _alone(found), "lineage": [_step(s) for s in manifest["lineage"]],
        "models": _models(manifest),
    }  # fmt: skip


def _tiles(f: dict[str, Any]) -> list[tuple[str, str]]:
    """What stands at the top: number and what it counts."""
    made = [(count(f["set"]["rows"]), KINDS.get(f["set"]["kind"], KINDS["train"])[0])]
    for name, sizes in f["texts_a_row"].items():
        total = sum(n * rows for n, rows in sizes.items())
        made.append((f"{total / max(sum(sizes.values()), 1):.3g}", f"{name} a row"))
    if f["batches"]:
        made.append((count(f["batches"]["batches"]), "batches"))
    if "cluster" in f["values"]:
        made.append((count(f["values"]["cluster"]["distinct"]), "clusters"))
    if "source" in f["values"]:
        made.append((count(f["values"]["source"]["distinct"]), "source" + "s" * (f["values"]["source"]["distinct"] != 1)))
    return made


def _funnel(funnel: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each step with its bar, drawn to the scale of the last step that made rows of another kind; an artifact has none."""
    top, made = 1, []
    for f in funnel:
        lost = sum(f["rejected"].values())
        if f["rows_out"] > f["rows_in"] or f["rows_out"] + lost > top:
            top = f["rows_out"] + lost
        made.append({
            **f, "lost": lost, "why": clip(reasons(f["rejected"], 12), 400),
            "artifact": not f["rows_out"] and not lost and f["rows_in"] > 0,
            "kept": percent(f["rows_out"] / top), "gone": percent(lost / top), "share": share(lost, f["rows_in"]),
            "measured": ", ".join(f"{clip(k, 60)}: {count(v)}" for k, v in list(f.get("measured", {}).items())[:8]),
        })  # fmt: skip
    return made


def _scores(found: Gathered) -> dict[str, Any] | None:
    """Histograms of positives, candidates, negatives and the gap between them, the first three on one axis."""
    known = {c: x for c, x in found.fold.scores.items() if x.count}
    if found.candidates is not None and _same_scorer(found):
        value = found.candidates.value
        made = Scores(float(value.min()), float(value.max()))
        made.add(value)
        known = {**{c: x for c, x in known.items() if c == "positive_scores"}, "candidates": made,
                 **{c: x for c, x in known.items() if c != "positive_scores"}}  # fmt: skip
    if not known:
        return None
    low, high = (f(x.ends[i] for x in known.values()) for i, f in enumerate((min, max)))
    high = high if high > low else low + 1e-6
    gaps = found.fold.gaps
    gap = gaps is not None and gaps.count and charts.of_scores("gap", "ink", gaps, *_ends(gaps))
    drawn = [charts.of_scores(NAMES.get(c, c), TONES.get(c, "mute"), x, low, high) for c, x in known.items()]
    return {"drawn": drawn, "counts": [x.count for x in known.values()], "gap": gap or None}


def _ends(scores: Scores) -> tuple[float, float]:
    low, high = scores.ends
    return low, high if high > low else low + 1e-6


def _same_scorer(found: Gathered) -> bool:
    """Whether the set's scores are of the scorer whose candidates are known: the positives' ends agree."""
    scores = found.fold.scores.get("positive_scores")
    if scores is None or not scores.count:
        return True
    known = found.candidates.positive[np.isfinite(found.candidates.positive)]
    return len(known) > 0 and known.min() <= scores.ends[1] and known.max() >= scores.ends[0]


def _margins(told: dict[str, Any] | None, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """What margins and weights keep, with what the flow chose."""
    if told is None:
        return None
    chosen: dict[str, Any] = next((s["params"] for s in reversed(manifest["lineage"]) if s["operator"] == "select_negatives"), {})
    policy = chosen.get("policy", "")
    shown = {k: [m for m in told["margins"] if m["policy"] == k] for k in ("percentage", "margin")}
    names = {"utility": ["policy", "risk_weight", "max_risk"], "percentage": ["policy", "margin"], "margin": ["policy", "margin"]}
    used = ", ".join(f"{k}: {chosen[k]}" for k in names.get(policy, ["policy"]) if chosen.get(k) is not None)
    return {**told, "by": shown, "weights": told.get("risk_weights", []), "used": used, "chosen": chosen}


def _values(f: dict[str, Any]) -> list[dict[str, Any]]:
    """Tables of the values of columns: sources, languages, types, generators, licences."""
    heads = {"lang": "Languages", "detected_lang": "Languages, detected", "source": "Sources", "query_type": "Query types",
             "generator": "Generators", "licence": "Licences"}  # fmt: skip
    made = [_bars(heads[c], f["values"][c], f["set"]["rows"]) for c in heads if c in f["values"]]
    if f["languages"]:
        drawn = f["languages"]
        of = "first positives" if drawn["of"] == "positives" else NAMES.get(drawn["of"], drawn["of"])
        title = f"Languages of the {of}, detected"
        made.insert(1, _bars(title, {"distinct": len(drawn["most"]), "most": drawn["most"]}, drawn["rows"]))
        made[1]["note"] = f"of {count(drawn['rows'])} rows drawn"
    return made


def _bars(title: str, told: dict[str, Any], rows: int) -> dict[str, Any]:
    top = max([n for _, n in told["most"]] or [1])
    listed = [
        {"name": clip(v, 60) or "(none)", "rows": n, "share": share(n, rows), "width": percent(n / top)} for v, n in told["most"]
    ]
    rest = told["distinct"] - len(told["most"])
    return {"title": title, "bars": listed, "note": f"and {count(rest)} more" if rest > 0 else ""}


def _map(found: Gathered) -> dict[str, Any] | None:
    """Points of the map with their texts, and the clusters that have a colour."""
    rows = found.sample
    if rows is None or found.places is None or len(found.places) < 3:
        return None
    rows = rows.slice(0, POINTS)
    groups = [str(c) for c in rows["cluster"].to_pylist()] if "cluster" in rows.column_names else [""] * len(rows)
    tally = found.figures["values"].get("cluster", {"most": [], "distinct": 0})
    tones = {name: i for i, (name, _) in enumerate(tally["most"][: charts.TONES])}
    positives = rows["positives"].to_pylist() if "positives" in rows.column_names else [[]] * len(rows)
    points = [
        {"x": x, "y": y, "tone": tones.get(g, "rest"), "group": g, "query": clip(q, 140),
         "positive": clip(p[0], 140) if p else ""}
        for (x, y), g, q, p in zip(charts.points_of(found.places), groups, rows["query"].to_pylist(), positives, strict=True)
    ]  # fmt: skip
    words = found.figures["health"]["words_of_clusters"]
    sizes = dict(tally["most"])
    said = {n: clip(", ".join(words.get(n, [])), 60) for n in tones}
    legend = [{"tone": t, "name": n, "rows": sizes[n], "words": said[n]} for n, t in tones.items()]
    rest = tally["distinct"] - len(legend)
    return {"points": points, "legend": legend, "rest": rest, "clustered": "cluster" in rows.column_names}


def _batches(found: Gathered) -> dict[str, Any] | None:
    """Sizes and purity as bars."""
    told = found.figures["batches"]
    if not told or not told["sizes"]:
        return None
    bars, ticks = charts.of_whole(told["sizes"])
    purity = [
        {"name": c.replace("_", " "), **told["purity"][c], "bars": charts.of_shares(x["shares"])}
        for c, x in found.batches["purity"].items()
    ]
    return {"bars": bars, "ticks": ticks, "purity": purity, "plan": told["plan"][:40], "more": max(len(told["plan"]) - 40, 0)}


def _yields(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """Rows by prompt and generator, with what share came through."""
    if not told:
        return None
    kinds = [
        {**k, "query_type": clip(k["query_type"], 40) or "(none)", "generator": clip(k["generator"], 60) or "(none)",
         "share": share(k["rows"][-1], k["rows"][0]), "width": percent(k["rows"][-1] / k["rows"][0]) if k["rows"][0] else "0%"}
        for k in told["kinds"]
    ]  # fmt: skip
    return {"steps": told["steps"], "kinds": kinds[:60], "more": max(len(kinds) - 60, 0)}


def _examples(rows: pa.Table | None) -> list[dict[str, Any]]:
    """The first rows of the draw, with texts cut."""
    if rows is None:
        return []
    made = []
    for row in rows.slice(0, ROWS).to_pylist():
        scored = {c: row.get(f"{c[:-1]}_scores") or [] for c in ("positives", "negatives")}
        texts = [
            {"side": c[:-1], "text": clip(t, 240), "score": f"{s:.3f}" if isinstance(s, float) and math.isfinite(s) else ""}
            for c, most in (("positives", 2), ("negatives", 3)) for t, s in _paired((row.get(c) or [])[:most], scored[c])
        ]  # fmt: skip
        head = row.get("query") or row.get("title") or ""
        body = row.get("text") or row.get("passage") or ""
        facts = [f"{k.replace('_', ' ')} {clip(row[k], 40)}" for k in FACTS if row.get(k) not in (None, "")]
        name = next((row[k].hex() for k in ("query_id", "doc_id", "passage_id") if isinstance(row.get(k), bytes)), "")
        made.append({"head": clip(head, 300), "body": clip(body, 400), "texts": texts, "facts": facts, "id": name})
    return made


def _paired(texts: list[str], scores: list[float]) -> list[tuple[str, Any]]:
    return [(t, scores[i] if i < len(scores) else None) for i, t in enumerate(texts)]


def _alone(found: Gathered) -> list[dict[str, Any]]:
    """The queries that stand alone."""
    told = found.figures.get("health", {}).get("alone", [])
    queries = found.sample["query"].to_pylist() if told and found.sample is not None else []
    return [{"distance": number(x["distance"]), "query": clip(queries[x["row"]], 200)} for x in told]


def _models(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """Each model of the flow with the steps that use it."""
    used: dict[str, list[str]] = {}
    for step in manifest["lineage"]:
        for kind, m in step["models"].items():
            name = str(m.get("model", "")).removeprefix("package:")
            used.setdefault(f"{kind} {name} {m.get('revision', '')} ({m.get('dtype', '')})", []).append(step["step"])
    return [(clip(name, 120), ", ".join(steps)) for name, steps in sorted(used.items())]


def _step(step: dict[str, Any]) -> dict[str, Any]:
    """A step of the lineage with its params as JSON, cut."""
    models = [f"{k}: {m.get('model', '')} {m.get('revision', '')} ({m.get('dtype', '')})" for k, m in step["models"].items()]
    params = {k: v for k, v in step["params"].items() if v not in (None, "", {}, [])}
    made = json.dumps(params, ensure_ascii=False, indent=1, sort_keys=True)
    cut = "\n".join(clip(line.strip(), 400) for line in made.splitlines()[:60])
    return {**step, "models": [clip(m, 160) for m in models], "params": cut, "sources": ", ".join(step["from"]) or "files",
            "uses": ", ".join(f"{k}: {v}" for k, v in step["using"].items())}  # fmt: skip
