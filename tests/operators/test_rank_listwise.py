"""An order is every passage once, whatever the answer says; scores fall evenly from first to last."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import kendalltau

from operators.columns import content_id
from operators.contract import apply
from operators.engines import load_model, packaged
from operators.engines.llm import Answer
from operators.rank_listwise import RankListwise, _agreement, _calls, _List, _mean, _place, example, numbers_in, rank_listwise

PROMPT = {"prompt": "listwise.md"}


@pytest.fixture(scope="module")
def told():
    """The example as the packaged model orders it."""
    one = example()
    return one, apply(rank_listwise, one.table, one.params, **one.used)


def test_scores_fall_evenly_beside_their_ids_and_the_rest_is_null(told):
    one, out = told
    assert len(out.table) + len(out.rejects) == len(one.table)
    assert len(out.table) >= 2
    for row in out.table.to_pylist():
        found, own = row["listwise_scores"], row["listwise_positives"]
        assert len(found) == len(row["candidate_ids"]) and len(own) == len(row["positive_ids"])
        assert [v is None for v in found] == [i >= 2 and c not in row["positive_ids"] for i, c in enumerate(row["candidate_ids"])]
        known = {c: v for c, v in zip([*row["positive_ids"], *row["candidate_ids"]], [*own, *found], strict=True) if v is not None}
        assert np.mean(list(known.values())) == pytest.approx(0.5 if len(known) > 1 else 1)
        assert -1 <= row["listwise_agreement"] <= 1
        assert own[0] == next((v for c, v in zip(row["candidate_ids"], found, strict=True) if c == row["positive_ids"][0]), own[0])


def test_the_same_rows_get_the_same_order_alone_and_together(told):
    one, out = told
    alone = [apply(rank_listwise, one.table.slice(i, 1), one.params, **one.used).table for i in range(len(one.table))]
    names = ["query", "listwise_scores", "listwise_positives", "listwise_agreement"]
    assert [r for t in alone for r in t.select(names).to_pylist()] == out.table.select(names).to_pylist()


NAMES = [content_id(str(i)) for i in range(12)]
ANSWERS = st.one_of(
    st.lists(st.integers(0, 15)).map(lambda n: " > ".join(f"[{i}]" for i in n)),
    st.lists(st.integers(0, 15)).map(lambda n: ", ".join(map(str, n))),
    st.text(max_size=20),
)


@settings(max_examples=200)
@given(st.data())
def test_whatever_an_answer_says_every_passage_stays_and_those_named_come_first(data):
    size = data.draw(st.integers(2, 12))
    start = data.draw(st.integers(0, size - 1))
    order = data.draw(st.permutations(range(min(size - start, data.draw(st.integers(1, 12))))))
    one = _List(0, 0, NAMES[:size])
    answer = data.draw(ANSWERS)
    _place(one, start, order, Answer(answer, data.draw(st.sampled_from(["stop", "length"]))))
    assert sorted(one.names) == sorted(NAMES[:size])
    assert one.names[:start] == NAMES[:start] and one.names[start + len(order) :] == NAMES[start + len(order) : size]
    if one.fault[0]:
        assert one.names == NAMES[:size] and one.fault[1] == answer


def test_an_order_is_read_from_brackets_else_from_bare_numbers_and_what_is_missing_follows():
    for answer, wanted, repaired in (
        ("[2] > [3] > [1]", [1, 2, 0], False),
        ("The 2 best of 3: [3] > [2] > [1]", [2, 1, 0], False),
        ("<think>Passage [1] is first: [1] > [2] perhaps. No.</think>\n[3] > [2] > [1]", [2, 1, 0], False),
        ("Comparing [1] and [2].\nThe order: [3] > [2] > [1]", [2, 1, 0], False),
        ("[3]\n[1]\n[2]", [2, 0, 1], False),
        ("1. Passage 3\n2. Passage 1\n3. Passage 2", [2, 0, 1], False),
        ("The order of the 3 passages:\n2 > 3 > 1", [1, 2, 0], False),
        ("3, 1, 2", [2, 0, 1], False),
        ("[3] > [3] > [9]", [2, 0, 1], True),
        ("[2]", [1, 0, 2], True),
    ):
        one = _List(0, 0, NAMES[:3])
        _place(one, 0, [0, 1, 2], Answer(answer))
        assert (one.names, one.repaired, one.fault[0]) == ([NAMES[i] for i in wanted], repaired, "")
    for answer in ("I cannot rank these.", "I cannot rank these 3 passages."):
        one = _List(0, 0, NAMES[:3])
        _place(one, 0, [0, 1, 2], Answer(answer))
        assert one.fault == ("no order in the answer", answer)
    assert numbers_in("5, 10, 1", cut=True) == [5, 10]
    assert numbers_in("[5] > [10] > [1", cut=True) == [5, 10]


def test_windows_slide_from_the_end_and_the_best_rises_to_the_top():
    """An oracle that knows the order stands where the model would; windows of four by two bring the best two up."""
    p = RankListwise.model_validate({**PROMPT, "window": 4, "step": 2, "max_candidates": 9})
    names = NAMES[:9]
    best = sorted(names)
    one, starts = _List(0, 0, list(names)), [*range(len(names) - p.window, 0, -p.step), 0]
    assert starts == [5, 3, 1, 0]
    for start in starts:
        part = one.names[start : start + p.window]
        _place(one, start, range(len(part)), Answer(" > ".join(f"[{part.index(n) + 1}]" for n in sorted(part))))
    assert one.names[:2] == best[:2]
    assert _calls(p, {}) == {"": 2 * len(starts), "positive_ids": 2}


@settings(max_examples=60)
@given(st.integers(1, 8).flatmap(lambda n: st.lists(st.permutations(NAMES[:n]), min_size=2, max_size=3)))
def test_means_and_agreement_are_those_of_the_orders(orders):
    turns = [_List(0, i, list(names)) for i, names in enumerate(orders)]
    known, size = _mean(turns), len(orders[0])
    for name, value in known.items():
        assert value == pytest.approx(np.mean([1 - o.index(name) / max(size - 1, 1) for o in orders]))
    if size > 1:
        ranks = [[o.index(n) for n in sorted(o)] for o in orders]
        pairs = [kendalltau(ranks[i], ranks[j]).statistic for i in range(len(ranks)) for j in range(i)]
        assert _agreement(turns) == pytest.approx(np.mean(pairs))
    else:
        assert _agreement(turns) == 1


def test_windows_that_do_not_touch_and_prompts_that_show_nothing_are_refused():
    for said, told in (({"window": 4, "step": 4}, "step must be below window"), ({"prompt": "answer.md"}, r"it must show \{passages\}"), ({"scores": "x", "positives": "x"}, "both name the column 'x'"),
        ({"scores": "listwise_repaired"}, "both name the column"),
    ):  # fmt: skip
        with pytest.raises(ValidationError, match=told):
            RankListwise.model_validate({**PROMPT, **said})


def test_the_packaged_model_answers_with_numbers():
    llm = load_model("llm", packaged("llm"))
    one = example()
    again = apply(rank_listwise, one.table, RankListwise.model_validate({**PROMPT, "orders": 1}), llm=llm, texts=one.used["texts"])
    assert "listwise_agreement" not in again.table.column_names
    assert set(again.rejects["reason"].to_pylist()) <= {"no order in the answer"}
    assert any(len(names) for names in again.table["candidate_ids"].to_pylist())  # a row that had to be asked about
