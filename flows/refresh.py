"""What a refresh will cost, before it is paid: which rows of each input came and went, and what the models will be asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cluster.reuse import isin
from cluster.store import Store
from cluster.task import manifest_of
from flows.plan import Planned
from flows.publish import published_manifest
from flows.versions import latest
from operators.columns import row_keys

COSTS = {"llm_requests": "LLM calls", "encoder_texts": "texts to embed", "teacher_pairs": "teacher pairs"}


@dataclass(frozen=True)
class Changed:
    """Rows of an input beside those of the version that `latest` names: a changed one has the user's id of one that went."""

    added: int
    changed: int
    removed: int
    rows: int

    @property
    def share(self) -> float:
        """Of today's rows, those that are new."""
        return min((self.added + self.changed) / max(self.rows, 1), 1.0)


def lineage_of(store: Store, home: str) -> dict[str, dict[str, Any]]:
    """By step, what made the version that `latest` names; empty where nothing is published."""
    found = published_manifest(store, f"{home}/{latest(store, home)}") if latest(store, home) else None
    return {one["step"]: one for one in found["lineage"]} if found else {}


def changed(store: Store, p: Planned, before: Mapping[str, Any] | None) -> Changed | None:
    """What changed in a source that is stored; None where either side is not there."""
    if manifest_of(store, p.task.home) is None:
        return None
    new = _rows(store, p, p.task.home)
    old_home = f"steps/{before['operator']}-{before['fingerprint']}" if before else ""
    if not old_home or _kept(store, old_home) is None:
        return Changed(len(new), 0, 0, len(new)) if not before else None
    old = _rows(store, p, old_home)
    came = new.filter(pa.array(~isin(new["id"], old["id"])))
    gone = old.filter(pa.array(~isin(old["id"], new["id"])))
    both = int(isin(came["name"], gone["name"]).sum()) if "name" in came.column_names and "name" in gone.column_names else 0
    return Changed(len(came) - both, both, max(len(gone) - both, 0), len(new))


def _kept(store: Store, home: str) -> dict[str, Any] | None:
    """The manifest of a step, or of what a purge left of it."""
    return manifest_of(store, home) or store.read_json(f"{home}/purged.json")


def _rows(store: Store, p: Planned, home: str) -> pa.Table:
    """The id and the user's own name of each row of a source."""
    key = p.step.op.key_of(p.step.params)
    own = [c for c in ("source", "source_id") if c in p.step.columns]
    tables = [store.read_table(part["file"], [key, *own]) for part in (_kept(store, home) or {"parts": []})["parts"]]
    table = pa.concat_tables(tables)
    return pa.table({"id": table[key], **({"name": row_keys(table, own)} if "source_id" in own else {})})


def forecast(
    planned: Sequence[Planned], store: Store, before: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, Changed | None]
) -> list[dict[str, Any]]:
    """About what each step that is not stored will ask of models: its new rows, at what a new row cost the last time.

    A step that was asked for something else asks for all of its rows; a row of a cross is new where either side's is.
    """
    share: dict[str, float] = {}
    found = []
    for p in planned:
        old, step = before.get(p.step.name), p.step
        above = [share.get(name, 1.0) for name in step.sources]
        mine = max(above, default=1.0)
        if step.against:
            mine = 1 - (1 - mine) * (1 - share.get(step.against, 1.0))
        told = inputs.get(step.name)
        if step.op.shape == "source":
            mine = told.share if told else 1.0
        elif old is None or old["recipe"] != p.task.recipe and not _artifacts_alone(p, old):
            mine = 1.0
        share[step.name] = 0.0 if old and old["fingerprint"] == p.task.fingerprint else mine
        if p.stored or not step.models:
            continue
        home = f"steps/{old['operator']}-{old['fingerprint']}" if old else ""
        manifest, run = manifest_of(store, home) if home else None, store.read_json(f"{home}/run.json") if home else None
        record: dict[str, Any] = {"step": step.name, "new_share": round(mine, 4)}
        for engine in COSTS:
            if manifest and run and (count := run.get("counters", {}).get(engine)):
                fresh = max(manifest["rows_in"] - run.get("reused", 0), 1)
                record[engine] = round(count / fresh * manifest["rows_in"] * mine)
        found.append(record)
    return found


def _artifacts_alone(p: Planned, old: Mapping[str, Any]) -> bool:
    """Whether a recipe differs in nothing but the artifacts that it names, whose pairs and texts a ledger or a recall knows."""
    from flows.publish import lineage

    now = lineage(p)
    return all(now[name] == old[name] for name in ("operator", "version", "params", "models"))


def told(inputs: Mapping[str, Changed | None], costs: Sequence[Mapping[str, Any]], pending: Sequence[str]) -> str:
    """The plan, for people."""
    lines = [f"{len(pending)} steps are to run: {', '.join(pending) or 'none'}"]
    for name, c in inputs.items():
        said = f"{c.added} added, {c.changed} changed, {c.removed} removed, {c.rows} rows" if c else "what changed is not known"
        lines.append(f"{name:<16}{said}")
    for cost in costs:
        said = ", ".join(f"about {cost[engine]:,} {name}" for engine, name in COSTS.items() if engine in cost)
        lines.append(f"{cost['step']:<16}{said or 'not known: it has not run before'}")
    return "\n".join(lines)
