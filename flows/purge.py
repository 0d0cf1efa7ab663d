"""Delete a document on request: find everything in a store that holds it, and take it out so that the rest stays valid.

Its texts have ids of their own (document, passages, queries made of them), so every row is found by id, whichever flow made it.
A text that another document holds as well is that one's, too, and stays. What is done with a hit:

- a published version is withdrawn (``withdrawn.json`` in its folder) and published anew without the rows that name it;
- a step keeps its other rows as ``purged.json``, from which a refresh takes them over, and counts as not made: whatever the
  inputs say by then, the next run makes it again;
- an index of texts or ids is removed, the next run builds it again; statistics and trained models are named, not removed;
- an answer in a ledger is cut out of its file.

Ids in lists of candidates are hashes and stay until the next run; files outside of the store are their owner's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.store import Store
from cluster.task import manifest_of
from flows.purge_sets import withdraw
from operators.columns import flat
from operators.contract import InputError, row_id

OWN = ("doc_id", "passage_id", "query_id", "anchor_id", "target_id")
NAMED = ("source_id", "representative", "corpus_id", "query_source_id", "corpus_source_id", "id")  # columns of a user's own ids
SMALL = pa.array([], row_id)


@dataclass
class Trace:
    """What a document is known by."""

    source_id: str
    source: str = ""
    ids: pa.Array = field(default_factory=lambda: SMALL)  # of its texts and of what was made of them, shared ones left out
    shared: int = 0  # passages that another document holds, too

    def named(self, table: pa.Table) -> Any:
        """Which rows (N,) of a table have the user's id of it."""
        found = pa.array(np.zeros(len(table), bool))
        for name in (n for n in NAMED if n in table.column_names and pa.types.is_string(table[n].type)):
            mine = pc.equal(table[name], self.source_id)
            if self.source and "source" in table.column_names:
                mine = pc.and_(mine, pc.equal(table["source"], self.source))
            found = pc.or_(found, pc.fill_null(mine, False))
        return found

    def mask(self, table: pa.Table) -> Any:
        """Which rows (N,) of a table are of it, or hold a text of it."""
        found = self.named(table)
        texts = any(pa.types.is_list(t) and pa.types.is_string(t.value_type) for t in table.schema.types)
        for name, column in zip(table.column_names, table.columns, strict=True):
            if column.type == row_id and (name in OWN or name.endswith("_id")):
                found = pc.or_(found, pc.fill_null(pc.is_in(column, self.ids), False))
            elif column.type == pa.list_(row_id) and (texts or name == "positive_ids"):
                found = pc.or_(found, self._in_lists(column))
        return found

    def _in_lists(self, column: pa.ChunkedArray) -> pa.Array:
        offsets, values = flat(column)
        hit = pc.is_in(values, self.ids).to_numpy(zero_copy_only=False)
        sums = np.concatenate([[0], np.cumsum(hit)])
        return pa.array(sums[offsets[1:]] > sums[offsets[:-1]])


def trace(store: Store, source_id: str, source: str = "") -> Trace:
    """Find a document's ids in every step; `InputError` where no step has it."""
    found = Trace(source_id, source)
    steps = [f"steps/{name}" for name in store.names("steps")]
    own, others = _split(store, steps, found, OWN, pa.array([], row_id))
    if not len(own):
        where = f" of source {source}" if source else ""
        raise InputError(f"{store.uri}: no step has a document with the source_id {source_id!r}{where}")
    found.ids = own.filter(pc.invert(pc.is_in(own, others)))
    own, more = _split(store, steps, found, ("passage_id",), found.ids)  # where `keep` left the user's id behind
    others, whole = pc.unique(pa.concat_arrays([others, more])), pc.unique(pa.concat_arrays([found.ids, own]))
    found.ids, found.shared = whole.filter(pc.invert(pc.is_in(whole, others))), len(others)
    for _ in range(4):  # a query of a passage, a rewriting of that query
        made, told = [found.ids], [SMALL]
        for table in _rows(store, steps, ("query_id", "passage_id", "doc_id", "positive_ids"), need="query_id"):
            mask = found.mask(table)
            made.append(table["query_id"].filter(mask).combine_chunks())
            told.append(pc.unique(table["query_id"].filter(pc.invert(mask))))
        elsewhere = pc.unique(pa.concat_arrays(told))  # such as a heading of many documents
        more = pc.unique(pa.concat_arrays([made[0], *(m.filter(pc.invert(pc.is_in(m, elsewhere))) for m in made[1:])]))
        if len(more) == len(found.ids):
            break
        found.ids = more
    return found


def _split(store: Store, steps: Sequence[str], found: Trace, names: Sequence[str], docs: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The distinct ids in some columns of its rows, and those of them that rows of other documents have as well."""
    own, rest = [SMALL], [SMALL]
    for table in _rows(store, steps, ("source_id", "source", *OWN), need="source_id" if not len(docs) else "doc_id"):
        mask = found.named(table)
        if len(docs) and "doc_id" in table.column_names:
            mask = pc.or_(mask, pc.fill_null(pc.is_in(table["doc_id"], docs), False))
        for name in (n for n in names if n in table.column_names and table[n].type == row_id):
            own.append(pc.unique(table[name].filter(mask)))
            rest.append(pc.unique(table[name].filter(pc.invert(mask))))
    mine = pc.unique(pa.concat_arrays(own))
    others = pc.unique(pa.concat_arrays(rest))
    return mine, mine.filter(pc.is_in(mine, others))


def _rows(store: Store, homes: Sequence[str], columns: Sequence[str], need: str) -> Iterator[pa.Table]:
    """Some columns of every part that has the column ``need``."""
    for home in homes:
        for part in (manifest_of(store, home) or store.read_json(f"{home}/purged.json") or {"parts": []})["parts"]:
            if not part["file"].endswith(".parquet") or not store.exists(part["file"]):
                continue
            with store.parquet(part["file"]) as file:
                have = file.schema_arrow.names
                if need in have:
                    yield file.read(columns=[c for c in columns if c in have])


def purge(store: Store, found: Trace, *, act: bool) -> dict[str, Any]:
    """What holds it, and with ``act`` without it: rows of steps, rejects, artifacts, ledgers, versions."""
    steps: dict[str, dict[str, Any]] = {}
    fitted, artifacts = list[str](), list[str]()
    for name in store.names("steps"):
        home = f"steps/{name}"
        manifest = manifest_of(store, home)
        if manifest is None and not store.exists(f"{home}/purged.json"):
            if store.exists(home) and _unfinished(store, home, found):
                steps[home] = {"rows": 0, "rejects": 0, "unfinished": True}
                if act:
                    store.remove(home)
            continue
        rows, rejects = _step(store, home, found, act=act)
        if rows or rejects:
            steps[home] = {"rows": rows, "rejects": rejects}
    for name in store.names("steps"):
        home = f"steps/{name}"
        manifest = manifest_of(store, home)
        if manifest and any("files" in p for p in manifest["parts"]) and set(manifest["inputs"]) & set(steps):
            (fitted if _is_held(name) else artifacts).append(home)
            if act and not _is_held(name):
                store.remove(f"{home}/manifest.json")
                store.remove(home)
    return {
        "ids": len(found.ids), "shared": found.shared, "steps": steps, "artifacts": artifacts, "fitted": fitted,
        "ledgers": _ledgers(store, found, act=act), "versions": withdraw(store, found.mask, act=act),
    }  # fmt: skip


def _is_held(name: str) -> bool:
    """Whether an artifact holds statistics or weights, no text and no row."""
    from flows.lookup import find_operator

    try:
        return find_operator(name.rpartition("-")[0], [])[1].holds
    except InputError:
        return False


def _step(store: Store, home: str, found: Trace, *, act: bool) -> tuple[int, int]:
    """Rows and rejects of a step that hold it; with ``act`` the step keeps the others, as `purged.json`."""
    whole = manifest_of(store, home)
    manifest = whole or store.read_json(f"{home}/purged.json")
    rows, rejects, kept = 0, 0, []
    for part in [*manifest["parts"], *manifest["scanned"]]:
        told, one = dict(part), 0
        if part["file"].endswith(".parquet") and store.exists(part["file"]):
            table, one = _without(store, part["file"], found)
            rows += one
            if one and act:
                told |= dict(zip(("sha256", "rows"), store.write_table(part["file"], [table]), strict=True))
        if part.get("rejects") and store.exists(part["rejects"]):
            table, bad = _without(store, part["rejects"], found)
            rejects += bad
            if bad and act:
                told["rejects_sha256"], _ = store.write_table(part["rejects"], [table])
        told.pop("bucket", None)
        kept.append(told)
    if act and (rows or rejects):
        held = {p[k] for p in kept for k in ("file", "rejects") if p.get(k)}
        parts, scanned = ([p for p in kept if bool(p["file"]) == there] for there in (True, False))
        store.write_json(f"{home}/purged.json", {**manifest, "parts": parts, "scanned": scanned})
        store.remove(f"{home}/manifest.json")
        store.remove(f"{home}/commits")
        for folder in ("parts", "rejects", "exchange", "partial"):
            for name in store.names(f"{home}/{folder}"):
                if f"{home}/{folder}/{name}" not in held:
                    store.remove(f"{home}/{folder}/{name}")
    return rows, rejects


def _without(store: Store, file: str, found: Trace) -> tuple[pa.Table, int]:
    """A file's rows but those that hold it, and how many these are."""
    table = store.read_table(file)
    mask = found.mask(table)
    if "value" in table.column_names and "reason" in table.column_names:
        mask = pc.or_(mask, pc.fill_null(pc.equal(table["value"], found.source_id), False))
    return table.filter(pc.invert(mask)), int(pc.sum(mask).as_py() or 0)


def _unfinished(store: Store, home: str, found: Trace) -> bool:
    """Whether a step that is not whole holds it."""
    for name in store.sizes(home):
        if name.endswith(".parquet"):
            try:
                if _without(store, f"{home}/{name}", found)[1]:
                    return True
            except (pa.ArrowInvalid, OSError):
                continue  # cut off while it was written
    return False


def _ledgers(store: Store, found: Trace, *, act: bool) -> dict[str, int]:
    """Answers that were given for its rows, by file; with ``act`` they are cut out."""
    ids, out = {one.hex() for one in found.ids.to_pylist()}, {}
    for name in store.sizes("ledger") if ids else ():
        file = f"ledger/{name}"
        lines = store.read(file).split(b"\n")
        kept = [line for line in lines if not _is_of(line, ids)]
        if len(kept) < len(lines):
            out[file] = len(lines) - len(kept)
            if act:
                store.write(file, b"\n".join(kept))
    return out


def _is_of(line: bytes, ids: set[str]) -> bool:
    try:
        said: Mapping[str, Any] = json.loads(line.decode("utf-8", "surrogatepass"))
        return str(said.get("row", ""))[:32] in ids
    except (ValueError, AttributeError):
        return False


def told(found: dict[str, Any], done: bool) -> str:
    """The list, for people."""
    lines = [f"{found['ids']} ids are its own; {found['shared']} of its texts other documents hold, too: those stay"]
    for home, one in found["steps"].items():
        lines.append(f"{home}: " + ("unfinished" if one.get("unfinished") else f"{one['rows']} rows, {one['rejects']} rejects"))
    lines += [f"{home}: an index that is built again" for home in found["artifacts"]]
    lines += [f"{home}: was fitted with it, and stays" for home in found["fitted"]]
    lines += [f"{file}: {count} answers" for file, count in found["ledgers"].items()]
    for one in found["versions"]:
        new = f", again as {one['republished']}" if one.get("republished") else ""
        lines.append(f"{one['version']}: {one['rows']} rows; {'withdrawn' if done else 'to be withdrawn'}{new}")
    last = "it is removed; take it out of the input, too, before the next run" if done else "nothing is removed yet; say --yes"
    return "\n".join([*lines, last])
