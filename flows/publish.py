"""Publish a set: shards, a manifest of content, a data card. `latest` moves when the set is whole.

A sample's sets have a folder of their own, as what a flow publishes beside its training set or corpus.
Equal content publishes nothing new: the folder's name ends in the hash of what it holds.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cluster.store import Store
from cluster.task import parts_of
from flows.card import card
from flows.fingerprint import fingerprint
from flows.flow import Flow, Step, content_params
from flows.plan import Planned


def publish(
    flow: Flow, planned: Sequence[Planned], step: Step, manifest: dict[str, Any], store: Store, funnel: list[dict[str, Any]],
    sample: int | None = None,
) -> str:  # fmt: skip
    """Publish the rows of a step's manifest; returns the folder below the store. `latest` stays where it is."""
    kind = kind_of(step)
    shards = [p for p in manifest["parts"] if p["rows"]]
    counts = [{k: f[k] for k in ("step", "operator", "rows_in", "rows_out", "rejected", "measured") if k in f} for f in funnel]
    content = {
        "flow": flow.name, "rows": manifest["rows"], "schema": manifest["schema"], "funnel": counts,
        "shards": [
            {"file": f"{kind}-{i:05d}-of-{len(shards):05d}.parquet", "rows": s["rows"], "sha256": s["sha256"]}
            for i, s in enumerate(shards)
        ],
        "licences": licences_of(store, planned, step, manifest),
        "lineage": [lineage(p) for p in planned], **({"sample": sample} if sample else {}),
    }  # fmt: skip
    digest = fingerprint([s["sha256"] for s in content["shards"]], content["schema"], content["licences"])
    home = home_of(flow, sample, kind)
    known = [n for n in store.names(home) if n.endswith(f"-{digest}")]
    files = {shard["file"]: part["file"] for shard, part in zip(content["shards"], shards, strict=True)}
    for name in known:
        if _is_whole(store, f"{home}/{name}", files):
            return f"{home}/{name}"
    name = known[0] if known else f"{datetime.now(UTC):%Y-%m-%d}-{digest}"  # what was damaged is mended where it lies
    for shard, part in files.items():
        store.write(f"{home}/{name}/{shard}", store.read(part))
    said = card(flow, planned, content, kind).encode()
    store.write(f"{home}/{name}/README.md", said)
    content["card"] = {"file": "README.md", "sha256": hashlib.sha256(said).hexdigest()}
    store.write_json(f"{home}/{name}/manifest.json", content)
    return f"{home}/{name}"


def published_manifest(store: Store, home: str) -> dict[str, Any] | None:
    """The manifest of a published set; None where the set is not whole, or its manifest was damaged."""
    found = store.read_json(f"{home}/manifest.json")
    if not isinstance(found, dict) or not found.keys() >= {"flow", "rows", "schema", "funnel", "shards", "lineage"}:
        return None
    return found if all({"file", "sha256"} <= {*f} for f in files_of(found)) else None


def files_of(published: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files that a set's manifest names with their checksums; the first sets did not name their card."""
    return [*published["shards"], *([published["card"]] if "card" in published else [])]


def _is_whole(store: Store, home: str, files: Mapping[str, str]) -> bool:
    """Whether a set has a manifest, a card and every shard in the size of the part that it is a copy of; `verify` reads bytes."""
    if published_manifest(store, home) is None:
        return False
    have = store.sizes(home)
    return have.get("README.md", 0) > 0 and all(have.get(shard, -1) == store.size(part) for shard, part in files.items())


def home_of(flow: Flow, sample: int | None = None, kind: str = "train") -> str:
    """The folder of a flow's sets. A sample's is another one, and so are ids and the like: no flow's name has a dot."""
    beside = "" if kind in ("train", "corpus") else f".{kind}"
    return f"datasets/{flow.name}{beside}" + (f".sample-{sample}" if sample else "")


def kind_of(step: Step) -> str:
    """What a step publishes, which its files are called by: a key of `KINDS`."""
    return step.op.shard(step.params) if step.op.shard else "train"


def homes_of(flow: Flow, sample: int | None = None) -> list[str]:
    """The folders of everything that a flow publishes."""
    kinds = [kind_of(step) for step in flow.steps if step.op.publishes]
    return list(dict.fromkeys(home_of(flow, sample, kind) for kind in kinds or ["train"]))


def lineage(p: Planned) -> dict[str, Any]:
    """What made one step: enough to make it again."""
    return {
        "step": p.step.name, "operator": p.step.op.name, "version": p.step.op.version, "recipe": p.task.recipe,
        "fingerprint": p.task.fingerprint, "from": p.step.sources, "using": dict(p.step.using),
        **({"held": True} if p.held else {}),
        "params": content_params(p.step), "models": {k: m.identity() for k, m in p.step.models.items()},
    }  # fmt: skip


def licences_of(store: Store, planned: Sequence[Planned], step: Step, manifest: Mapping[str, Any]) -> list[str]:
    """The distinct licences of a set's texts, sorted: of a corpus what its rows state, else what the sources above it do.

    A source that stands above an evaluation index alone was compared with, and nothing of it is in the set.
    """
    if kind_of(step) == "corpus":
        return _stated(store, [part["file"] for part in manifest["parts"] if part["rows"]])
    above = _above(planned, step.name)
    homes = [p.task.home for p in planned if p.step.op.shape == "source" and p.step.name in above]
    return _stated(store, [part["file"] for home in homes for part in parts_of(store, [home])])


def _stated(store: Store, files: Sequence[str]) -> list[str]:
    import pyarrow.compute as pc

    found: set[str] = set()
    for file in files:
        with store.parquet(file) as parquet:
            if "licence" in parquet.schema_arrow.names:
                found.update(pc.unique(parquet.read(columns=["licence"])["licence"]).to_pylist())
    return sorted(x for x in found if x)


def _above(planned: Sequence[Planned], name: str) -> set[str]:
    """The steps that texts of a step come from, and itself."""
    steps, found, waiting = {p.step.name: p.step for p in planned}, set[str](), [name]
    while waiting:
        one = waiting.pop()
        if one in steps and one not in found and steps[one].op.name != "index_evaluation":
            found.add(one)
            against = steps[one].against
            waiting += [*steps[one].sources, *steps[one].using.values(), *([against] if against else [])]
    return found
