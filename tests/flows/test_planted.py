"""Every planted violation is found by its rule and step, nothing else is dropped, and the counts add up, on real abstracts."""

from collections import Counter

import pytest

from cluster.store import Store
from operators.filter_quality import RULES
from tests.curation import documents, planted, tiers
from tests.planted import BRANCHES, FEET, LINES, PII, REPAIRS, TIERS

DOCUMENTS = 400


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    home = tmp_path_factory.mktemp("planted")
    return planted(home, Store(str(home / "store")), documents(data, DOCUMENTS))


def test_there_is_a_plant_of_every_rule(made):
    assert {*RULES} <= {p.name for p in made.plants}
    assert {f"pii {kind}" for kind in PII} <= {p.name for p in made.plants}
    assert len({p.name for p in made.plants if p.name.startswith("language")}) == 12


def test_every_plant_is_rejected_by_its_step_for_its_reason_and_by_no_other(made):
    for i, plant in enumerate(made.plants):
        told = {step: rejects[f"plant {i}"] for step, rejects in made.rejects.items() if f"plant {i}" in rejects}
        assert {*told} <= {plant.step, *plant.may} - {""}, plant.name
        if plant.step:
            reason, value = told[plant.step]
            assert reason in plant.reasons, plant.name
            assert value


def test_nothing_else_is_dropped_than_without_them(made):
    for step in BRANCHES:
        assert {k: v for k, v in made.rejects[step].items() if not k.startswith("plant")} == made.before[step]


def test_what_is_mended_is_told_by_its_row(made):
    kinds = {f"repaired {kind}": [kind] for kind in REPAIRS}
    lines = {f"lines dropped by {rule}": [rule] for rule in (*LINES, "repeated")}
    for i, plant in enumerate(made.plants):
        if plant.name in kinds or plant.name in lines:
            row = made.lines[f"plant {i}"]
            assert (kinds.get(plant.name, []), lines.get(plant.name, [])) == (row["repairs"], row["dropped_lines"]), plant.name


def test_the_counts_add_up(made):
    for f in made.funnel:
        if f["step"] != "counts":
            assert f["rows_in"] == f["rows_out"] + sum(f["rejected"].values()), f["step"]
    funnel = {f["step"]: f for f in made.funnel}
    assert funnel["docs"]["rows_out"] == DOCUMENTS + len(made.plants)
    for step in BRANCHES:
        assert funnel[step]["rejected"] == Counter(reason for reason, _ in made.rejects[step].values())
    assert funnel["lines"]["measured"] == {**{f"lines dropped by {rule}": 1 for rule in LINES}, "lines dropped by repeated": FEET}


def test_every_tier_finds_its_planted_rows_and_no_real_pair(data, tmp_path):
    found = tiers(tmp_path, Store(str(tmp_path / "store")), data, pairs=80, planted=4)
    for tier in TIERS:
        assert found.hit[tier][tier] == 4, tier
        assert found.hit[tier]["real"] == 0, tier
    assert found.counts["queries: exact"] == 4
    assert (found.counts["documents: n-gram"], found.counts["documents: found"]) == (4, 4)
