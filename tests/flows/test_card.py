"""The data card, of every flow and recipe that ships: what every LLM was asked stands in it."""

import pytest

from cluster.store import Store
from flows.card import card
from flows.config import CONFIGS
from flows.flow import load
from flows.plan import plan

FLOWS = sorted([*(CONFIGS / "recipes").glob("*.yaml"), CONFIGS / "flows" / "quickstart.yaml"])


@pytest.mark.parametrize("path", FLOWS, ids=lambda p: p.stem)
def test_the_card_holds_every_prompt_that_an_llm_was_asked(path, tmp_path):
    flow = load(path)
    content = {"rows": 1, "shards": [], "schema": [["query", "string"]], "funnel": [], "licences": ["CC0-1.0"]}
    told = card(flow, plan(flow, Store(str(tmp_path))), content)
    asking = [s for s in flow.steps if "llm" in s.models]
    assert asking
    for step in asking:
        prompts = getattr(step.params, "prompts", None) or {"": step.params.prompt}
        for prompt in prompts.values():
            assert prompt.text.rstrip() in told
            assert prompt.system in told
    assert "CC0-1.0" in told
