"""The figures of a set: counted over its shards, looked up in the steps that are stored, estimated on a draw of its rows."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.store import Store
from flows.export import tables_of
from flows.fingerprint import fingerprint
from flows.reporting import health, stored
from flows.reporting.batches import Batches, schedule
from flows.reporting.fold import SCORES, Fold, span_of, summed, summed_scores
from flows.reporting.plane import plane, telling
from flows.reporting.sample import Repeats, RowSample
from operators.content import Array
from operators.contract import row_id

SAMPLE = 1000  # rows that health is estimated on
POINTS = 600  # of them that the map shows
ROWS = 6  # of them that the page shows
LISTED = 12  # values of a column that are told by name


@dataclass(frozen=True)
class Gathered:
    """The figures as JSON tells them, and what only drawings need."""

    figures: dict[str, Any]
    fold: Fold
    sample: pa.Table | None
    candidates: Any  # calibrate.Scored, or None
    batches: dict[str, Any]
    places: Array | None  # (POINTS, 2) of the first rows of the sample


def gather(home: Store, name: str, manifest: dict[str, Any], real: tuple[str, list[str]] | None = None) -> Gathered:
    """All figures of the published set in the folder ``name``; ``real`` are people's queries, with where they are from."""
    import sklearn.manifold  # noqa: F401  # threadpoolctl limits the libraries that are loaded
    from threadpoolctl import threadpool_limits

    tables = partial(tables_of, home, name, manifest)
    fold, drawn, batches, extra = _folded(manifest, tables)
    steps = stored.Steps(_steps_store(home, name), manifest)
    wanted = _negatives(manifest, fold)
    found = stored.candidates(steps, wanted)
    figures: dict[str, Any] = {
        "set": _set_of(home, name, manifest), "funnel": manifest["funnel"],
        "lengths": {c: summed(x) for c, x in fold.lengths.items()},
        "texts_a_row": {c: dict(sorted(x.items())) for c, x in fold.sizes.items()},
        "scores": {c: summed_scores(x) for c, x in fold.scores.items()},
        "negatives_above": {"rows": fold.above, "of": fold.compared},
        "candidates": found[0] if found else None,
        "values": {c: {"distinct": len(x.rows), "most": x.most(LISTED)} for c, x in fold.values.items()},
        "repeated_queries": extra.pop("repeated_queries"), "batches": batches | extra if batches else None,
        "yields": stored.yields(steps, steps.published(manifest)), "steps_stored": len(steps.manifests),
    }  # fmt: skip
    if batches:
        purity = {c: {k: v for k, v in x.items() if k != "shares"} for c, x in batches["purity"].items()}
        figures["batches"] |= {"purity": purity, "sizes": dict(sorted(Counter(batches["sizes"]).items()))}
    places = None
    if drawn is not None and "query" in drawn.column_names:
        with threadpool_limits(1):  # more threads add in another order
            figures["health"], places = _health(steps, drawn, real or stored.real_queries(steps, SAMPLE))
    told = drawn is None or bool({"lang", "detected_lang"} & {*drawn.column_names})
    figures["languages"] = None if told else _languages(drawn)
    return Gathered(figures, fold, drawn, found[1] if found else None, batches, places)


def _folded(
    manifest: dict[str, Any], tables: Callable[..., Iterator[pa.Table]]
) -> tuple[Fold, pa.Table | None, dict[str, Any], dict[str, Any]]:
    """The fold over the shards, a draw of rows, batches, and what else is counted: rows by stage and rank, repeats."""
    names = [n for n, _ in manifest["schema"]]
    scores = [n for n in SCORES if n in names]
    span = span_of(tables(scores)) if scores else (0.0, 1.0)
    fold: Fold | None = None
    drawn, repeats, batches = RowSample(SAMPLE), Repeats(), Batches(names) if "batch" in names else None
    plan = Counter[tuple[int, ...]]()
    for table in tables():
        fold = fold or Fold({f.name: f.type for f in table.schema}, span)
        fold.add(table)
        drawn.add(table)
        schedule(table, plan)
        if "query_id" in names:
            repeats.add(table["query_id"])
        if batches is not None:
            batches.add(table)
    keys = [c for c in ("stage", "epoch", "rank") if c in names]
    extra: dict[str, Any] = {"plan": [dict(zip(keys, k, strict=True)) | {"rows": n} for k, n in sorted(plan.items())]}
    extra["repeated_queries"] = round(repeats.share(), 4)
    return fold or Fold({}, span), drawn.finish(), batches.finish() if batches else {}, extra


def _set_of(home: Store, name: str, manifest: dict[str, Any]) -> dict[str, Any]:
    sizes = home.sizes(name)
    shards = manifest["shards"]
    digest = fingerprint([s["sha256"] for s in shards], manifest["schema"], manifest["licences"])
    return {
        "flow": manifest["flow"], "name": name.rpartition("/")[2], "fingerprint": digest,
        "kind": shards[0]["file"].partition("-")[0] if shards else "train",
        "rows": manifest["rows"], "shards": len(shards), "bytes": sum(sizes.get(s["file"], 0) for s in shards),
        "licences": manifest["licences"], "sample": manifest.get("sample"), "columns": manifest["schema"],
    }  # fmt: skip


def _steps_store(home: Store, name: str) -> Store | None:
    """The store that a set was published in, where its steps are; None of a set that was copied elsewhere."""
    root = home if name.startswith("datasets/") else None
    if root is None and "/datasets/" in home.uri:
        root = Store(home.uri.rpartition("/datasets/")[0])
    return root if root is not None and root.exists("steps") else None


def _negatives(manifest: dict[str, Any], fold: Fold) -> int:
    """How many negatives a row shall have: as its flow says, else as most rows have."""
    for step in reversed(manifest["lineage"]):
        if step["operator"] == "select_negatives" and isinstance(step["params"].get("negatives"), int):
            return int(step["params"]["negatives"]) or 1
    sizes = fold.sizes.get("negatives")
    return (max(sizes, key=lambda n: (sizes[n], n)) or 1) if sizes else 5


def _languages(drawn: pa.Table) -> dict[str, Any] | None:
    """The languages of a draw's texts, which a set does not carry."""
    from operators.detect_language import DetectLanguage, detect_language

    column = next((c for c in ("positives", "text", "passage", "query") if c in drawn.column_names), None)
    if column is None:
        return None
    texts = _firsts(drawn[column]) if column == "positives" else drawn[column].to_pylist()
    found = detect_language(pa.table({"text": pa.array(texts, pa.string())}), DetectLanguage(column="text"))
    rows = Counter(found["detected_lang"].to_pylist())
    return {"of": column, "rows": len(texts), "most": sorted(rows.items(), key=lambda x: (-x[1], x[0]))[:LISTED]}


def _firsts(column: pa.ChunkedArray) -> list[Any]:
    """The first of each list; an empty text of an empty one."""
    return [row[0] if row else "" for row in column.to_pylist()]


def _health(steps: stored.Steps, drawn: pa.Table, real: tuple[str, list[str]] | None) -> tuple[dict[str, Any], Array | None]:
    """Health of the drawn queries and of the space that they are in; and the places of the first on a plane."""
    queries: list[str] = drawn["query"].to_pylist()
    told: dict[str, Any] = {"rows": len(drawn), "style": health.style(queries), "real": None}
    if real is not None:
        said = health.compared(queries, real[1], _encode("query"))
        told["real"] = {"from": real[0], "queries": len(real[1]), "compared": said}
    pairs = "positives" in drawn.column_names and "positive_ids" in drawn.column_names
    has = np.array([bool(x) for x in drawn["positive_ids"].to_pylist()]) if pairs else np.zeros(len(drawn), bool)
    if pairs:
        shares = health.copied(queries, _firsts(drawn["positives"]))[has]
        told["copied"] = round(float(shares.mean()), 4) if len(shares) else None
    by, asked, own = _vectors(steps, drawn, has)
    told["encoder"] = by
    if len(own) > 1:
        told["space"] = _space(drawn, has, asked, own)
    distance = health.alone(asked)
    far = np.lexsort((np.arange(len(distance)), -distance))[:5]
    told["alone"] = [{"row": int(i), "distance": round(float(distance[i]), 4)} for i in far] if len(distance) > 5 else []
    groups = [str(c) for c in drawn["cluster"].to_pylist()] if "cluster" in drawn.column_names else [""] * len(drawn)
    told["words_of_clusters"] = telling(queries, groups)
    return told, plane(asked[:POINTS])


def _space(drawn: pa.Table, has: Array, asked: Array, own: Array) -> dict[str, Any]:
    positives = [p for p, h in zip(_firsts(drawn["positives"]), has, strict=True) if h]
    names = [i for i, h in zip(_firsts(drawn["positive_ids"]), has, strict=True) if h]
    return health.space(asked[has], own, names, np.array([len(p) for p in positives]))


def _encode(role: Any) -> Callable[[Sequence[str]], Array]:
    from operators.engines import load_model, packaged

    return partial(load_model("encoder", packaged("encoder", "static")).encode, role=role)


def _vectors(steps: stored.Steps, drawn: pa.Table, has: Array) -> tuple[str, Array, Array]:
    """What encoded them, vectors of the queries and of first positives: the flow's own, else the packaged static encoder's."""
    ids = pa.array([i for i, h in zip(_firsts(drawn["positive_ids"]), has, strict=True) if h], row_id) if has.any() else None
    for query_step, passage_step in stored.encoders(steps) if ids is not None else ():
        asked = stored.vectors(steps, query_step, "query_id", drawn["query_id"].combine_chunks())
        own = stored.vectors(steps, passage_step, "passage_id", ids)
        if asked is not None and own is not None:
            entry: dict[str, Any] = next(iter(query_step["models"].values()), {})
            name = str(entry.get("model", "")).removeprefix("package:")
            return f"{name} {entry.get('revision', '')}".strip(), asked, own
    texts = [p for p, h in zip(_firsts(drawn["positives"]), has, strict=True) if h] if has.any() else []
    empty = np.zeros((0, 0), np.float32)
    return "static", _encode("query")(drawn["query"].to_pylist()), _encode("passage")(texts) if texts else empty
