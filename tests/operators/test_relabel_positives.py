"""The passage that the judges prefer together becomes the positive; the seed is kept, copies of a text count once."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import columns, content
from operators.contract import apply, ids, scores, text
from operators.index_texts import IndexTexts, index_texts
from operators.relabel_positives import Judge, RelabelPositives, relabel_positives
from tests.operators.test_index_documents import fold_of

WORDS = ["oak", "birch", "elm", "ash", "fir", "OAK"]  # the last is a copy of the first
KEYS = columns.content_ids([""] * 6, WORDS).to_pylist()
WORD = dict(zip(KEYS, WORDS, strict=True))
ONE, TWO = Judge(scores="a", positives="a_of"), Judge(scores="b", positives="b_of")


def indexed():
    fold = index_texts(IndexTexts())
    table = pa.table({"passage_id": columns.content_ids([""] * 6, WORDS), "title": pa.array([""] * 6, text), "passage": pa.array(WORDS, text)})
    fold.add(table.sort_by("passage_id"), 0)
    return fold.finish()


TEXTS = indexed()


def run(rows, **params):
    """Rows of (seed with its two scores, candidates with theirs)."""
    table = pa.table({
        "positive_ids": pa.array([[KEYS[s[0]]] for s, _ in rows], ids), "candidate_ids": pa.array([[KEYS[n] for n, _, _ in c] for _, c in rows], ids),
        **{f"{x}_of": pa.array([[s[k]] for s, _ in rows], scores) for k, x in ((1, "a"), (2, "b"))},
        **{x: pa.array([[one[k] for one in c] for _, c in rows], scores) for k, x in ((1, "a"), (2, "b"))},
    })  # fmt: skip
    return apply(relabel_positives, table, RelabelPositives(judges=(ONE, TWO), **params), texts=TEXTS)


def test_a_better_passage_is_found_and_the_seed_kept():
    out = run([((0, 0.2, 0.3), [(1, 0.9, 0.8), (0, 0.2, 0.3), (2, 0.1, 0.9), (3, 0.0, 0.0)])]).table.to_pylist()[0]
    assert [WORD[i] for key in ("positive_ids", "negative_ids", "seed_ids") for i in out[key]] == ["birch", "ash", "oak"]
    assert out["relabelled"] is True and out["seed_rank"] == 3
    assert np.isclose(out["positive_scores"][0], 1 / 61 + 1 / 62)
    stays = run([((0, 0.9, 0.9), [(1, 0.1, 0.2)])]).table.to_pylist()[0]
    assert stays["relabelled"] is False and stays["seed_rank"] == 1 and stays["positive_ids"] == stays["seed_ids"]


def test_a_copy_of_the_seed_is_the_seed_and_what_a_judge_did_not_see_is_not_judged():
    out = run([((0, 0.5, 0.5), [(5, 0.5, 0.5), (1, 0.1, 0.1), (2, 0.9, None)])]).table.to_pylist()[0]
    assert [WORD[i] for i in out["positive_ids"] + out["negative_ids"]] == ["oak", "birch"]
    alone = run([((0, 0.5, 0.5), [(5, 0.6, 0.6), (2, None, 0.1)])])
    assert alone.rejects.to_pylist() == [{"_row": 0, "reason": "no passage to be the negative", "value": "1 judged"}]


def test_what_is_nearly_an_answer_or_of_its_document_is_no_negative():
    words = ["rain falls from the grey clouds all day", "iron rusts in the rain and the salt air of the sea", "owls hunt mice"]
    words += [f"{words[0]} long", f"{words[1]} too", "bread needs yeast"]  # nearly the seed, nearly the positive
    key, texts = content.indexed(words)
    table = pa.table({
        "positive_ids": pa.array([key[:1]], ids), "candidate_ids": pa.array([[*key[1:3], key[5], *key[3:5]]], ids),
        "a": pa.array([[0.9, 0.5, 0.4, 0.3, 0.2]], scores), "a_of": pa.array([[0.6]], scores),
    })  # fmt: skip
    homes = [b"%16d" % n for n in (0, 1, 2, 3, 4, 1)]  # the bread stands in the document of the positive

    def negative(documents=None, **params):
        p = RelabelPositives(judges=(ONE,), **params)
        out = apply(relabel_positives, table, p, texts=texts, documents=documents).table.to_pylist()[0]
        assert out["positive_ids"] == key[1:2]
        return words[key.index(out["negative_ids"][0])]

    assert negative(near_duplicate=None) == words[4]
    assert negative() == "bread needs yeast"
    assert negative(fold_of(key, homes).finish()) == "owls hunt mice"


def test_a_seed_in_the_place_of_the_negative_gives_way_to_the_next():
    rows = [((0, 0.5, 0.5), [(1, 0.9, 0.9), (2, 0.3, 0.3), (3, 0.1, 0.1)])] * 2
    out = run(rows, negative_rank=2).table.to_pylist()
    assert [[WORD[i] for i in r["positive_ids"] + r["negative_ids"]] for r in out] == [["birch", "elm"]] * 2


SCORE = st.sampled_from([0.0, 0.25, 0.5, 0.75, None])
ROW = st.tuples(
    st.tuples(st.integers(0, 4), st.floats(0, 1, width=32), st.floats(0, 1, width=32)),
    st.lists(st.tuples(st.integers(0, 4), SCORE, SCORE), unique_by=lambda x: x[0], max_size=5),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(ROW, max_size=4), st.sampled_from([None, 2, 3]))
def test_it_is_the_fused_rank_by_hand(rows, negative_rank):
    out = run(rows, negative_rank=negative_rank, k=1)
    got = dict(zip(out.table["_row"].to_pylist(), out.table.to_pylist(), strict=True))
    for i, ((seed, a, b), found) in enumerate(rows):
        told = {KEYS[seed]: (a, b), **{KEYS[n]: (x, y) for n, x, y in found if None not in (x, y) and n != seed}}
        ranks = [sorted(told, key=lambda p, k=k: (-np.float32(told[p][k]), p)) for k in (0, 1)]
        order = sorted(told, key=lambda p: (-sum(1 / (2 + r.index(p)) for r in ranks), p))
        others = [(n, p) for n, p in enumerate(order, 1) if n > 1 and p != KEYS[seed]]
        assert (i in got) == bool(others)
        if i in got:
            within = [p for n, p in others if negative_rank is None or n <= negative_rank] or [others[0][1]]
            assert (got[i]["positive_ids"], got[i]["negative_ids"]) == ([order[0]], [within[-1]])
            assert got[i]["seed_rank"] == order.index(KEYS[seed]) + 1
