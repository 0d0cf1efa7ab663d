"""A premise has what it entails as positives and what contradicts it as negatives, each once, and nothing that is judged both ways."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators import columns
from operators.contract import apply, text
from operators.group_entailment import GroupEntailment, group_entailment

LABELS = ("entailment", "contradiction", "neutral")
ROWS = st.lists(st.tuples(st.sampled_from(["p", "q", "r"]), st.sampled_from(["a", "b", "c", "P", "q "]), st.sampled_from(LABELS)), max_size=20)


def run(rows, **params):
    premises, passages = [p for p, *_ in rows], [h for _, h, _ in rows]
    table = pa.table({
        "query_id": columns.content_ids(premises, [""] * len(rows)), "query": pa.array(premises, text),
        "passage_id": columns.content_ids([""] * len(rows), passages), "passage": pa.array(passages, text),
        "label": pa.array([label for *_, label in rows], text),
    })  # fmt: skip
    return apply(group_entailment, table.sort_by("query_id"), GroupEntailment(**params))


@settings(max_examples=120, deadline=None)
@given(ROWS)
def test_triplets_are_those_of_an_oracle(rows):
    outcome = run(rows)
    want = {}
    for premise in {p for p, *_ in rows}:
        said = {k: {h for p, h, label in rows if p == premise and label == k and h.strip().lower() != premise} for k in LABELS[:2]}
        clear = [said[a] - said[b] for a, b in (LABELS[:2], LABELS[1::-1])]
        if clear[0]:
            want[premise] = tuple(sorted(columns.content_id("", h) for h in one) for one in clear)
    got = {r["query"]: (r["positive_ids"], r["negative_ids"]) for r in outcome.table.to_pylist()}
    assert got == want
    assert all(r["passage_id"] == r["positive_ids"][0] for r in outcome.table.to_pylist())


def test_each_reject_says_why():
    rows = [("p", "a", "entailment"), ("p", "b", "entailment"), ("p", "a", "entailment"), ("p", "c", "neutral"), ("p", "P ", "entailment"),
            ("q", "a", "contradiction"), ("r", "a", "entailment"), ("r", "a", "contradiction")]  # fmt: skip
    outcome = run(rows)
    assert sorted(outcome.rejects["reason"].to_pylist()) == [
        "its premise has no entailed text", "judged before for this premise", "judged both ways", "judged both ways",
        "merged into its premise", "neither entailed nor contradicted", "the text is its premise",
    ]  # fmt: skip


def test_a_label_that_is_neither_is_told():
    outcome = run([("p", "a", "0"), ("p", "b", "-1")])
    assert sorted(outcome.rejects["value"].to_pylist()) == ["-1", "0"]
    assert run([("q", "a", "contradiction")]).rejects["value"].to_pylist() == ["a"]


def test_other_names_of_labels_are_told_and_are_two():
    assert len(run([("p", "a", "0"), ("p", "b", "2")], positive="0", negative="2").table) == 1
    with pytest.raises(ValidationError, match="one label"):
        GroupEntailment(positive="x", negative="x")
