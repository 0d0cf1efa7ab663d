"""Evaluate a training set: train students on it, rank collections with them, compare with what they started from (C50).

What runs is an ordinary flow, so students, vectors and scores are stored by the set's checksums, and a killed run goes on.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import ValidationError

from cluster.store import Store
from cluster.task import Bench, manifest_of
from flows.collection import Collection, Steps, collection_of, judged, ranked, scored, step, tests_of
from flows.config import CONFIGS, FlowConfig, as_yaml, assigned
from flows.export import set_of
from flows.faults import FlowError, did_you_mean, sentences
from flows.flow import Flow, checked
from flows.lookup import read_models
from flows.plan import plan
from flows.run import run
from operators.compare_arms import Comparison
from operators.contract import InputError
from operators.measure_contamination import FOUND, Contamination
from operators.read_training_set import shards
from operators.train_student import TrainStudent

PATH = CONFIGS / "flows" / "evaluate.yaml"  # no file: as if the flow were a shipped one
OURS, BASE = "trained", "base"
NEGATIVES = 4  # of a set that has them, where nothing else was said
KEEP, DROP = "keep", "drop"


def composed(steps: Steps, name: str = "evaluate") -> Flow:
    """The checked flow of these steps."""
    return checked(FlowConfig.model_validate({"flow": name, "steps": steps}), PATH)


def training(folder: str, changes: Sequence[str]) -> dict[str, Any]:
    """How to train on a set: with what it has of negatives, masks and batches, but for what ``--set`` says."""
    have = pq.read_schema(shards(folder)[0]).names
    given: dict[str, Any] = {
        "negatives": NEGATIVES if "negatives" in have else 0, "masks": "masked_ids" in have,
        "batches": "set" if "batch" in have else "random",
    }  # fmt: skip
    for change in changes:
        key, value = assigned(change)
        if key == "seed":
            raise InputError("--set seed: say --seeds, how many there are")
        given[key] = as_yaml(change, value)
    try:
        TrainStudent.model_validate(given)
    except ValidationError as error:
        raise FlowError(sentences(error, "--set", TrainStudent.model_fields)) from error
    return given


def check_student(key: str) -> None:
    """Raise `InputError` unless models.yaml, the package's or that of where you stand, has such an encoder."""
    models = read_models([Path.cwd(), CONFIGS])
    if key not in models or models[key].kind != "encoder":
        encoders = [name for name, entry in models.items() if entry.kind == "encoder"]
        raise InputError(f"--student {key}: models.yaml has no encoder of this name{did_you_mean(key, encoders)}")


def steps_of(folder: str, on: Sequence[Collection], student: str, seeds: int, how: dict[str, Any], drop: bool) -> Steps:
    """The whole flow: the set, its contamination, students by seed, and every arm's scores on every collection."""
    steps: Steps = {
        "rows": {"op": "read_training_set", "with": {"path": folder}},
        "passages": {"op": "read_training_set", "with": {"path": folder, "rows": "passages"}},
        "texts": step("index_texts", "passages", {}),
    }
    for c in on:
        steps |= {**judged(c), **tests_of(c)}
    steps["tests"] = step("index_evaluation", [f"{c.name}-tests" for c in on], {})
    steps["matched"] = step("match_evaluation", "rows", {}, using={"evaluation": "tests"})
    steps["found"] = step("measure_contamination", "matched", {}, using={"evaluation": "tests"})
    if drop:
        steps["clean"] = step("drop_contaminated", "matched", {}, using={"evaluation": "tests"}, max_rejected=1)
    for seed in range(seeds):
        steps[f"student-{seed}"] = step(
            "train_student", "clean" if drop else "rows", {**how, "seed": seed}, using={"encoder": student, "texts": "texts"}
        )
    for c in on:
        steps |= ranked(c, BASE, 0, student)
        for seed in range(seeds):
            steps |= ranked(c, OURS, seed, f"student-{seed}")
    every = [scored(c, arm, s) for c in on for arm, n in (("bm25", 1), (BASE, 1), (OURS, seeds)) for s in range(n)]
    steps["comparison"] = step("compare_arms", every, {"pairs": [[OURS, BASE]]})
    return steps


def artifact(flow: Flow, store: Store, step: str, cls: Any) -> Any:
    """The artifact of a step that has run."""
    manifest = manifest_of(store, next(p.task.home for p in plan(flow, store) if p.step.name == step))
    assert manifest is not None
    return cls.load(store.fetch_folder(manifest["parts"][0]["file"]))


@dataclass(frozen=True)
class Asked:
    """What the arguments ask for, checked before anything runs."""

    on: list[Collection]
    folder: str  # of the set
    how: dict[str, Any]


def asked(args: argparse.Namespace) -> Asked:
    """Raises `InputError` where the set, a collection, the student or a param is not there."""
    if args.seeds < 1:
        raise InputError(f"--seeds: give a number above 0, not {args.seeds}")
    on = [collection_of(given) for given in args.on.split(",") if given]
    if not on or len({c.name for c in on}) < len(on):
        raise InputError(f"--on {args.on}: give folders of different names, with commas between them")
    home, name = set_of(args.found, args.store)
    if home.local is None:
        raise InputError(f"{args.found}: a set is read from a local folder; copy it from there")
    folder = str(home.local.absolute() / name)
    check_student(args.student)
    return Asked(on, folder, training(folder, args.set))


def evaluate(args: argparse.Namespace, of: Asked, bench: Bench) -> dict[str, Any]:
    """Train, rank and compare; what came out as a record. Raises `InputError` on contaminated rows."""
    flow = composed(steps_of(of.folder, of.on, args.student, args.seeds, of.how, args.contaminated == DROP))
    run(flow, bench, until="found", latest=False)
    counts = artifact(flow, bench.store, "found", Contamination).counts
    repeated = {collection: told[FOUND] for collection, told in counts.items() if told[FOUND]}
    if repeated and args.contaminated not in (KEEP, DROP):
        said = ", ".join(f"{n} of {collection}'s {counts[collection]['rows']}" for collection, n in repeated.items())
        raise InputError(
            f"{args.found}: its queries repeat judged ones ({said}), and what a student then gains is no proof;"
            " say --contaminated drop, to leave such rows out, or keep"
        )
    ran = run(flow, bench, latest=False)
    rows = artifact(flow, bench.store, "comparison", Comparison).rows
    return {
        "set": Path(of.folder).name, "student": args.student, "seeds": args.seeds, "training": of.how,
        "contaminated": counts, "rows": [{**row, "student": args.student} for row in rows], "made": ran.made,
    }  # fmt: skip


_COLUMNS = {  # of the table: heading → key
    "collection": "collection", "arm": "arm", "nDCG@10": "ndcg10", "gain": "gain", "low": "low", "high": "high",
    "p": "p_corrected", "seeds": "seeds", "MRR@10": "mrr10", "recall@100": "recall100", "least": "detectable",
}  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as people read them."""
    told = [[_shown(row.get(key, "")) for key in _COLUMNS.values()] for row in rows]
    widths = [max(len(line[i]) for line in [list(_COLUMNS), *told]) for i in range(len(_COLUMNS))]
    lines = ["  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)) for line in [list(_COLUMNS), *told]]
    return "\n".join(line.rstrip() for line in lines)


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def report(value: dict[str, Any]) -> str:
    """The table, and what it says in words."""
    lines = [table(value["rows"]), ""]
    queries = {row["collection"]: row["queries"] for row in value["rows"]}
    lines.append("queries: " + ", ".join(f"{n} of {c}" for c, n in queries.items()))
    lines.append(
        "gain: of nDCG@10 over the untouched base, a 95 % bootstrap interval over queries (low, high), a paired permutation test"
        " (p, by Holm's correction over the collections), and the least gain that so many queries show with 80 % power."
    )
    found = {c: told[FOUND] for c, told in value["contaminated"].items() if told[FOUND]}
    lines += [f"{n} judged queries of {c} stand in the training rows" for c, n in found.items()]
    return "\n".join(lines)


def write(out: str, value: dict[str, Any]) -> None:
    """The record as a JSON file."""
    path = Path(out).expanduser()
    if not path.parent.is_dir():
        raise InputError(f"--out {out}: {path.parent} is no folder")
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stderr.write(f"written to {path}\n")
