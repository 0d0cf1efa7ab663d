"""Try one step on a few stored rows: what went in, what the model was asked and said, what came out."""

import json
from collections.abc import Sequence
from typing import Any

from cluster.store import Store
from cluster.task import manifest_of, parts_of
from cluster.work import Job, Work
from flows.flow import Flow
from flows.plan import plan, with_artifacts
from flows.show import _plain_rows
from operators.columns import put
from operators.contract import InputError, apply, numbered
from operators.engines.llm import Answer, Finished, Request, Sampling, unheard


class Listening:
    """An LLM that keeps what was asked and answered."""

    def __init__(self, llm: Any) -> None:
        self.llm, self.heard = llm, []  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.llm, name)

    def complete(self, requests: Sequence[Request], sampling: Sampling, finished: Finished = unheard) -> list[Answer]:
        """Ask, and keep it."""
        answers: list[Answer] = self.llm.complete(requests, sampling, finished)
        self.heard += [{"prompt": r.prompt, "answer": a.text, "fault": a.fault} for r, a in zip(requests, answers, strict=True)]
        return answers


def attempt(flow: Flow, store: Store, name: str, rows: int, sample: int | None = None) -> dict[str, Any]:
    """Run a map or a group on the first ``rows`` stored rows of its input; nothing is stored."""
    flow.step(name)
    planned = next(p for p in plan(flow, store, sample) if p.step.name == name)
    step = planned.step
    if step.op.shape not in ("map", "group"):
        raise InputError(f"{name}: a {step.op.shape} needs its whole input; try a map or a group")
    for source in planned.task.inputs:
        if manifest_of(store, source) is None:
            raise InputError(f"{name}: its input is not stored; run the flow --until {step.sources[0]}")
    for role, above in step.using.items():
        if manifest_of(store, json.loads(planned.task.using[role])["artifact_of"]) is None:
            raise InputError(f"{name}: the artifact {above} is not stored; run the flow --until {above}")
    task = with_artifacts(planned.task, store)
    part = next((p for p in parts_of(store, task.inputs) if p["rows"]), None)
    if part is None:
        raise InputError(f"{name}: its input has no rows")
    table = store.read_table(part["file"]).slice(0, rows)
    params = step.params.model_dump_json(exclude_unset=True)
    # Through the ledger of the part: what was answered before is not asked again, what is asked now is kept.
    job = Job(Work("map", part["part"], step.spec, params, dict(task.using), [], task.home, store.uri, "try"), "try-0")
    ears = {k: Listening(v) if hasattr(v, "complete") else v for k, v in job.used.items()}
    if step.op.shape == "group":
        table = numbered(table).sort_by(step.op.key_of(step.params))
    try:
        outcome = apply(step.op, table, step.params, **ears)
    finally:
        job.close()
    heard = [h for ear in ears.values() if isinstance(ear, Listening) for h in ear.heard]
    return {
        "step": name, "input": _plain_rows(table), "asked": heard,
        "output": _plain_rows(outcome.table), "rejects": _plain_rows(put(outcome.rejects, "row", outcome.rejects["_row"])),
    }  # fmt: skip
