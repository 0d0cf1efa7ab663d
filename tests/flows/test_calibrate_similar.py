"""What is told before a threshold of cosines is chosen: the cosines that `link_similar` and Jaccard found, and random ones."""

import json

import numpy as np
import pytest

from cluster.store import Store
from flows.calibrate_similar import THRESHOLDS, calibrate_similar
from flows.cli import main
from flows.flow import load
from flows.plan import plan
from operators.contract import InputError
from tests.flows.test_near_duplicates import FLOW, MORE, corpus, write
from tests.flows.test_run import go, table

WORDS = ["ice", "iron", "rain", "owls", "bread", "sand", "snow", "wood", "glass", "stone", "river", "cloud"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("similar")
    said = [f"the {a} and the {b} of {c}" for a, b, c in zip(WORDS, WORDS[3:] + WORDS[:3], WORDS[7:] + WORDS[:7], strict=True)]
    path, store = write(home / "p", [*said, "the ice and the owls of woods", *corpus()]), Store(str(home / "s"))
    path.write_text(FLOW + MORE)
    go(path, store)
    return path, store


def test_the_distributions_are_those_of_the_vectors(made):
    path, store = made
    told = calibrate_similar(plan(load(path), store), store, "alike")
    rows = table(path, store, "placed").to_pylist()
    at = {r["passage_id"]: np.array(r["vector"], np.float64) for r in rows}
    edges = [at[e["id_a"]] @ at[e["id_b"]] for e in table(path, store, "edges").to_pylist()]
    pairs = [at[a["passage_id"]] @ at[b["passage_id"]] for a in rows for b in rows if a["cluster"] == b["cluster"] and a is not b]
    assert told["distributions"]["near-duplicates"]["count"] == len(edges) > 0
    assert told["distributions"]["near-duplicates"]["p50"] == pytest.approx(np.median(edges), abs=1e-4)
    assert told["distributions"]["of one cluster"]["p50"] == pytest.approx(np.median(pairs), abs=0.02)
    assert [t["threshold"] for t in told["thresholds"]] == list(THRESHOLDS)
    for t in told["thresholds"]:
        assert t["near-duplicates"] == pytest.approx(np.mean(np.array(edges) >= t["threshold"]), abs=1e-5)
        assert t["of one cluster"] == pytest.approx(np.mean(np.array(pairs) >= t["threshold"]), abs=0.01)
    linked = sorted(e["cosine"] for e in table(path, store, "alike").to_pylist())
    assert [e["cosine"] for e in told["edges"]] == [round(c, 4) for c in linked[:5]]
    good = [t["threshold"] for t in told["thresholds"] if t["of one cluster"] <= 0.001]
    assert told["suggested"].startswith(f"threshold: {good[0]}," if good else "at 0.99 still")


def test_the_command_says_it_all_and_refuses_another_column(made, capsys):
    path, store = made
    for flags in ([], ["--json"]):
        assert main(["show", str(path), "alike", "--store", store.uri, "--scores", *flags]) == 0
    text, answer = capsys.readouterr().out.rsplit("\n{", 1)
    said = json.loads("{" + answer)
    assert f"suggested: {said['suggested']}" in text
    assert all(e["text_a"] in text and e["text_b"] in text for e in said["edges"])
    assert main(["show", str(path), "alike", "--store", store.uri, "--scores", "dense_scores"]) == 2
    assert "link_similar has cosines alone; leave the column out" in capsys.readouterr().err


def test_a_step_whose_vectors_are_not_stored_is_told(made, tmp_path):
    path, _ = made
    store = Store(str(tmp_path))
    with pytest.raises(InputError, match="placed: with these settings it is not stored in .*; repeat the --set of its run, or run the flow --until placed"):
        calibrate_similar(plan(load(path), store), store, "alike")
