"""How cosines lie in a corpus, before a threshold of `link_similar` is chosen: nobody can know it of an encoder in advance.

Two distributions are told: of texts drawn at random from one cluster, which `link_similar` compares, and of near-duplicates
by their words, where the flow has a `link_duplicates`. What a threshold between them links, they cannot tell: paraphrases,
or texts of one matter. So the stored edges that are nearest to the threshold are shown with their texts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.store import Store
from cluster.task import manifest_of
from flows.calibrate import ROWS, percentiles
from flows.faults import not_stored
from flows.plan import Planned
from operators import columns
from operators.content import Array
from operators.contract import InputError
from operators.topk import dots

DRAWN = 50_000  # random pairs of one cluster
KNOWN = 2_000  # near-duplicates looked up
THRESHOLDS = (0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
CHANCE = 0.001  # share of random pairs that a suggested threshold links: among 1,000 texts of a cluster one other a text
SHOWN, WIDTH = 5, 100  # edges, and characters of their texts


def calibrate_similar(steps: Sequence[Planned], store: Store, name: str) -> dict[str, Any]:
    """Distributions of cosines around the `link_similar` of this name; `InputError` where what it reads is not stored."""
    step = next(p.step for p in steps if p.step.name == name)
    homes = {p.step.name: p.task.home for p in steps}
    key, vector = step.params.key, step.params.column  # type: ignore[attr-defined]
    table = _head(store, homes, step.sources, ["cluster", key, vector])
    shown = {"of one cluster": _random(table["cluster"].to_numpy(), columns.vectors(table[vector]))}
    near = next((p for p in reversed(steps) if p.step.op.name == "link_duplicates" and manifest_of(store, p.task.home)), None)
    if near is not None:
        shown["near-duplicates"] = _known(store, near.task.home, [homes[one] for one in step.sources], key, vector)
    answer: dict[str, Any] = {"step": name, "scores": "cosine", "rows": len(table), "threshold": step.params.threshold}  # type: ignore[attr-defined]
    answer["distributions"] = {what: percentiles(numbers) for what, numbers in shown.items() if len(numbers)}
    answer["thresholds"] = [
        {"threshold": t, **{what: round(float((numbers >= t).mean()), 5) for what, numbers in shown.items() if len(numbers)}}
        for t in THRESHOLDS
    ]  # fmt: skip
    answer["edges"] = _nearest(steps, store, homes, name)
    answer["suggested"] = _suggested(answer)
    return answer


def _head(store: Store, homes: dict[str, str], sources: Sequence[str], wanted: list[str]) -> pa.Table:
    """The first rows by id, which is a hash: a fair draw."""
    tables, rows = [], 0
    for source in sources:
        manifest = manifest_of(store, homes[source])
        if manifest is None:
            raise not_stored(store, source)
        for part in manifest["parts"]:
            if rows < ROWS and part["rows"]:
                tables.append(store.read_table(part["file"], wanted).slice(0, ROWS - rows))
                rows += len(tables[-1])
    if not tables:
        raise InputError(f"{', '.join(sources)}: no row is stored, so no cosine can be told")
    return pa.concat_tables(tables).combine_chunks()


def _random(cluster: Array, rows: Array) -> Array:
    """Cosines of pairs of two rows of one cluster, each cluster as often as it has pairs."""
    order = np.argsort(cluster, kind="stable")
    starts = np.flatnonzero(np.diff(cluster[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    pairs = sizes * (sizes - 1.0)
    if not pairs.sum():
        return np.empty(0)
    rng = np.random.default_rng(0)
    of = rng.choice(len(sizes), DRAWN, p=pairs / pairs.sum())
    one = rng.integers(sizes[of])
    other = (one + 1 + rng.integers(sizes[of] - 1)) % sizes[of]
    return _cosines(rows, order[starts[of] + one], order[starts[of] + other])


def _cosines(rows: Array, one: Array, other: Array) -> Array:
    return np.concatenate([dots(rows[one[i : i + ROWS]], rows[other[i : i + ROWS]]) for i in range(0, len(one), ROWS)])


def _edges(store: Store, home: str) -> list[str]:
    manifest = manifest_of(store, home)
    return [part["file"] for part in manifest["parts"] if part["rows"]] if manifest else []


def _known(store: Store, edges: str, sources: Sequence[str], key: str, vector: str) -> Array:
    """Cosines of the first edges whose two texts have a vector."""
    found, rows = [pa.table({name: pa.array([], pa.binary(16)) for name in ("id_a", "id_b")})], 0
    for file in _edges(store, edges):
        if rows < KNOWN:
            found.append(store.read_table(file, ["id_a", "id_b"]).slice(0, KNOWN - rows))
            rows += len(found[-1])
    pairs = pa.concat_tables(found).combine_chunks()
    wanted = pc.unique(pa.chunked_array([*pairs["id_a"].chunks, *pairs["id_b"].chunks], pa.binary(16)))
    held = [
        table.filter(pc.is_in(table[key], wanted))
        for home in sources for file in _edges(store, home) for table in [store.read_table(file, [key, vector])]
    ]  # fmt: skip
    if not held:
        return np.empty(0)
    known = pa.concat_tables(held).combine_chunks()
    at = [pc.index_in(pairs[end], known[key].combine_chunks()) for end in ("id_a", "id_b")]
    both = pc.and_(at[0].is_valid(), at[1].is_valid())
    one, other = (a.filter(both).to_numpy().astype(np.int64) for a in at)
    return _cosines(columns.vectors(known[vector]), one, other) if len(one) else np.empty(0)


def _nearest(steps: Sequence[Planned], store: Store, homes: dict[str, str], name: str) -> list[dict[str, Any]]:
    """The stored edges of the lowest cosine, with their texts."""
    step = next(p.step for p in steps if p.step.name == name)
    tables = [store.read_table(file) for file in _edges(store, homes[name])]
    texts = manifest_of(store, homes[step.using["texts"]])
    if not tables or texts is None:
        return []
    table = pa.concat_tables(tables)
    table = table.take(pc.sort_indices(table, [("cosine", "ascending"), ("id_a", "ascending")])[:SHOWN])
    held = step.op.uses["texts"].load(store.fetch_folder(texts["parts"][0]["file"]))  # type: ignore[attr-defined]
    said = [[" ".join(one[: 2 * WIDTH].split())[:WIDTH] for one in held.take(table[end]).to_pylist()] for end in ("id_a", "id_b")]
    return [{"cosine": round(c, 4), "text_a": a, "text_b": b} for c, a, b in zip(table["cosine"].to_pylist(), *said, strict=True)]


def _suggested(answer: dict[str, Any]) -> str:
    """One sentence; the reader decides."""
    told = answer["thresholds"]
    if "of one cluster" not in told[0]:
        return "no cluster has two of the rows that were read: fit fewer clusters"
    least = next((t for t in told if t["of one cluster"] <= CHANCE), None)
    pairs = "of the random pairs of a cluster"
    if least is None:
        last = told[-1]
        return f"at {last['threshold']} still {last['of one cluster']:.2%} {pairs} are linked: the encoder cannot tell them apart"
    kept = f" and {least['near-duplicates']:.1%} of the near-duplicates" if "near-duplicates" in least else ""
    return f"threshold: {least['threshold']}, the least that links at most {CHANCE:.1%} {pairs}{kept}; read the edges first"


def told_similar(answer: dict[str, Any]) -> str:
    """The answer as lines for people."""
    kinds = list(answer["distributions"])
    names = list(next(iter(answer["distributions"].values()), {"count": 0}))
    lines = [f"cosines around {answer['step']}, of {answer['rows']} rows", f"{'':<18}" + "".join(f"{n:>9}" for n in names)]
    lines += [f"{what:<18}" + "".join(f"{v:>9}" for v in said.values()) for what, said in answer["distributions"].items()]
    if "near-duplicates" not in kinds:
        lines.append("near-duplicates are not told: the flow has no stored link_duplicates whose texts have a vector here")
    lines += ["", "links, of" + "".join(f"{what:>18}" for what in kinds)]
    lines += [f"  {t['threshold']:<7}" + "".join(f"{t[what]:>18.2%}" for what in kinds) for t in answer["thresholds"]]
    if answer["edges"]:
        lines += ["", f"the stored edges that are nearest to the threshold of {answer['threshold']}"]
    lines += [f"  {e['cosine']:.4f}  {e['text_a']}\n          {e['text_b']}" for e in answer["edges"]]
    return "\n".join([*lines, "", f"suggested: {answer['suggested']}"])
