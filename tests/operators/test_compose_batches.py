import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.columns import content_ids, id_pairs
from operators.compose_batches import ComposeBatches, compose_batches
from operators.contract import InputError, ids, row_id, text
from operators.index_texts import IndexTexts, index_texts

PASSAGES = [f"text {i % 9}" for i in range(12)]  # three pairs of passages with one text and two titles
IDS = content_ids([str(i) for i in range(12)], PASSAGES).to_pylist()
TEXT_OF = dict(zip(IDS, PASSAGES, strict=True))


def the_texts():
    order = sorted(range(12), key=IDS.__getitem__)
    fold = index_texts(IndexTexts())
    fold.add(pa.table({
        "passage_id": pa.array([IDS[i] for i in order], row_id), "title": pa.array([str(i) for i in order], text),
        "passage": pa.array([PASSAGES[i] for i in order], text),
    }), 0)  # fmt: skip
    return fold.finish()


TEXTS = the_texts()
ROW = st.tuples(st.integers(0, 11), st.lists(st.integers(0, 11), max_size=2), st.integers(0, 1), st.integers(0, 2))


def compose(rows, p, cut=None):
    table = pa.table({
        "query_id": content_ids([f"q{i}" for i in range(len(rows))]), "query": pa.array([f"q{i}" for i in range(len(rows))], text),
        "positive_ids": pa.array([[IDS[r[0]]] for r in rows], ids),
        "negative_ids": pa.array([[IDS[n] for n in r[1] if PASSAGES[n] != PASSAGES[r[0]]] for r in rows], ids),
        "source": pa.array([f"s{r[2]}" for r in rows], text), "cluster": pa.array([r[3] for r in rows], pa.int32()),
    }).sort_by("query_id")  # fmt: skip
    fold = compose_batches(p, texts=TEXTS)
    for part in [table] if cut is None else [table.slice(0, cut), table.slice(cut)]:
        fold.add(part, 0)
    found = fold.finish()
    by_key = table.to_pylist()
    batches: dict[int, list] = {}
    order = np.argsort(found.position)
    keys = sorted(r["query_id"] for r in by_key)
    rows_of = {
        (int.from_bytes(k[:8], "big"), int.from_bytes(k[8:], "big")): next(r for r in by_key if r["query_id"] == k) for k in keys
    }
    for i in order:
        batches.setdefault(int(found.batch[i]), []).append(rows_of[tuple(int(x) for x in found.keys[i])])
    return batches, found


@settings(max_examples=80, deadline=None)
@given(st.lists(ROW, max_size=40), st.integers(1, 5), st.sampled_from(["drop", "short", "mix"]), st.integers(0, 40))
def test_batches_keep_every_promise(rows, size, remainder, cut):
    p = ComposeBatches(batch_size=size, remainder=remainder)
    batches, found = compose(rows, p)
    again = compose(rows, p, min(cut, len(rows)))[1]
    assert np.array_equal(found.position, again.position)
    assert np.array_equal(found.batch, again.batch)
    assert sorted(found.position.tolist()) == list(range(len(found.position)))
    placed = [r["query_id"] for b in batches.values() for r in b]
    assert len(placed) == len(set(placed))
    if remainder == "short":
        assert len(placed) == len(rows)
    for batch in batches.values():
        assert len(batch) <= size
        assert remainder == "short" or len(batch) == size
        assert len({r["source"] for r in batch}) == 1
        assert remainder == "mix" or len({r["cluster"] for r in batch}) == 1
        positives = [TEXT_OF[i] for r in batch for i in r["positive_ids"]]
        assert len(positives) == len(set(positives)), "a text stands twice"
        for r in batch:
            others = {TEXT_OF[i] for o in batch if o is not r for i in o["positive_ids"]}
            assert not others & {TEXT_OF[i] for i in r["negative_ids"]}, "a positive is another row's negative"


def test_another_seed_is_another_order():
    rows = [(i % 12, [], 0, 0) for i in range(40)]
    one, other = (compose(rows, ComposeBatches(batch_size=2, seed=s))[1] for s in (1, 2))
    assert not np.array_equal(one.position, other.position)


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_closed_batches_spill_until_what_is_left_out_makes_no_batch(seed):
    # one text on half of the rows opens more batches than are kept open, so that half-full ones are closed
    positive = np.random.default_rng(seed).choice([0] * 8 + list(range(1, 9)), 400)
    table = pa.table({
        "query_id": content_ids([f"q{i}" for i in range(400)]), "query": pa.array([f"q{i}" for i in range(400)], text),
        "positive_ids": pa.array([[IDS[i]] for i in positive], ids),
        "source": pa.array(["s"] * 400, text), "cluster": pa.array([0] * 400, pa.int32()),
    }).sort_by("query_id")  # fmt: skip

    def composed(rows):
        fold = compose_batches(ComposeBatches(batch_size=3, negatives=False), texts=TEXTS)
        fold.add(rows, 0)
        return fold.finish()

    found = composed(table)
    left = table.filter(pa.array(~np.isin(id_pairs(table["query_id"]), found.keys)))
    assert len(left) + len(found) == 400
    assert len(composed(left)) == 0


def test_a_negative_may_serve_two_rows_of_a_batch_and_the_claim_says_so():
    from operators import compose_batches as module

    p = ComposeBatches(batch_size=2)
    assert list(compose([(0, [2], 0, 0), (1, [2], 0, 0)], p)[0]) == [0]
    assert list(compose([(0, [], 0, 0), (9, [], 0, 0)], p)[0]) == []  # one text, two titles
    assert list(compose([(0, [], 0, 0), (1, [9], 0, 0)], p)[0]) == []
    said = " ".join(module.__doc__.split())
    assert "no query text (case, white space and instruction aside) and no positive text stands twice" in said
    assert "A negative may serve several rows of a batch" in said


def test_a_query_on_two_rows_is_refused():
    one = content_ids(["q"]).to_pylist()
    table = {"query_id": pa.array(one * 2, row_id), "positive_ids": pa.array([[IDS[0]], [IDS[1]]], ids)}
    strata = {"query": pa.array(["q"] * 2, text), "source": pa.array(["s"] * 2, text), "cluster": pa.array([0, 0], pa.int32())}
    fold = compose_batches(ComposeBatches(negatives=False), texts=TEXTS)
    fold.add(pa.table({**table, **strata}), 0)
    with pytest.raises(InputError, match="more than one row; put group_positives"):
        fold.finish()


def test_a_question_asked_twice_in_other_words_of_case_or_instruction_is_in_two_batches():
    asked = [("What melts?", ""), ("what  melts?", ""), ("What melts?", "Retrieve a passage"), ("What rusts?", "")]
    table = pa.table({
        "query_id": content_ids(*zip(*asked, strict=True)), "query": pa.array([q for q, _ in asked], text),
        "positive_ids": pa.array([[IDS[i]] for i in range(4)], ids), "source": pa.array(["s"] * 4, text),
        "cluster": pa.array([0] * 4, pa.int32()),
    })  # fmt: skip
    fold = compose_batches(ComposeBatches(batch_size=4, remainder="short", negatives=False), texts=TEXTS)
    fold.add(table, 0)
    found = fold.finish()
    batch = dict(zip(found.keys.tolist(), found.batch.tolist(), strict=True))
    *melts, rusts = (batch[k] for k in id_pairs(table["query_id"]).tolist())
    assert sorted(melts) == [0, 1, 2]
    assert rusts in melts


def test_a_question_whose_duplicate_is_another_rows_positive_or_negative_is_in_another_batch():
    """Of pairs of duplicate questions (q1, q2), (q2, q3) the second query's own text would be its negative."""
    queries = ["q0", " TEXT  0", "q2", "text 4"]
    rows = [([IDS[0]], []), ([IDS[1]], []), ([IDS[2]], [IDS[4]]), ([IDS[3]], [])]
    table = pa.table({
        "query_id": content_ids(queries), "query": pa.array(queries, text), "positive_ids": pa.array([r[0] for r in rows], ids),
        "negative_ids": pa.array([r[1] for r in rows], ids), "source": pa.array(["s"] * 4, text), "cluster": pa.array([0] * 4, pa.int32()),
    })  # fmt: skip
    fold = compose_batches(ComposeBatches(batch_size=4, remainder="short"), texts=TEXTS)
    fold.add(table, 0)
    found = fold.finish()
    batch = dict(zip(found.keys.tolist(), found.batch.tolist(), strict=True))
    q0, q1, q2, q3 = (batch[k] for k in id_pairs(table["query_id"]).tolist())
    assert q0 != q1 and q2 != q3
    assert len({q0, q1, q2, q3}) == 2
