"""The data card of a set: what it holds, from what, by which models and prompts, what was dropped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.flow import Flow
from flows.plan import Planned


def card(flow: Flow, planned: Sequence[Planned], content: dict[str, Any]) -> str:
    """Markdown with the front matter that `datasets` reads."""
    lines = [
        "---", "configs:", "- config_name: default", "  data_files: train-*.parquet", "task_categories:",
        "- sentence-similarity", "tags:", "- pithead", "---", "", f"# {flow.name}", "",
        f"{content['rows']} training rows in {len(content['shards'])} shards, in batch order. Made by Pithead.",
        *_sampled(content), "",
        "```python", 'datasets.load_dataset("parquet", data_files="train-*.parquet")', "```", "", "## Columns", "",
        "| column | type |", "|---|---|",
    ]  # fmt: skip
    lines += [f"| `{name}` | {kind} |" for name, kind in content["schema"]]
    stated = "; ".join(content["licences"]) or "None was stated: give `licence:` to the reader."
    lines += ["", "## Licence of the input", "", stated, ""]
    lines += ["## Models", ""]
    models = {(k, _name(m), m.revision, m.dtype) for p in planned for k, m in p.step.models.items()}
    lines += [f"- {kind}: {model} {revision} ({dtype})" for kind, model, revision, dtype in sorted(models)] or ["None."]
    lines += ["", "## Prompts", ""]
    prompts = _prompts(planned)
    for name, told in prompts.items():
        lines += [f"### {name}", "", "```", told.rstrip(), "```", ""]
    lines += [] if prompts else ["None.", ""]
    lines += ["## Funnel", "", "| step | in | out | rejected |", "|---|---|---|---|"]
    for f in content["funnel"]:
        reasons = ", ".join(f"{n} {r}" for r, n in sorted(f["rejected"].items(), key=lambda x: (-x[1], x[0])))
        lines.append(f"| {f['step']} | {f['rows_in']} | {f['rows_out']} | {reasons or '-'} |")
    return "\n".join(lines) + "\n"


def _prompts(planned: Sequence[Planned]) -> dict[str, str]:
    """What LLMs were asked: the step, and its query type where it asks for several → the prompt's words."""
    found: dict[str, str] = {}
    for p in planned:
        if any(m.kind == "llm" for m in p.step.models.values()):
            one, several = getattr(p.step.params, "prompt", None), getattr(p.step.params, "prompts", None) or {}
            asked = {p.step.name: one} if one else {f"{p.step.name}: {name}": several[name] for name in sorted(several)}
            found |= {name: f"{prompt.system}\n\n{prompt.text}".lstrip() for name, prompt in asked.items()}
    return found


def _name(model: Any) -> str:
    """A local model by its folder's name and its content: where it lies is nobody's matter."""
    return f"{Path(model.model).name} (sha256:{model.digest})" if model.digest else str(model.model)


def _sampled(content: dict[str, Any]) -> list[str]:
    size = content.get("sample")
    return [f"A sample: made of the {size} rows of the first input with the smallest ids."] if size else []
