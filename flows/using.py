"""What a step uses: models by their key in models.yaml, artifacts by the step that builds them.

A build may make what else a model gives: a teacher that was trained above stands where a key could.
"""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cluster.work import made_by
from flows.agree import nearest
from flows.faults import did_you_mean
from operators.contract import Operator

if TYPE_CHECKING:
    from flows.flow import Checks, Step

MODELS = ("LLM", "Encoder", "Teacher")  # of `uses`: what models.yaml has keys for


def resolve_using(checks: "Checks", at: str, op: Operator, given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Any]]:
    """(name → step, name → entry of models.yaml) of what an operator uses; faults go to ``checks``."""
    steps: dict[str, str] = {}
    models: dict[str, Any] = {}
    for extra in sorted(set(given) - set(op.uses)):
        checks.faults.append(f"{at}.using.{extra}: {op.name} uses no {extra!r}{did_you_mean(extra, op.uses)}")
    for name, kind in op.uses.items():
        if name not in given and name in op.optional:
            continue
        if name not in given:
            checks.faults.append(f"{at}.using.{name}: this key is missing; {op.name} uses a {kind.__name__}")
        elif inspect.isclass(kind) and kind.__name__ in MODELS and not _is_built(checks, given[name]):
            _model(checks, f"{at}.using.{name}", name, given[name], kind.__name__.lower(), models)
        elif fault := _artifact_fault(checks, given[name], kind):
            checks.faults.append(f"{at}.using.{name}: {given[name]!r}{fault}")
        else:
            steps[name] = given[name]
    return steps, models


def _is_built(checks: "Checks", name: str) -> bool:
    """Whether a step above of this name makes an artifact, which may stand where a model is asked for."""
    return name in checks.steps and (not checks.steps[name].spec or checks.steps[name].op.shape == "build")


def _artifact_fault(checks: "Checks", name: str, kind: type) -> str:
    """Why the step cannot be used as a ``kind``; empty where it can."""
    if name not in checks.steps:
        below = name in checks.all_names
        why = "it stands at or below this step" if below else "no step of that name stands above it"
        return f": {why}{did_you_mean(name, checks.steps)}"
    step = checks.steps[name]
    if not step.spec:
        return ""  # its own fault has been told
    if step.op.shape != "build":
        return f" makes rows, not a {kind.__name__}"
    if kind.__name__ in MODELS and name in checks.models:
        return " is a step and a key of models.yaml; give the step another name"
    made = made_by(step.op)
    if kind.__name__ in MODELS and (made is None or kind not in made.__mro__):
        return f" makes a {made.__name__ if made else 'thing without a declared class'}, not a {kind.__name__}"
    return ""


def _model(checks: "Checks", at: str, name: str, key: str, kind: str, models: dict[str, Any]) -> None:
    from operators.engines.models import model_fault

    entry = checks.models.get(key)
    if entry is None:
        known = [k for k, m in checks.models.items() if m.kind == kind]
        checks.faults.append(f"{at}: models.yaml has no {kind} {key!r}{did_you_mean(key, known)}")
    elif entry.kind != kind:
        checks.faults.append(f"{at}: {key!r} of models.yaml is a {entry.kind}, this needs a {kind}")
    elif fault := model_fault(entry):
        checks.faults.append(f"{at}: {key}: {fault}")
    else:
        models[name] = entry.pinned()


def spaces(checks: "Checks", using: Mapping[str, str], models: Mapping[str, Any]) -> dict[str, Any]:
    """`NAME_space` of every teacher that a step uses, be it a model or a step's artifact."""
    found = {f"{k}_space": m.score_space for k, m in models.items() if m.kind == "teacher"}
    for name, above in using.items():
        step = checks.steps[above]
        if step.op.space is not None:
            found[f"{name}_space"] = step.op.space(step.params)
    return found


def spaces_above(checks: "Checks", sources: list[str]) -> dict[str, Any]:
    """The score space of the nearest teacher above that wrote `teacher_scores`, for steps that read them.

    One that writes columns of its own may stand below it and speak in another space.
    """
    for source in sources:
        step = checks.steps.get(source)
        while step is not None and step.spec:
            if step.known and step.op.shape != "build" and "teacher_scores" in step.op.columns_written(step.params):
                for space in spaces(checks, step.using, step.models).values():
                    return {"teacher_space": space}
            step = checks.steps.get(step.sources[0]) if step.sources else None
    return {}


def depth_above(checks: "Checks", sources: list[str]) -> dict[str, int]:
    """How many candidates the nearest steps above keep of each query, the fewest; nothing where one does not say."""
    depths = [depth for _, depth in nearest(checks, sources, "depth", _depth)]
    return {"depth": min(depths)} if depths and all(depths) else {}


def _depth(step: "Step") -> dict[str, int]:
    if step.op.shape == "build" or "candidate_ids" not in step.op.columns_written(step.params):
        return {}
    return {"depth": getattr(step.params, step.op.depth) if step.op.depth else 0}
