"""Anchors are chosen by id whatever the cut, and give the teacher's own scores back where they meet."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.columns import content_ids, vectors
from operators.content import indexed
from operators.contract import InputError, apply, ids, numbered, row_id, text, vector
from operators.embed_by_teacher import EmbedByTeacher, embed_by_teacher
from operators.engines import load_model, packaged
from operators.fit_anchors import Anchors, FitAnchors, fit_anchors, scored
from operators.retrieve_dense import RetrieveDense, retrieve_dense

WORDS = (
    "iron rusts in rain", "owls hunt at night", "bread needs yeast", "rain falls from clouds", "bats sleep in caves",
    "steel is iron with carbon", "dough rises in warm rooms", "mice fear owls", "clouds are drops of water", "wine needs yeast too",
)  # fmt: skip
ASKED = ("why does iron rust", "when do owls hunt", "what makes bread rise", "where does rain come from", "what do mice fear")
KEYS, TEXTS = indexed(list(WORDS))


@pytest.fixture(scope="module")
def teacher():
    return load_model("teacher", packaged("teacher"))


def rows(places):
    """In the order of their query_id, as a build meets them."""
    table = pa.table({
        "query_id": content_ids([ASKED[i % 5] for i in places], [""] * len(places)),
        "query": pa.array([ASKED[i % 5] for i in places], text),
        "positive_ids": pa.array([[KEYS[i], KEYS[(i + 1) % 10]] for i in places], ids),
    })  # fmt: skip
    return table.sort_by("query_id")


def fitted(table, teacher, cuts=(), **said):
    edges = [0, *sorted(cuts), len(table)]
    folds = []
    for a, b in zip(edges, edges[1:], strict=False):
        folds.append(fit_anchors(FitAnchors(**said), teacher=teacher, texts=TEXTS))
        folds[-1].add(table.slice(a, b - a), 0)
    for later in folds[1:]:
        folds[0].merge(later)
    return folds[0].finish()


@settings(max_examples=15)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.lists(st.integers(0, 8), max_size=3), st.integers(1, 4), st.integers(1, 6))
def test_the_cut_changes_no_anchor_and_no_number(teacher, places, cuts, queries, passages):
    table, said = rows(places), {"queries": queries, "passages": passages}
    whole, cut = fitted(table, teacher, **said), fitted(table, teacher, [min(c, len(table)) for c in cuts], **said)
    assert (whole.queries, whole.passages) == (cut.queries, cut.passages)
    assert np.array_equal(whole.link, cut.link)
    assert len(whole.queries) == min(queries, len(set(table["query"].to_pylist())))


def test_a_query_on_both_sides_of_a_cut_takes_one_place(teacher):
    table = pa.concat_tables([rows([0]), rows([0]), rows([1])])
    assert fitted(table, teacher, [1], queries=2).queries == fitted(table, teacher, queries=2).queries == [ASKED[0], ASKED[1]]


def test_anchors_of_another_teacher_and_an_llm_as_teacher_are_refused(teacher):
    anchors = fitted(rows([0, 1]), teacher)
    other = load_model("teacher", packaged("teacher", "smollm2-likelihood"))
    told = pa.table({"title": pa.array([""], text), "passage": pa.array(["bread"], text)})
    with pytest.raises(InputError, match="the anchors are another teacher's"):
        embed_by_teacher(told, EmbedByTeacher(), teacher=other, anchors=anchors)
    for op, p in ((fit_anchors, FitAnchors()), (embed_by_teacher, EmbedByTeacher())):
        assert "too many calls of an LLM" in op.check(p, {"teacher": packaged("teacher", "smollm2-relevance")})[0]
        assert op.check(p, {"teacher": packaged("teacher")}) == []


def test_a_query_has_the_same_vector_in_any_company(teacher):
    anchors = fitted(rows(range(10)), teacher, queries=5, passages=10)
    asked = pa.table({"query": pa.array([f"{a} {b}" for a in ASKED for b in WORDS], text)})
    p, used = EmbedByTeacher(column="query"), {"teacher": teacher, "anchors": anchors}
    whole = apply(embed_by_teacher, asked, p, **used).table["teacher_vector"].to_pylist()
    assert [apply(embed_by_teacher, asked.slice(i, 1), p, **used).table["teacher_vector"].to_pylist()[0] for i in range(0, 50, 7)] == whole[::7]


def test_dot_products_give_back_what_the_teacher_says_of_anchors_and_rank_the_rest_alike(teacher, tmp_path):
    made = fitted(rows(range(10)), teacher, queries=5, passages=8, cutoff=0)
    made.save(tmp_path)
    anchors = Anchors.load(tmp_path)
    asked = pa.table({"query_id": content_ids(ASKED, [""] * 5), "query": pa.array(ASKED, text)})
    told = pa.table({"passage_id": pa.array(KEYS, row_id), "title": pa.array([""] * 10, text), "passage": pa.array(WORDS, text)})
    used = {"teacher": teacher, "anchors": anchors}
    left = apply(embed_by_teacher, asked, EmbedByTeacher(column="query"), **used).table
    right = apply(embed_by_teacher, told, EmbedByTeacher(), **used).table
    found, exact = vectors(left["teacher_vector"]) @ vectors(right["teacher_vector"]).T, scored(teacher, list(ASKED), list(WORDS))
    known = [WORDS.index(passage) for passage in anchors.passages]
    np.testing.assert_allclose(found[:, known], exact[:, known], atol=1e-4)  # U · U⁺ · U = U
    assert (found.argmax(axis=1) == exact.argmax(axis=1)).all()
    best = retrieve_dense(numbered(left), right, RetrieveDense(top_k=1, vector="teacher_vector"))
    assert best["candidate_ids"].to_pylist() == [[KEYS[i]] for i in exact.argmax(axis=1)]


def test_no_row_is_no_anchor_and_an_empty_text_has_a_reason(teacher):
    with pytest.raises(InputError, match="no row has a query and positive_ids"):
        fitted(rows([]), teacher)
    anchors = fitted(rows([0, 1]), teacher)
    told = pa.table({"title": pa.array(["", ""], text), "passage": pa.array(["bread", ""], text)})
    out = apply(embed_by_teacher, told, EmbedByTeacher(), teacher=teacher, anchors=anchors)
    assert out.table.schema.field("teacher_vector").type == vector
    assert [len(out.table), out.rejects["reason"].to_pylist()] == [1, ["the teacher's score is not finite"]]
