"""What people see: the funnel, plans, rows, rejects, and a row's way back to its file."""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cluster.store import Store
from cluster.task import commits, manifest_of, parts_of
from flows.plan import Planned
from operators.contract import InputError

_ID = re.compile(r"^[0-9a-fA-F]{32}$")
WIDTH = 160  # characters of a text that a listing shows


def funnel(records: Sequence[dict[str, Any]]) -> str:
    """In, out and rejected by reason at every step."""
    lines = [f"{'step':<16}{'in':>9}{'out':>9}{'rejected':>10}{'seconds':>9}  why"]
    for r in records:
        lost = sum(r["rejected"].values())
        why = ", ".join(f"{n} {k}" for k, n in sorted(r["rejected"].items(), key=lambda x: (-x[1], x[0]))[:5])
        spent = "stored" if r["stored"] else f"{r['seconds']:.1f}"
        lines.append(f"{r['step']:<16}{r['rows_in']:>9}{r['rows_out']:>9}{lost:>10}{spent:>9}  {why}")
    return "\n".join(lines)


def planned(steps: Sequence[dict[str, Any]]) -> str:
    """One line a step: name, fingerprint, operator, from, stored or to run, what it adds."""
    lines = []
    for s in steps:
        calls = f", {'?' if s['llm_calls'] is None else s['llm_calls']} LLM calls" if s["llm_calls"] != 0 else ""
        state = f"stored, {s['rows']} rows" if s["stored"] else f"to run{calls}"
        source = " ".join(s["from"]) or "-"
        what = f"{s['step']:<16}{s['fingerprint'][:8]}  {s['operator']:<20}<- {source:<22}"
        moved = "; its code moved, its version did not" if s["code_moved"] else ""
        lines.append(f"{what}{state:<24}+{','.join(s['adds'])}{moved}")
    return "\n".join(lines)


def plain(value: Any) -> Any:
    """A stored value as JSON shows it: ids in hex, long texts and lists cut."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str) and len(value) > WIDTH:
        return value[:WIDTH] + "…"
    if isinstance(value, list):
        return [plain(v) for v in value[:8]] + (["…"] if len(value) > 8 else [])
    return round(value, 4) if isinstance(value, float) else value


def _plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    hidden = [c for c in table.column_names if c.startswith("_")]
    return [{k: plain(v) for k, v in row.items()} for row in table.drop_columns(hidden).to_pylist()]


def first_rows(store: Store, published: str, count: int) -> list[str]:
    """The rows with the smallest query ids of a set: a draw that nobody chose."""
    manifest = store.read_json(f"{published}/manifest.json")
    best: pa.Table | None = None
    for shard in manifest["shards"]:
        table = store.read_table(f"{published}/{shard['file']}", ["query_id", "query", "positives", *_negatives(manifest)])
        both = table if best is None else pa.concat_tables([best, table])
        best = both.sort_by("query_id").slice(0, count)
    lines = []
    for row in best.to_pylist() if best is not None else ():
        lines.append(f"query     {row['query']}")
        lines += [f"  positive  {_line(p)}" for p in row["positives"][:1]]
        lines += [f"  negative  {_line(n)}" for n in row.get("negatives", [])[:2]]
    return lines


def _negatives(manifest: dict[str, Any]) -> list[str]:
    return [name for name, _ in manifest["schema"] if name == "negatives"]


def _line(value: str) -> str:
    folded = " ".join(value.split())
    return folded[:120] + ("…" if len(folded) > 120 else "")


def _home(steps: Sequence[Planned], name: str) -> str:
    return next(p.task.home for p in steps if p.step.name == name)


def _missing(store: Store, name: str) -> InputError:
    return InputError(f"{name}: it is not stored in {store.uri} yet; run the flow --until {name}")


def rows(steps: Sequence[Planned], store: Store, name: str, count: int) -> list[dict[str, Any]]:
    """The first rows of a stored step."""
    manifest = manifest_of(store, _home(steps, name))
    if manifest is None:
        raise _missing(store, name)
    return _first(store, [p["file"] for p in manifest["parts"] if p["rows"]], count)


def rejects(steps: Sequence[Planned], store: Store, name: str, count: int) -> list[dict[str, Any]]:
    """The first rejects of a step; of one that failed or goes on, those of its finished parts."""
    home = _home(steps, name)
    manifest = manifest_of(store, home)
    records = [*manifest["parts"], *manifest["scanned"]] if manifest else [r for _, r in sorted(commits(store, home).items())]
    if manifest is None and not records:
        raise _missing(store, name)
    return _first(store, [r["rejects"] for r in records if "rejects" in r], count)


def _first(store: Store, files: Sequence[str], count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for file in files:
        if len(found) < count:
            found += _plain_rows(store.read_table(file).slice(0, count - len(found)))
    return found


def walk(steps: Sequence[Planned], store: Store, name: str, wanted: str) -> list[dict[str, Any]]:
    """From a row back through the steps: what each of them held of it, up to the file that it came from."""
    if not _ID.match(wanted):
        raise InputError(f"--row {wanted}: an id is 32 hex digits; ids are shown by `pithead show`")
    by_name = {p.step.name: p for p in steps}
    seek, trail, names = {wanted}, [], [name]
    while names:
        step = by_name[names.pop(0)]
        if step.step.op.shape == "build" or manifest_of(store, step.task.home) is None:
            continue
        for part in parts_of(store, [step.task.home]):
            for row in _matching(store, part["file"], seek)[:1]:
                trail.append({"step": step.step.name, **row})
                seek |= {v for k, v in row.items() if k.endswith("_id") and isinstance(v, str) and k != "source_id"}
                seek |= set(row.get("positive_ids", []))
        names += [s for s in step.step.sources if s not in names]
    if not trail:
        raise InputError(f"{name}: no row has the id {wanted}; ids are shown by `pithead show`")
    return trail


def _matching(store: Store, file: str, seek: set[str]) -> list[dict[str, Any]]:
    table = store.read_table(file)
    values = pa.array([bytes.fromhex(s) for s in seek if _ID.match(s)], pa.binary(16))
    mask = None
    for column in ("query_id", "passage_id", "doc_id"):
        if column in table.column_names:
            hit = pc.is_in(table[column], values)
            mask = hit if mask is None else pc.or_(mask, hit)
    return _plain_rows(table.filter(mask).slice(0, 1)) if mask is not None else []
