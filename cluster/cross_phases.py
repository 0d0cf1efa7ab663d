"""The units of work of a cross: the search of every block of the left in every range of the right, or of what changed.

What an earlier set of the same kin found is kept where it can be (`cluster.crossing`): first it is told what of the right
came and went since then, then each part of the left is told which of its rows that leaves sure. Only the others are searched.
"""

from math import gcd
from typing import Any

from cluster.crossing import RANGE
from cluster.parts import Spans, span
from cluster.recipes import earlier
from cluster.task import Bench, Task, parts_of
from cluster.work import Work
from cluster.working import named, perform, short, work_for

Records = list[dict[str, Any]]


def cross(task: Task, bench: Bench) -> Records:
    """Make every part of the left's candidates."""
    left, right = parts_of(bench.store, task.inputs), parts_of(bench.store, [task.against or ""])
    sides = _sides(task, bench, right)
    settled, why = _settled(task, bench, left, right, sides)
    ranges = _ranges(right, max(RANGE, sum(p["rows"] for p in right) * len(left) // 10_000))  # some ten thousand items at most
    work, at = list[Work](), dict[str, list[int]]()
    for one in ranges:
        name, rows = short(why, *(p["part"] for p in one)), sum(r["rows"] for r in one)
        for part in left:
            done = settled.get(named(task, part), {"open": part["rows"], "file": ""})
            if done["open"] or not done["file"]:
                at.setdefault(named(task, part), []).append(len(work))
                work.append(work_for(
                    task, bench, "cross", f"c{named(task, part)}-{name}", [part["file"]], rows=done["open"],
                    against=[r["file"] for r in one], extra={"pairs": done["open"] * rows, "settled": done["file"]},
                ))  # fmt: skip
    found = perform(task, bench, work)
    merges = []
    for part in left:
        partials = [found[i]["file"] for i in at.get(named(task, part), ())]
        done = {"settled": settled.get(named(task, part), {}).get("file", "")}
        merges.append(work_for(task, bench, "merge", named(task, part), [part["file"], *partials], rows=part["rows"], extra=done))
    return [*sides, *found, *perform(task, bench, merges)]


def _ranges(parts: Records, rows: int) -> list[Records]:
    """Neighbouring parts of at most so many rows together, or one: what is held at once is as large in any corpus."""
    out: list[Records] = []
    held = 0
    for part in parts:
        if not out or held + part["rows"] > rows:
            out.append([])
            held = 0
        out[-1].append(part)
        held += part["rows"]
    return out


def _sides(task: Task, bench: Bench, right: Records) -> Records:
    """What each part of the right is known by when the next set asks what has changed."""
    if not task.op.depth:
        return []
    work = [work_for(task, bench, "side", f"cside-{p['part']}", [p["file"]], rows=p["rows"]) for p in right]
    return [{**r, "side": p["part"]} for p, r in zip(right, perform(task, bench, work), strict=True)]


def _settled(task: Task, bench: Bench, left: Records, right: Records, sides: Records) -> tuple[dict[str, dict[str, Any]], str]:
    """The record of what is sure of each part of the left, and a name for the set that it was taken of."""
    before = [m for m in earlier(bench.store, task.kin) if _is_there(bench, m)] if sides else []
    old = _nearest(task, before, right)
    if old is None:
        return {}, ""
    why = short(*_searched(old))[:8]
    changes = _changes(task, bench, right, sides, old["sides"], why)
    came, rows = sum(c["rows"] for c in changes), sum(p["rows"] for p in right)
    if 2 * came > rows:
        return {}, ""
    added, gone = ([c[k] for c in changes if c.get(n)] for k, n in (("file", "rows"), ("gone", "removed")))
    spans = [Spans(m["parts"]) for m in before if _searched(m) == _searched(old)]  # the deepest list of a row is taken
    work = []
    for part in left:
        told = [p["file"] for one in spans for p in one.overlapping(part["part"])]
        extra = {"previous": told, "gone": gone, "pairs": came * part["rows"]}
        name = f"crenew-{named(task, part)}-{why}"
        work.append(work_for(task, bench, "renew", name, [part["file"]], rows=part["rows"], against=added, extra=extra))
    return dict(zip((named(task, p) for p in left), perform(task, bench, work), strict=True)), why


def _is_there(bench: Bench, manifest: dict[str, Any]) -> bool:
    return "sides" in manifest and all(bench.store.exists(side["file"]) for side in manifest["sides"])


def _searched(manifest: dict[str, Any]) -> list[str]:
    return [side["sha256"] for side in manifest["sides"]]


def _nearest(task: Task, manifests: Records, right: Records) -> dict[str, Any] | None:
    """Of the earlier sets the newest that searched the same right side, else one whose right side was about as long."""
    for manifest in manifests:
        if manifest["inputs"][-1] == task.against:
            return manifest
    rows = sum(p["rows"] for p in right)
    return min(manifests, key=lambda m: abs(sum(s["rows"] for s in m["sides"]) - rows), default=None)


def _changes(task: Task, bench: Bench, right: Records, sides: Records, before: Records, why: str) -> Records:
    """A record for every group of parts that cover the same ids: the rows that came, the ids of those that went."""
    groups = _grouped(right, sides, before)
    work = [
        work_for(task, bench, "differ", f"cdiffer{i}-{why}", [new, old, files], rows=rows)
        for i, (new, old, files, rows) in enumerate(groups)
    ]
    found = perform(task, bench, work)
    gone = [r["gone"] for r in found if r["removed"]]
    if not gone:
        return found
    stay = [
        work_for(task, bench, "stay", f"cstay{i}-{why}", [new, gone, files], rows=rows)
        for i, (new, _, files, rows) in enumerate(groups)
    ]
    return found + perform(task, bench, stay)


def _grouped(right: Records, sides: Records, before: Records) -> list[tuple[list[str], list[str], list[str], int]]:
    """(new sides, old sides, parts of the right, rows) of each range of ids that both cuts keep whole."""
    cuts = [int(p["part"].split("@")[0].partition("-of-")[2] or 1) for p in (*right, *before)]
    of = gcd(*cuts) if cuts else 1

    def at(part: str) -> int:
        return int(span(part)[0] * of)

    files = dict(zip((p["part"] for p in right), right, strict=True))
    out = []
    for i in range(of):
        new = [s for s in sides if at(s["side"]) == i]
        old = [s["file"] for s in before if at(s["part"]) == i]
        parts = [files[s["side"]] for s in new]
        out.append(([s["file"] for s in new], old, [p["file"] for p in parts], sum(p["rows"] for p in parts)))
    return out
