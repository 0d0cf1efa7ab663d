"""Publish a training set: shards, a manifest of content, a data card. `latest` moves when the set is whole.

A sample's sets have a folder of their own.
Equal content publishes nothing new: the folder's name ends in the hash of what it holds.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cluster.store import Store
from cluster.task import parts_of
from flows.card import card
from flows.fingerprint import fingerprint
from flows.flow import Flow, content_params
from flows.plan import Planned


def publish(
    flow: Flow, planned: Sequence[Planned], manifest: dict[str, Any], store: Store, funnel: list[dict[str, Any]],
    sample: int | None = None,
) -> str:  # fmt: skip
    """Publish the rows of a step's manifest; returns the folder below the store. `latest` stays where it is."""
    shards = [p for p in manifest["parts"] if p["rows"]]
    counts = [{k: f[k] for k in ("step", "operator", "rows_in", "rows_out", "rejected")} for f in funnel]
    content = {
        "flow": flow.name, "rows": manifest["rows"], "schema": manifest["schema"], "funnel": counts,
        "shards": [
            {"file": f"train-{i:05d}-of-{len(shards):05d}.parquet", "rows": s["rows"], "sha256": s["sha256"]}
            for i, s in enumerate(shards)
        ],
        "licences": licences_of(store, planned),
        "lineage": [lineage(p) for p in planned], **({"sample": sample} if sample else {}),
    }  # fmt: skip
    digest = fingerprint([s["sha256"] for s in content["shards"]], content["schema"], content["licences"])
    home = home_of(flow, sample)
    existing = [n for n in store.names(home) if n.endswith(f"-{digest}") and store.exists(f"{home}/{n}/manifest.json")]
    name = existing[0] if existing else f"{datetime.now(UTC):%Y-%m-%d}-{digest}"
    if not existing:
        for shard, part in zip(content["shards"], shards, strict=True):
            store.write(f"{home}/{name}/{shard['file']}", store.read(part["file"]))
        store.write(f"{home}/{name}/README.md", card(flow, planned, content).encode())
        store.write_json(f"{home}/{name}/manifest.json", content)
    return f"{home}/{name}"


def home_of(flow: Flow, sample: int | None = None) -> str:
    """The folder of a flow's sets. A sample's is another one: no flow's name has a dot."""
    return f"datasets/{flow.name}" + (f".sample-{sample}" if sample else "")


def point(store: Store, published: str) -> None:
    """Move `latest` to a published set."""
    home, _, name = published.rpartition("/")
    store.write(f"{home}/latest", (name + "\n").encode())


def lineage(p: Planned) -> dict[str, Any]:
    """What made one step: enough to make it again."""
    return {
        "step": p.step.name, "operator": p.step.op.name, "version": p.step.op.version, "recipe": p.task.recipe,
        "fingerprint": p.task.fingerprint, "from": p.step.sources, "using": dict(p.step.using),
        "params": content_params(p.step), "models": {k: m.identity() for k, m in p.step.models.items()},
    }  # fmt: skip


def licences_of(store: Store, planned: Sequence[Planned]) -> list[str]:
    """The distinct licences that the sources state, sorted: a set holds texts of every one of them."""
    import pyarrow.compute as pc

    found: set[str] = set()
    for source in (p for p in planned if p.step.op.shape == "source"):
        for part in parts_of(store, [source.task.home]):
            with store.parquet(part["file"]) as parquet:
                if "licence" in parquet.schema_arrow.names:
                    found.update(pc.unique(parquet.read(columns=["licence"])["licence"]).to_pylist())
    return sorted(x for x in found if x)
