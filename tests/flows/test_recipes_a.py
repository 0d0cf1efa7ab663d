"""Recipes that write queries and pairs: every one loads, cites its paper, and each new mechanism runs with the packaged model."""

import json
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench, parts_of
from flows.config import CONFIGS, find_flow
from flows.flow import load
from flows.run import run
from operators import python_docs
from operators.contract import InputError
from operators.prompt import Prompt
from operators.template import Template

PAPERS = {
    "cadet": "2505.19274", "e5_mistral": "2401.00368", "e5_nl": "2509.12340", "nv_embed": "2405.17428",
    "gecko": "2403.20327", "kalm_personas": "2501.01028", "nemotron_mix": "2511.07025",
}  # fmt: skip


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_loads_by_name_cites_its_paper_and_says_what_differs(name):
    path = find_flow(name)
    head = path.read_text().split("\nflow:")[0]
    assert f"arXiv:{PAPERS[name]}" in head
    assert "# Otherwise here:" in head
    flow = load(path)
    assert flow.name == name
    assert flow.steps[-1].op.publishes


def test_flows_are_found_by_name_before_recipes_and_a_typing_error_gets_a_hint():
    assert find_flow("quickstart").parent.name == "flows"
    assert find_flow("cadet").parent.name == "recipes"
    with pytest.raises(InputError, match="did you mean 'gecko'"):
        find_flow("geko")


@pytest.mark.parametrize("path", sorted((CONFIGS / "prompts" / "cadet").glob("*.md")), ids=lambda p: p.stem)
def test_cadets_prompts_have_few_shots_to_draw_three_of(path):
    prompt = TypeAdapter(Prompt).validate_python(f"cadet/{path.name}")
    assert len(prompt.examples) == (0 if path.stem == "natural" else 6)
    drawn = {prompt.drawn(3, seed).text for seed in range(20)}
    assert len(drawn) == (1 if path.stem == "natural" else len(drawn)) and (path.stem == "natural" or len(drawn) > 5)


@pytest.mark.parametrize("folder", ["e5", "gecko", "nemotron"])
def test_the_few_shots_of_a_prompt_are_answers_that_its_own_schema_takes(folder):
    from jsonschema import validate

    for path in sorted((CONFIGS / "prompts" / folder).glob("*.md")):
        template = Template.model_validate(f"{folder}/{path.name}")
        if template.answer == "json":
            said = [json.loads(x) for x in re.findall(r'^.*?: (\{".*\})$', template.text, re.M)]
            assert len(said) >= 2
            for one in said:
                validate(one, template.schema)


def test_every_recipe_stands_in_the_table_with_its_paper():
    table = (CONFIGS / "recipes" / "README.md").read_text()
    for path in (CONFIGS / "recipes").glob("*.yaml"):
        line = next(x for x in table.splitlines() if x.startswith(f"| {path.stem} |"))
        assert re.findall(r"arXiv:\d{4}\.\d{5}", line)[0] in path.read_text()


def test_personas_are_a_hundred_different_people():
    people = (CONFIGS / "personas.txt").read_text().splitlines()
    assert len(people) == len(set(people)) == 100
    assert all(re.match(r"(a|an) \w", p) for p in people)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "docs.jsonl"
    docs = [d for d in python_docs.docs() if 30 < len(d[2].split()) < 60][::40][:24]
    path.write_text("".join(json.dumps({"_id": n, "title": t, "text": d}) + "\n" for n, t, d in docs))
    return path


def ran(name, folder, sets, until=None):
    engine, store = LocalEngine(0), Store(str(folder))
    try:
        done = run(load(find_flow(name), sets), Bench(store, engine, 2), until=until)
    finally:
        engine.close()
    return {f["step"]: f for f in done.funnel}, store


def rows(store, funnel, step):
    return [r for p in parts_of(store, [funnel[step]["home"]]) for r in store.read_table(p["file"]).to_pylist()]


def test_cadet_asks_every_type_of_every_passage_and_accounts_for_each_query(corpus, tmp_path):
    sets = [f"corpus.path={corpus}", "corpus.format=auto", "chosen.share=0.2", "queries.max_tokens=16", "scored.max_candidates=24"]
    sets += ["clean.max_rejected=1", "consistent.max_rejected=1", "gated.max_rejected=1", "gated.percentile=0", "gated.min_candidates=2"]
    funnel, store = ran("cadet", tmp_path, sets, until="split")
    queries = rows(store, funnel, "queries")
    assert len({q["query_type"] for q in queries}) == 6
    assert len(queries) == 6 * funnel["chosen"]["rows_out"]
    lost = sum(sum(funnel[s]["rejected"].values()) for s in ("clean", "consistent", "gated", "split"))
    assert lost + funnel["split"]["rows_out"] == len(queries)
    assert {r["teacher_rank"] for r in rows(store, funnel, "gated")} <= {1}
    assert all(0 <= s <= 1 for r in rows(store, funnel, "gated") for s in r["positive_scores"])


def test_e5s_two_steps_write_a_task_and_then_an_example_under_it(tmp_path):
    sets = ["seeds.rows=1", "tasks_short_long.max_tokens=60", "tasks_short_long.max_rejected=1"]
    funnel, store = ran("e5_mistral", tmp_path, sets, until="examples_short_long")
    tasks = rows(store, funnel, "unique_short_long")
    assert tasks, "the packaged model listed no task"
    drawn = rows(store, funnel, "drawn_short_long")
    assert {d["instruction"] for d in drawn} == {t["instruction"] for t in tasks}
    assert all(d["query_kind"] and d["num_words"] for d in drawn)
    examples = rows(store, funnel, "examples_short_long")
    assert len(examples) + sum(funnel["examples_short_long"]["rejected"].values()) == len(drawn)
    assert all(e["query"] and e["passage"] and e["negative"] and e["instruction"] for e in examples)


def test_nemotron_parts_the_seeds_and_lets_the_other_model_write_the_examples(tmp_path):
    flow = load(find_flow("nemotron_mix"))
    used = {s.name: s.models["llm"].dtype for s in flow.steps if "llm" in s.models}
    assert used["tasks_a"] == used["examples_b"] == "int8"
    assert used["tasks_b"] == used["examples_a"] == "float32"
    funnel, _ = ran("nemotron_mix", tmp_path, ["seeds.rows=8", "tasks_a.max_tokens=4"], until="quota_a")
    assert 0 < funnel["quota_a"]["rows_out"] < 8


def test_a_persona_is_drawn_for_each_request(tmp_path):
    funnel, store = ran("kalm_personas", tmp_path, ["seeds_short_long.rows=12"], until="seeds_short_long")
    assert len({r["persona"] for r in rows(store, funnel, "seeds_short_long")}) > 6
    prompt = Template.model_validate("kalm/tasks.md")
    assert "{persona}" in prompt.system


def test_every_prompt_of_these_recipes_ships_with_the_package():
    wanted = {"cadet", "e5", "gecko", "kalm", "nemotron"}
    assert wanted <= {p.name for p in (CONFIGS / "prompts").iterdir()}
    said = Path(CONFIGS.parent / "pyproject.toml").read_text()
    assert '"*/*.md"' in said
    assert '"*.txt"' in said
