"""The JSON schema of flow files: an editor then completes operators and their params."""

from typing import Any

from flows.config import FlowConfig, StepConfig
from flows.lookup import find_operator, shipped_operators


def schema() -> dict[str, Any]:
    """Draft 2020-12: the flow, with the params of every shipped operator where ``op:`` names it."""
    whole = FlowConfig.model_json_schema(by_alias=True)
    step = StepConfig.model_json_schema(by_alias=True)
    defs: dict[str, Any] = whole.setdefault("$defs", {})
    cases = []
    for name in shipped_operators():
        _, op = find_operator(name, [])
        params = op.params.model_json_schema(mode="validation", ref_template="#/$defs/{model}")
        defs.update(params.pop("$defs", {}))
        defs[f"with_{op.name}"] = params
        cases.append({
            "if": {"properties": {"op": {"const": op.name}}},
            "then": {"properties": {"with": {"$ref": f"#/$defs/with_{op.name}"}}},
        })  # fmt: skip
    step["allOf"] = cases
    defs["StepConfig"] = step
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Pithead flow", **whole}
