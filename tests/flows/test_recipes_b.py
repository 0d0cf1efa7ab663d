"""Recipes that transform or enrich what is there: every one loads, names its paper, and two run with the packaged model."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench
from flows.config import CONFIGS
from flows.flow import load
from flows.run import run
from operators.template import Template

NAMES = (
    "contrast_negatives", "paraphrase", "granularity", "enrich", "abstract_descriptions", "verbalise", "translate",
    "long_documents", "label_clusters", "inpars",
)  # fmt: skip
TABLES = {"enrich", "label_clusters"}  # enrich only: they end in a table
PROMPTS = (
    "contrast",
    "paraphrase",
    "granularity",
    "enrich",
    "abstract",
    "verbalise",
    "translate",
    "labels",
    "inpars",
    "long_documents",
)
PAIRS = [
    ("why does iron rust", "Iron rusts because water and oxygen react with its surface and form flakes of iron oxide."),
    ("how do owls find mice in snow", "Barn owls hear a mouse below the snow, since their ears stand at different heights."),
    ("moka pot coffee tastes bitter", "If the flame is too high the water rushes through the grounds and the cup tastes bitter."),
    (
        "full backup after the index was lost",
        "With the flag --full all blocks are sent again, which is needed after losing the index.",
    ),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_loads_cites_its_paper_and_says_its_deviations(name: str) -> None:
    path = CONFIGS / "recipes" / f"{name}.yaml"
    flow = load(path)
    head = path.read_text().split("\nflow:")[0]
    assert flow.name == name
    assert re.search(r"arXiv:\d{4}\.\d{5}", head)
    assert "Deviations:" in head
    assert [s.op.publishes for s in flow.steps].count(True) == (0 if name in TABLES else 1)
    assert flow.steps[-1].op.publishes == (name not in TABLES)


@pytest.mark.parametrize("folder", PROMPTS)
def test_every_prompt_is_a_template(folder: str) -> None:
    found = sorted((CONFIGS / "prompts" / folder).glob("*.md"))
    assert found
    for path in found:
        assert Template.model_validate(f"{folder}/{path.name}").columns


def ran(tmp_path: Path, name: str, sets: list[str]):
    engine = LocalEngine(0)
    try:
        return Store(str(tmp_path / "store")), run(
            load(CONFIGS / "recipes" / f"{name}.yaml", sets), Bench(Store(str(tmp_path / "store")), engine, 2)
        )
    finally:
        engine.close()


@pytest.mark.slow
def test_records_become_pairs_of_structure_and_sentence_that_lose_no_number(tmp_path: Path) -> None:
    records = [
        {"river": "Rhine", "length in km": 1230},
        {"river": "Elbe", "length in km": 1094},
        {"tower": "Eiffel Tower", "built": 1889},
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    sets = [f"records.path={tmp_path / 'r.jsonl'}", "records.format=auto", "chosen.share=1", "centroids.clusters=1"]
    store, done = ran(tmp_path, "verbalise", sets)
    rows = pq.read_table(store.local / done.published / "train-00000-of-00001.parquet").to_pylist()
    assert rows
    for row in rows:
        number = row["query"].rsplit(": ", 1)[1]
        assert number in row["positives"][0]


@pytest.mark.slow
def test_written_negatives_score_below_their_positives(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"query": q, "positive": p}) + "\n" for q, p in PAIRS))
    sets = [f"given.path={tmp_path / 'p.jsonl'}", 'corpus.path=""', "chosen.share=1", "centroids.clusters=1"]
    store, done = ran(tmp_path, "contrast_negatives", sets)
    rows = pq.read_table(store.local / done.published / "train-00000-of-00001.parquet").to_pylist()
    assert rows
    known = {p for _, p in PAIRS}
    for row in rows:
        assert row["positives"][0] in known
        assert not set(row["negatives"]) & known
        assert max(row["negative_scores"]) < min(row["positive_scores"])
