"""What of a user's project a cluster needs: the folder that holds the flow, and where its files lie."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from flows.config import ROOT
from flows.flow import Flow

MARKS = ("models.yaml", "prompts")


def project_of(flow: Path) -> Path | None:
    """The folder of a flow's project: its own, or the one above that has models or prompts; None for a shipped flow."""
    if flow.is_relative_to(ROOT / "configs"):
        return None
    above = flow.parent.parent
    beside = any((flow.parent / m).exists() for m in MARKS)
    return above if not beside and above != above.parent and any((above / m).exists() for m in MARKS) else flow.parent


def paths_from(flow: Flow, project: Path | None) -> Iterator[str]:
    """Changes that name the files outside the project as this machine does: a job runs in another folder."""
    for step in flow.steps:
        path = getattr(step.params, "path", "")
        if step.op.shape != "source" or not path or not os.path.isabs(path):
            continue
        path = os.path.normpath(path)  # project/../data is not in the project
        if not any(Path(path).is_relative_to(home) for home in (project, ROOT / "configs") if home):
            yield f"steps.{step.name}.with.path={json.dumps(path)}"
