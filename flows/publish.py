"""Publish a training set: shards, a manifest of content, a data card; `latest` moves last.

Equal content publishes nothing new: the folder's name ends in the hash of what it holds.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cluster.store import Store
from flows.card import card
from flows.fingerprint import fingerprint
from flows.flow import Flow
from flows.plan import Planned


def publish(
    flow: Flow, planned: Sequence[Planned], last: Planned, manifest: dict[str, Any], store: Store, funnel: list[dict[str, Any]]
) -> str:
    """Publish the rows of the step ``last``; returns the folder below the store."""
    shards = [p for p in manifest["parts"] if p["rows"]]
    counts = [{k: f[k] for k in ("step", "operator", "rows_in", "rows_out", "rejected")} for f in funnel]
    content = {
        "flow": flow.name, "rows": manifest["rows"], "schema": manifest["schema"], "funnel": counts,
        "shards": [
            {"file": f"train-{i:05d}-of-{len(shards):05d}.parquet", "rows": s["rows"], "sha256": s["sha256"]}
            for i, s in enumerate(shards)
        ],
        "lineage": [lineage(p) for p in planned],
    }  # fmt: skip
    digest = fingerprint([s["sha256"] for s in content["shards"]], content["schema"])
    home = f"datasets/{flow.name}"
    existing = [n for n in store.names(home) if n.endswith(f"-{digest}") and store.exists(f"{home}/{n}/manifest.json")]
    name = existing[0] if existing else f"{datetime.now(UTC):%Y-%m-%d}-{digest}"
    if not existing:
        for shard, part in zip(content["shards"], shards, strict=True):
            store.write(f"{home}/{name}/{shard['file']}", store.read(part["file"]))
        licences = licences_of(store, [p["file"] for p in shards])
        store.write(f"{home}/{name}/README.md", card(flow, planned, content, licences).encode())
        store.write_json(f"{home}/{name}/manifest.json", content)
    store.write(f"{home}/latest", (name + "\n").encode())
    return f"{home}/{name}"


def lineage(p: Planned) -> dict[str, Any]:
    """What made one step: enough to make it again."""
    params = json.loads(p.step.params.model_dump_json())
    params.pop("path", None)
    return {
        "step": p.step.name, "operator": p.step.op.name, "version": p.step.op.version, "recipe": p.task.recipe,
        "fingerprint": p.task.fingerprint, "from": p.step.sources, "using": dict(p.step.using),
        "params": params, "models": {k: m.identity() for k, m in p.step.models.items()},
    }  # fmt: skip


def licences_of(store: Store, files: Sequence[str]) -> list[str]:
    """The distinct licences of the rows, sorted."""
    import pyarrow.compute as pc

    found: set[str] = set()
    for file in files:
        with store.parquet(file) as parquet:
            if "licence" in parquet.schema_arrow.names:
                found.update(pc.unique(parquet.read(columns=["licence"])["licence"]).to_pylist())
    return sorted(x for x in found if x)
