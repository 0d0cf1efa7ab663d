"""What people see: the funnel, plans, rows, rejects, and a row's way back to its file."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.committed import commits
from cluster.store import Store
from cluster.task import manifest_of, parts_of
from flows.card import prompts_of
from flows.faults import not_stored
from flows.plan import Planned
from operators.contract import InputError

_ID = re.compile(r"^[0-9a-fA-F]{32}$")
WIDTH = 160  # characters of a text that a listing shows
TRAIL = 12  # rows a step that a walk shows: a query, its positives, its negatives
_OWN = ("query_id", "passage_id", "doc_id")
_LISTED = ("positive_ids", "negative_ids")


def funnel(records: Sequence[dict[str, Any]]) -> str:
    """In, out and rejected by reason at every step."""
    lines = [f"{'step':<16}{'in':>9}{'out':>9}{'rejected':>10}{'seconds':>9}  why"]
    for r in records:
        lost = sum(r["rejected"].values())
        notes = ["no path was given"] if r.get("absent") else [f"{r['sample']} of them are the sample"] if "sample" in r else []
        notes += [f"held: {r['held']:.2%} of its rows came or went since"] if "held" in r else []
        why = "; ".join([*filter(None, [reasons(r["rejected"])]), *notes])
        spent = "stored" if r["stored"] else f"{r['seconds']:.1f}"
        lines.append(f"{r['step']:<16}{r['rows_in']:>9}{r['rows_out']:>9}{lost:>10}{spent:>9}  {why}")
    return "\n".join(lines)


def reasons(rejected: Mapping[str, int], most: int = 5) -> str:
    """The commonest reasons with their counts; the counts add up."""
    found = sorted(rejected.items(), key=lambda x: (-x[1], x[0]))
    told = [f"{n} {k}" for k, n in found[:most]]
    if rest := sum(n for _, n in found[most:]):
        told.append(f"{rest} of {len(found) - most} other reasons")
    return ", ".join(told)


def planned(steps: Sequence[dict[str, Any]]) -> str:
    """One line a step: name, fingerprint, operator, from, stored or to run, what it adds."""
    lines = []
    for s in steps:
        calls = f", {'?' if s['llm_calls'] is None else s['llm_calls']} LLM calls" if s["llm_calls"] != 0 else ""
        state = "held" if s.get("held") else f"stored, {s['rows']} rows" if s["stored"] else f"to run{calls}"
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
    """The rows with the smallest ids of a set: a draw that nobody chose."""
    manifest = store.read_json(f"{published}/manifest.json")
    have = [name for name, _ in manifest["schema"]]
    shown = [name for name in ("query_id", "query", "positives", "negatives") if name in have]
    if "query_id" not in have:
        shown = ["doc_id", "title", "text"]
    best: pa.Table | None = None
    for shard in manifest["shards"]:
        table = store.read_table(f"{published}/{shard['file']}", shown)
        both = table if best is None else pa.concat_tables([best, table])
        best = both.sort_by(shown[0]).slice(0, count)
    lines = []
    for row in best.to_pylist() if best is not None else ():
        if "query_id" not in have:
            lines.append(f"document  {_line(': '.join(filter(None, [row['title'], row['text'][: 2 * WIDTH]])))}")
            continue
        lines.append(f"query     {row['query']}")
        lines += [f"  positive  {_line(p)}" for p in row["positives"][:1]]
        lines += [f"  negative  {_line(n)}" for n in row.get("negatives", [])[:2]]
    return lines


def _line(value: str) -> str:
    folded = " ".join(value.split())
    return folded[:120] + ("…" if len(folded) > 120 else "")


def _home(steps: Sequence[Planned], name: str) -> str:
    return next(p.task.home for p in steps if p.step.name == name)


def rows(steps: Sequence[Planned], store: Store, name: str, count: int) -> list[dict[str, Any]]:
    """The first rows of a stored step."""
    manifest = manifest_of(store, _home(steps, name))
    if manifest is None:
        raise not_stored(store, name)
    return _first(store, [p["file"] for p in manifest["parts"] if p["rows"]], count)


def rejects(steps: Sequence[Planned], store: Store, name: str, count: int) -> list[dict[str, Any]]:
    """The first rejects of a step; of one that failed or goes on, those of its finished parts."""
    home = _home(steps, name)
    manifest = manifest_of(store, home)
    records = [*manifest["parts"], *manifest["scanned"]] if manifest else [r for _, r in sorted(commits(store, home).items())]
    if manifest is None and not records:
        raise not_stored(store, name)
    return _first(store, [r["rejects"] for r in records if "rejects" in r], count)


def _first(store: Store, files: Sequence[str], count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for file in files:
        if len(found) < count:
            found += _plain_rows(store.read_table(file).slice(0, count - len(found)))
    return found


def walk(steps: Sequence[Planned], store: Store, name: str, wanted: str) -> list[dict[str, Any]]:
    """From a row back through all steps that it was made of: what each of them held of it and of its texts, up to the files.

    At most `TRAIL` rows a step, those of the id that was asked for first.
    """
    if not _ID.match(wanted):
        raise InputError(f"--row {wanted}: an id is 32 hex digits; ids are shown by `pithead show`")
    made_of, seek, trail = {name}, {bytes.fromhex(wanted): None}, list[dict[str, Any]]()
    for planned in reversed(steps):  # a step reads only what stands above it
        if planned.step.name not in made_of:
            continue
        made_of |= above(planned)
        if planned.step.op.shape == "build" or manifest_of(store, planned.task.home) is None:
            continue
        found = [_matching(store, part["file"], list(seek)) for part in parts_of(store, [planned.task.home]) if part["rows"]]
        asked = prompts_of(planned.step)
        for row in [r for table in found for r in table.to_pylist()][:TRAIL]:
            shown = {k: plain(v) for k, v in row.items() if not k.startswith("_")}
            told = asked.get(row.get("query_type", ""), asked.get("", ""))
            trail.append({"step": planned.step.name, **shown, **({"prompt": told} if told else {})})
            if any(row.get(k) in seek for k in _OWN):  # a row that only lists the id says nothing of where it comes from
                seek |= dict.fromkeys(v for k, v in row.items() if k in _OWN and v is not None)
                seek |= dict.fromkeys(v for k in _LISTED for v in row.get(k) or ())
    if not trail:
        raise InputError(f"{name}: no row has the id {wanted}; ids are shown by `pithead show`")
    return trail


def told_once(trail: Sequence[Mapping[str, Any]]) -> str:
    """A walk for people: of each row what no step shown before has told of it, and its ids."""
    known: dict[Any, dict[str, Any]] = {}
    shown = []
    for row in trail:
        before = known.setdefault(next((row[k] for k in _OWN if k in row), None), {})
        shown.append({k: v for k, v in row.items() if k in ("step", *_OWN) or k not in before or before[k] != v})
        before.update(row)
    return as_lines(shown)


def as_lines(found: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON that people can read."""
    return "\n".join(json.dumps(row, indent=1, ensure_ascii=False) for row in found) or "no rows"


def above(planned: Planned) -> set[str]:
    """The steps that a step reads: its rows, what it searches, the artifacts that it uses."""
    step = planned.step
    return {*step.sources, *step.using.values(), *([step.against] if step.against else [])}


def _matching(store: Store, file: str, seek: Sequence[bytes]) -> pa.Table:
    """The rows that have one of these ids, of their own or in a list; the first id that is asked for comes first."""
    with store.parquet(file) as opened:
        have = set(opened.schema_arrow.names)
        own = [c for c in _OWN if c in have][:1]  # a passage is not every passage of its document
        ids = opened.read(columns=[*own, *(c for c in _LISTED if c in have)])
        rank = {key: i for i, key in enumerate(seek)}
        best: dict[int, int] = {}
        for column in ids.column_names:
            values, rows = _flat(ids[column])
            hit = pc.index_in(values, pa.array(seek, pa.binary(16))).to_numpy(zero_copy_only=False)
            for i in (~np.isnan(hit)).nonzero()[0]:
                best[int(rows[i])] = min(best.get(int(rows[i]), len(rank)), int(hit[i]))
        if not best:
            return opened.schema_arrow.empty_table()
        chosen = sorted(best, key=lambda row: (best[row], row))[:TRAIL]
        return opened.read().take(pa.array(chosen))


def _flat(column: pa.ChunkedArray) -> tuple[pa.Array, Any]:
    """The values of a column and the row of each, of a list column each element."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if not pa.types.is_list(array.type):
        return array, np.arange(len(array))
    return array.flatten(), pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
