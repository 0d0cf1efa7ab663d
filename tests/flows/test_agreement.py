"""Steps of one chain that are given settings apart from each other are refused before anything runs, whatever stands between."""

import pytest

from flows.faults import FlowError
from flows.flow import load
from tests.flows.test_near_duplicates import FLOW, MORE

WITH = {
    "bands": ("bands:   {op: sign_bands, from: unique, using: {texts: texts}", "}"),
    "edges": ("edges:   {op: link_duplicates, from: pairs, using: {texts: texts}", ", max_rejected: 1}"),
    "classes": ("classes: {op: fit_classes, from: edges, using: {texts: texts}", "}"),
}


def changed(text: str, step: str, given: str) -> str:
    head, tail = WITH[step]
    assert head + tail in text
    return text.replace(head + tail, f"{head}, with: {{{given}}}{tail}")


def faults(tmp_path, text: str) -> list[str]:
    (tmp_path / "flow.yaml").write_text(text)
    (tmp_path / "corpus.jsonl").write_text("")
    try:
        load(tmp_path / "flow.yaml")
    except FlowError as error:
        return [str(f) for f in error.faults]
    return []


@pytest.mark.parametrize(
    ("step", "given", "said"),
    [
        ("edges", "words: 4", "steps.edges.with.words: 4 here, 5 in bands above, whose rows this compares; give both the same"),
        ("classes", "min_words: 3", "steps.classes.with.min_words: 3 here, 9 in edges above"),
        ("edges", "threshold: 0.7", "steps.edges.with.threshold: 0.7 is below the jaccard of 0.8 that bands above asks for"),
        ("classes", "threshold: 0.5", "steps.classes.with.threshold: 0.5 is below the jaccard of 0.8 that edges above asks for"),
        ("bands", "threshold: 0.9", "steps.edges.with.threshold: 0.8 is below the jaccard of 0.9 that bands above asks for"),
    ],
)
def test_settings_that_disagree_are_one_sentence(tmp_path, step, given, said):
    (fault,) = faults(tmp_path, changed(FLOW, step, given))
    assert said in fault


def test_a_higher_threshold_further_down_is_what_it_is_for(tmp_path):
    assert faults(tmp_path, changed(changed(changed(FLOW, "bands", "threshold: 0.7"), "edges", "threshold: 0.7"), "classes", "threshold: 0.9")) == []


def test_a_cosine_is_not_a_jaccard(tmp_path):
    assert faults(tmp_path, FLOW + MORE) == []
    (fault,) = faults(tmp_path, FLOW + MORE.replace("score: cosine, threshold: 0.9", "score: cosine"))
    assert "steps.heaps.with.threshold: 0.8 is below the cosine of 0.9 that alike above asks for" in fault
    (fault,) = faults(tmp_path, FLOW + MORE.replace("score: cosine,", "score: cosine, words: 3,"))
    assert "where score is cosine no text is cut; leave it out" in fault


def test_each_of_several_ways_up_is_looked_at(tmp_path):
    more = """
  loose:   {op: link_duplicates, from: pairs, using: {texts: texts}, with: {threshold: 0.95}, max_rejected: 1}
  both:    {op: fit_classes, from: [edges, loose], using: {texts: texts}, with: {threshold: 0.9}}
"""
    (fault,) = faults(tmp_path, FLOW + more)
    assert "steps.both.with.threshold: 0.9 is below the jaccard of 0.95 that loose above asks for" in fault
