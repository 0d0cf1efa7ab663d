"""Settings that several steps of one chain have, where one that stands alone would silently lose rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from operators.contract import Operator, Params

if TYPE_CHECKING:
    from flows.flow import Checks, Step


def agreement(checks: "Checks", op: Operator, params: Params, sources: Sequence[str]) -> list[str]:
    """One sentence for each setting that is not that of a step above, or is below it."""
    faults = []
    for name, value in _told(op.agrees, params).items():
        for step, above in nearest(checks, sources, name, lambda step: _told(step.op.agrees, step.params)):
            if value != above:
                told = f"{value} here, {above} in {step.name} above"
                faults.append(f"with.{name}: {told}, whose rows this compares; give both the same")
    for kind, least in _told(op.rises, params).items():
        for step, above in nearest(checks, sources, kind, lambda step: _told(step.op.rises, step.params)):
            if least < above:
                faults.append(
                    f"with.threshold: {least} is below the {kind} of {above} that {step.name} above asks for,"
                    f" which passes on none between them; give {above} or more, or lower it there"
                )
    return faults


def _told(asked: Any, params: Params) -> Mapping[str, Any]:
    return asked(params) if asked else {}


def nearest(
    checks: "Checks", sources: Sequence[str], name: str, tells: Callable[["Step"], Mapping[str, Any]]
) -> Iterator[tuple["Step", Any]]:
    """On each way up the nearest step that tells ``name``, and what it tells."""
    waiting, seen = [*sources], set[str]()
    while waiting:
        source = waiting.pop(0)
        step = checks.steps.get(source)
        if step is None or source in seen or not step.spec or not step.known:
            continue
        seen.add(source)
        told = tells(step)
        if name in told:
            yield step, told[name]
        else:
            waiting += step.sources
