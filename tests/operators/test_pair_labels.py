"""Positives are of the label, negatives of others, neither says what the text says; the draw is fair and by the text alone."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import columns
from operators.content import indexed
from operators.contract import ARTIFACTS, Outcome, apply, row_id, text
from operators.index_labels import IndexLabels, index_labels
from operators.pair_labels import PairLabels, _check, pair_labels

ROWS = st.lists(st.tuples(st.sampled_from([f"w{i}" for i in range(9)] + ["W1", "W2"]), st.sampled_from("abc")), max_size=25, unique=True)


def run(rows: list[tuple[str, str]], order=None, **params) -> Outcome:
    said, labels = [w for w, _ in rows], [c for _, c in rows]
    own, texts = indexed(said)
    table = pa.table({
        "passage_id": pa.array(own, row_id), "title": pa.array([""] * len(rows), text), "passage": pa.array(said, text),
        "class_id": pa.array(labels, text),
    })  # fmt: skip
    fold = index_labels(IndexLabels())
    fold.add(table, 0)
    table = table.take(pa.array(order, pa.int64())) if order is not None else table
    return apply(pair_labels, table, PairLabels(**params), labels=fold.finish(), texts=texts)


@settings(max_examples=80, deadline=None)
@given(ROWS, st.integers(0, 3))
def test_a_triplet_is_of_two_texts_of_a_label_and_texts_of_others(rows, negatives):
    outcome = run(rows, negatives=negatives)
    has = {w: {c for v, c in rows if v == w} for w, _ in rows}
    of = {columns.content_id("", w): w for w, _ in rows}
    single = {w: next(iter(own)) for w, own in has.items() if len(own) == 1}
    kept = {one["_row"]: one for one in outcome.table.to_pylist()}
    why = dict(zip(outcome.rejects["_row"].to_pylist(), outcome.rejects["reason"].to_pylist(), strict=True))
    for i, (word, label) in enumerate(rows):
        near = {v.casefold() for v, c in single.items() if c == label} - {word.casefold()}
        far = {v.casefold() for v, c in single.items() if c != label} - {word.casefold()}
        if word not in single:
            assert why[i] == "text of several labels"
        elif not near:
            assert why[i] == "no other text of its label"
        elif i in why:
            assert why[i] == "no text of another label" and negatives and len(far) < 2
        else:
            one = kept[i]
            positive, told = of[one["passage_id"]], [of[n] for n in one.get("negative_ids", [])]
            assert one["positive_ids"] == [one["passage_id"]] and one["passage"] == positive
            assert single[positive] == label == one["class_id"] and positive.casefold() in near
            said = [positive.casefold(), word.casefold(), *(w.casefold() for w in told)]
            assert len(set(said)) == len(said), "no text stands twice, in whatever case"
            assert all(single[w] != label for w in told)
            assert len(told) == min(negatives, len(far - {positive.casefold()}))


@settings(max_examples=40, deadline=None)
@given(ROWS.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(range(len(rows))))))
def test_the_order_of_texts_changes_no_draw(drawn):
    rows, order = drawn
    one, other = run(rows), run(rows, order)
    keep = [c for c in one.table.column_names if c != "_row"]
    assert sorted(map(repr, one.table.select(keep).to_pylist())) == sorted(map(repr, other.table.select(keep).to_pylist()))


def test_every_other_text_is_drawn_about_as_often():
    rows = [(f"{label}{i}", label) for label in "ab" for i in range(300)]
    outcome = run(rows, negatives=1)
    drawn = Counter(outcome.table["passage"].to_pylist())
    assert max(drawn.values()) <= 8 and len(drawn) > 340, "as balls in bins: 63 % of 600 are hit"
    assert run(rows, seed=1).table["passage"].to_pylist() != outcome.table["passage"].to_pylist()


def test_names_of_labels_are_positives_and_negatives():
    outcome = run([("x", "spam"), ("y", "ham"), ("z", "eggs")], positive="label", negatives=5)
    for one in outcome.table.to_pylist():
        assert one["passage"] == one["class_id"] and one["passage_id"] == columns.content_id("", one["class_id"])
        others = {"spam", "ham", "eggs"} - {one["class_id"]}
        assert set(one["negative_ids"]) == {columns.content_id("", name) for name in others}
    assert run([("x", "spam")], positive="label").rejects["reason"].to_pylist() == ["no text of another label"]


def test_a_name_is_no_negative_of_itself_in_another_case_nor_positive_of_a_text_that_is_it():
    outcome = run([("x", "Spam"), ("y", "spam"), ("z", "eggs"), ("Eggs ", "eggs")], positive="label", negatives=2)
    names = {columns.content_id("", name): name for name in ("Spam", "spam", "eggs")}
    for one in outcome.table.to_pylist():
        others = [names[n].casefold() for n in one["negative_ids"]]
        assert others and len(set(others)) == len(others) and one["class_id"].casefold() not in others
    assert outcome.rejects["reason"].to_pylist() == ["the text is its label's name"]


def test_texts_are_asked_for_where_they_are_drawn():
    assert "needs using: {texts: STEP}" in _check(PairLabels(), {ARTIFACTS: frozenset({"labels"})})[0]
    assert _check(PairLabels(positive="label"), {ARTIFACTS: frozenset({"labels"})}) == []
    with pytest.raises(ValueError, match="negatives"):
        PairLabels(negatives=-1)


def test_the_one_other_text_of_a_label_is_found_among_many_that_are_one():
    cases = ["".join(c.upper() if i >> k & 1 else c for k, c in enumerate("owlet")) for i in range(30)]  # one text, thirty ids
    outcome = run([*((said, "bird") for said in cases), ("bat", "bird"), ("iron", "metal")])
    assert outcome.rejects["reason"].to_pylist() == ["no other text of its label"]  # of metal alone
    assert len(outcome.table) == 31
