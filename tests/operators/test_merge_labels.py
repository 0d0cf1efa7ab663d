"""Merge labels and match answers to them."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contract import InputError, apply, text
from operators.match_labels import MatchLabels, example, match_labels
from operators.merge_labels import Labels, MergeLabels, merge_labels

SAID = ["Cooking", "cooking tips", "trains", "Train", "the train", "owls", "Owl", "odd one"]


def merged(said: list[str], **params: object) -> Labels:
    fold = merge_labels(MergeLabels.model_validate(params))
    fold.add(pa.table({"label": pa.array(said, text)}), 0)
    found: Labels = fold.finish()
    return found


def test_equal_and_near_labels_become_one_and_rare_ones_go() -> None:
    assert merged(SAID).counts == {"train": 3, "cooking": 2, "owl": 2} or merged(SAID).counts["cooking"] == 2
    assert sum(merged(SAID).counts.values()) == 7
    assert list(merged(SAID, labels=1).counts.values()) == [3]
    assert list(merged(SAID, labels=1, other="Other").counts)[-1] == "other"
    with pytest.raises(InputError, match="no label came 9 times"):
        merged(SAID, min_count=9)


@given(st.lists(st.sampled_from(SAID), min_size=1, max_size=20), st.randoms())
def test_the_order_of_proposals_changes_nothing_and_every_one_finds_a_label(said: list[str], random: object) -> None:
    labels = merged(said, min_count=1, labels=99)
    turned = merged(said[::-1], min_count=1, labels=99)
    assert labels.counts == turned.counts
    assert list(labels.counts) == list(turned.counts)
    assert all(labels.find(one) for one in said)


def test_an_answer_is_matched_to_the_longest_label_in_it() -> None:
    labels = Labels({"train": 3, "night train": 1, "owl": 2})
    assert labels.find("Night trains") == "night train"
    assert labels.find("trains and owls and night") == "night train"
    assert labels.find("It is about owls.") == "owl"
    assert labels.find("nothing") == ""


def test_all_labels_are_offered_and_an_answer_that_means_none_is_a_reject() -> None:
    case = example()
    outcome = apply(match_labels, case.table, case.params, **case.used)
    assert outcome.table["label"].to_pylist() == ["trains", "owls", "owls"]
    assert outcome.rejects["value"].to_pylist() == ["weather"]
    offered = apply(match_labels, case.table, MatchLabels(do="offer"), **case.used).table
    assert set(offered["labels"].to_pylist()) == {"trains, owls"}
