"""The data card of a set: what it holds, from what, by which models and prompts, what was dropped."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.flow import Flow, Step
from flows.plan import Planned

CHANGE = ("repair_text", "redact_pii")
# What the rows of a set are, in which order they stand, and what they are for.
KINDS = {
    "train": ("training rows", "in batch order", "sentence-similarity"),
    "corpus": ("documents", "in order of their ids", "text-retrieval"),
    "pairs": ("pairs", "in order of their passages", "sentence-similarity"),
    "qrels": ("judgements", "in order of their ids", "text-retrieval"),
    "ids": ("documents with the one that stands for each", "in order of their ids", "text-retrieval"),
}  # fmt: skip


def card(flow: Flow, planned: Sequence[Planned], content: dict[str, Any], shard: str = "train") -> str:
    """Markdown with the front matter that `datasets` reads."""
    rows, order, task = KINDS[shard]
    lines = [
        "---", "configs:", "- config_name: default", f"  data_files: {shard}-*.parquet", "task_categories:",
        f"- {task}", "tags:", "- pithead", "---", "", f"# {flow.name}", "",
        f"{content['rows']} {rows} in {len(content['shards'])} shards, {order}. Made by Pithead.",
        *_sampled(content), "",
        "```python", f'datasets.load_dataset("parquet", data_files="{shard}-*.parquet")', "```", "", "## Columns", "",
        "| column | type |", "|---|---|",
    ]  # fmt: skip
    lines += [f"| `{name}` | {kind} |" for name, kind in content["schema"]]
    stated = "; ".join(content["licences"]) or "None was stated: give `licence:` to the reader."
    lines += ["", "## Licence of the input", "", stated, ""]
    lines += ["## Models", ""]
    models = {(k, _name(m), m.revision, m.dtype) for p in planned for k, m in p.step.models.items()}
    lines += [f"- {kind}: {model} {revision} ({dtype})" for kind, model, revision, dtype in sorted(models)] or ["None."]
    lines += ["", "## Prompts", ""]
    prompts = [(p.step.name, kind, told) for p in planned for kind, told in prompts_of(p.step).items()]
    for name, kind, told in prompts:
        lines += [f"### {name}{': ' * bool(kind)}{kind}", "", "```", told.rstrip(), "```", ""]
    lines += [] if prompts else ["None.", ""]
    lines += ["## Funnel", "", "| step | in | out | rejected |", "|---|---|---|---|"]
    for f in content["funnel"]:
        reasons = ", ".join(f"{n} {r}" for r, n in sorted(f["rejected"].items(), key=lambda x: (-x[1], x[0])))
        lines.append(f"| {f['step']} | {f['rows_in']} | {f['rows_out']} | {reasons or '-'} |")
    lines += _contamination(content["funnel"])
    lines += _changed(content["funnel"]) if shard == "corpus" else []
    return "\n".join(lines) + "\n"


def _changed(funnel: Sequence[dict[str, Any]]) -> list[str]:
    """How many texts of a corpus were repaired or redacted, by what was done."""
    counts = [(name, count) for f in funnel for name, count in f.get("measured", {}).items() if f["operator"] in CHANGE]
    return ["", "## Changed texts", "", *(f"- {name}: {count}" for name, count in counts)] if counts else []


def _contamination(funnel: Sequence[dict[str, Any]]) -> list[str]:
    """What was found of evaluation sets and what was removed for it, where the flow looked; nothing where it did not."""
    measured = [f for f in funnel if f["operator"] == "measure_contamination" and f.get("measured")]
    removed = Counter[str]()
    for f in funnel:
        removed.update(f["rejected"] if f["operator"] == "drop_contaminated" else {})
    looked = any(f["operator"] == "measure_contamination" for f in funnel)
    if not measured and (looked or not any(f["operator"] == "drop_contaminated" for f in funnel)):
        return ["", "## Evaluation sets", "", "None was given; nothing was compared with one."] if looked else []
    lines = ["", "## Evaluation sets", ""]
    lines += [f"- {n} rows were removed that are {reason}" for reason, n in sorted(removed.items())] or ["No row was removed."]
    for f in measured:
        counts: dict[str, dict[str, int]] = {}
        for name, count in f["measured"].items():
            benchmark, _, of = name.rpartition(": ")
            counts.setdefault(benchmark, {})[of] = count
        tiers = [of for of in next(iter(counts.values()), {}) if of not in ("rows", "found")]
        lines += ["", f"Of each, before that (`{f['step']}`):", "", f"| benchmark | texts | found | {' | '.join(tiers)} |"]
        lines.append(f"|---|---|---|{'---|' * len(tiers)}")
        for benchmark, said in sorted(counts.items()):
            found = f"{said['found']} ({said['found'] / said['rows']:.2%})"
            lines.append(f"| {benchmark} | {said['rows']} | {found} | {' | '.join(str(said[tier]) for tier in tiers)} |")
    return lines


def prompts_of(step: Step) -> dict[str, str]:
    """What a step asks an LLM: the prompt's words by query type, "" where it asks all rows alike."""
    if not any(m.kind == "llm" for m in step.models.values()):
        return {}
    one, several = getattr(step.params, "prompt", None), getattr(step.params, "prompts", None) or {}
    asked = {"": one} if one else {kind: several[kind] for kind in sorted(several)}
    return {kind: f"{prompt.system}\n\n{prompt.text}".lstrip() for kind, prompt in asked.items()}


def _name(model: Any) -> str:
    """A local model by its folder's name and its content: where it lies is nobody's matter."""
    return f"{Path(model.model).name} (sha256:{model.digest})" if model.digest else str(model.model)


def _sampled(content: dict[str, Any]) -> list[str]:
    size = content.get("sample")
    return [f"A sample: made of the {size} rows of the first input with the smallest ids."] if size else []
