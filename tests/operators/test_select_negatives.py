"""No positive, no text of a positive, nothing above the bound and nothing to fill up with."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators import columns
from operators.contract import Outcome, apply, ids, score, scores, text
from operators.index_texts import IndexTexts, Texts, index_texts
from operators.select_negatives import SelectNegatives, select_negatives
from tests.operators.test_index_documents import fold_of

WORDS = ["oak", "Oak", "OAK ", "birch", "Birch", "elm", "ash", "fir", "yew", "box"]
IDS = dict(zip(WORDS, columns.content_ids([""] * len(WORDS), WORDS).to_pylist(), strict=True))
NAMES = {one: word for word, one in IDS.items()}


def indexed() -> Texts:
    table = pa.table({"title": pa.array([""] * len(WORDS), text), "passage": pa.array(WORDS, text)})
    fold = index_texts(IndexTexts())
    fold.add(
        table.append_column("passage_id", columns.content_ids([""] * len(WORDS), WORDS)).sort_by(
            "passage_id"
        ),
        0,
    )
    made: Texts = fold.finish()
    return made


TEXTS = indexed()


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.table(
        {
            "query_id": columns.content_ids([str(i) for i in range(len(rows))], [""] * len(rows)),
            "positive_ids": pa.array([[IDS[w] for w in r["positives"]] for r in rows], ids),
            "positive_scores": pa.array([r["positives"].values() for r in rows], scores),
            "candidate_ids": pa.array([[IDS[w] for w, _ in r["candidates"]] for r in rows], ids),
            "teacher_scores": pa.array([[s for _, s in r["candidates"]] for r in rows], scores),
        }
    )


def run(rows: list[dict[str, Any]], **params: Any) -> Outcome:
    return apply(select_negatives, table_of(rows), SelectNegatives(**params), texts=TEXTS)


def picked(outcome: Outcome) -> list[list[str]]:
    return [[NAMES[one] for one in row] for row in outcome.table["negative_ids"].to_pylist()]


def row(candidates: list[tuple[str, float | None]], **positives: float) -> dict[str, Any]:
    return {"positives": positives or {"oak": 1.0}, "candidates": candidates}


SCORE = st.floats(-2, 2, width=32)
ROW = st.fixed_dictionaries(
    {
        "positives": st.dictionaries(st.sampled_from(WORDS), SCORE, min_size=1, max_size=3),
        "candidates": st.lists(
            st.tuples(st.sampled_from(WORDS), SCORE | st.none() | st.just(math.nan)),
            unique_by=lambda one: one[0], max_size=10,
        ),
    }
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.lists(ROW, max_size=4),
    st.sampled_from(["percentage", "margin"]),
    st.floats(0, 1),
    st.integers(1, 4),
    st.sampled_from(["top", "random"]),
)
def test_negatives_are_what_the_rule_leaves_whatever_the_signs(
    rows: list[dict[str, Any]], policy: str, margin: float, wanted: int, pick: str
) -> None:
    outcome = run(rows, policy=policy, margin=margin, negatives=wanted, pick=pick)
    got = dict(zip(outcome.table["_row"].to_pylist(), picked(outcome), strict=True))
    values = dict(
        zip(outcome.table["_row"].to_pylist(), outcome.table["negative_scores"].to_pylist(), strict=True)
    )
    for number, one in enumerate(rows):
        low = min(float(np.float32(s)) for s in one["positives"].values())
        bound = low - (abs(low) * margin if policy == "percentage" else margin)
        said = {w.strip().casefold() for w in one["positives"]}
        best: dict[str, float] = {}
        for word, value in one["candidates"]:
            key = word.strip().casefold()
            if value is not None and not math.isnan(value) and key not in said:
                best[key] = max(best.get(key, -math.inf), value)
        left = sorted((v for v in best.values() if v < bound), reverse=True)
        chosen = got.get(number, [])
        assert len(chosen) == min(wanted, len(left))  # never filled up, never fewer than there are
        keys = [w.strip().casefold() for w in chosen]
        assert len(set(keys)) == len(keys)
        assert not set(keys) & said
        assert values.get(number, []) == [best[k] for k in keys]
        assert all(best[k] < bound for k in keys)
        if pick == "top":
            assert [best[k] for k in keys] == left[:wanted]


def test_a_negative_positive_score_tightens_the_rule() -> None:
    outcome = run([row([("elm", -0.5), ("ash", -0.51), ("fir", -0.53)], oak=-0.5)], margin=0.05)
    assert picked(outcome) == [["fir"]]


def test_the_lowest_of_several_positives_sets_the_bound() -> None:
    outcome = run([row([("elm", 0.5), ("ash", 0.3)], oak=0.9, birch=0.4)])
    assert picked(outcome) == [["ash"]]


def test_a_text_whose_best_copy_scores_too_high_is_not_taken_through_its_other_copy() -> None:
    outcome = run([row([("birch", 0.99), ("Birch", 0.2), ("elm", 0.1)])])
    assert picked(outcome) == [["elm"]]


def test_a_query_without_negatives_says_how_many_each_rule_took() -> None:
    outcome = run(
        [row([("oak", 1), ("Oak", 1), ("elm", 0.99), ("ash", None), ("birch", 0.97), ("Birch", 0.9)])]
    )
    assert outcome.rejects.to_pylist() == [
        {
            "_row": 0,
            "reason": "no negative left",
            "value": "1 positive, 1 text of a positive, 1 without score, 1 text again, 2 scored too high",
        }
    ]


def test_fewer_than_asked_are_kept_and_fewer_than_the_least_are_rejected() -> None:
    rows = [row([("elm", 0.1), ("ash", 0.2)])]
    assert picked(run(rows, negatives=5)) == [["ash", "elm"]]
    assert run(rows, negatives=5, min_negatives=3).rejects["reason"].to_pylist() == ["too few negatives left"]


def test_ranks_count_places_in_the_list_as_it_came() -> None:
    rows = [row([("oak", 1.0), ("elm", 0.5), ("ash", 0.4), ("fir", 0.3)])]
    assert picked(run(rows, policy="window", rank_from=3)) == [["ash", "fir"]]
    assert picked(run(rows, policy="window", rank_from=2, rank_to=3)) == [["elm", "ash"]]


def test_absolute_and_quantile_bounds() -> None:
    rows = [row([("elm", 0.9), ("ash", 0.7), ("fir", 0.6), ("yew", 0.1)])]
    assert picked(run(rows, policy="absolute", max_score=0.7)) == [["fir", "yew"]]
    assert picked(run(rows, policy="quantile", quantile=0.5)) == [["fir", "yew"]]
    assert picked(run(rows, policy="quantile", quantile=1.0)) == [["elm", "ash", "fir", "yew"]]


def test_another_scorer_is_looked_up_among_the_candidates() -> None:
    table = table_of([row([("oak", 0.9), ("elm", 0.8), ("ash", 0.86)]), row([("elm", 0.1)])])
    table = table.append_column("dense_scores", table["teacher_scores"]).drop_columns(["positive_scores"])
    outcome = apply(select_negatives, table, SelectNegatives(score="dense_scores"), texts=TEXTS)
    assert picked(outcome) == [["elm"]]
    assert outcome.rejects["reason"].to_pylist() == ["positive has no score"]


@settings(max_examples=50, deadline=None)
@given(st.lists(ROW, min_size=2, max_size=5), st.integers(0, 5), st.sampled_from(["top", "random"]))
def test_no_cut_and_no_order_of_candidates_changes_the_choice(
    rows: list[dict[str, Any]], at: int, pick: str
) -> None:
    chosen = {"policy": "absolute", "max_score": 3, "negatives": 2, "pick": pick}
    p = SelectNegatives.model_validate(chosen)
    table = table_of(rows)
    whole = apply(select_negatives, table, p, texts=TEXTS).table["negative_ids"].to_pylist()
    cut = [
        apply(select_negatives, t, p, texts=TEXTS).table["negative_ids"]
        for t in (table.slice(0, at), table.slice(at))
    ]
    assert [one for part in cut for one in part.to_pylist()] == whole
    turned = table_of([{**r, "candidates": distinct(r["candidates"])[::-1]} for r in rows])
    straight = table_of([{**r, "candidates": distinct(r["candidates"])} for r in rows])
    both = [
        apply(select_negatives, t, p, texts=TEXTS).table["negative_ids"].to_pylist()
        for t in (turned, straight)
    ]
    assert both[0] == both[1]


def distinct(candidates: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return list({word.strip().casefold(): (word, value) for word, value in candidates}.values())


def test_a_random_pick_depends_on_the_seed_and_reaches_beyond_the_top() -> None:
    rows = [row([(w, 0.1) for w in WORDS[3:]], oak=0.9)] * 20
    sets = [picked(run(rows, pick="random", negatives=2, seed=s)) for s in (1, 1, 2)]
    assert sets[0] == sets[1] != sets[2]
    assert len({tuple(one) for one in sets[0]}) > 5


def test_a_percentage_of_logits_is_refused_before_the_run() -> None:
    assert select_negatives.check is not None
    p = SelectNegatives()
    assert len(select_negatives.check(p, {"texts": None, "teacher_space": "logit"})) == 1
    assert len(select_negatives.check(p, {"teacher_space": "log-probability"})) == 1
    assert not select_negatives.check(p, {"teacher_space": "probability"})
    assert not select_negatives.check(p, {"texts": None})
    assert not select_negatives.check(SelectNegatives(policy="margin"), {"teacher_space": "logit"})


def longer(*passages: str) -> tuple[Texts, list[bytes]]:
    columns_ = {"title": pa.array([""] * len(passages), text), "passage": pa.array(passages, text)}
    keys = columns.content_ids([""] * len(passages), passages)
    fold = index_texts(IndexTexts())
    fold.add(pa.table({"passage_id": keys, **columns_}).sort_by("passage_id"), 0)
    return fold.finish(), keys.to_pylist()


def of_ids(positives: list[bytes], candidates: list[bytes], values: list[float], **more: list[float]) -> pa.Table:
    return pa.table({
        "query_id": columns.content_ids(["q"], [""]), "positive_ids": pa.array([positives], ids),
        "candidate_ids": pa.array([candidates], ids), "positive_scores": pa.array([[1.0] * len(positives)], scores),
        "teacher_scores": pa.array([values], scores), **{k: pa.array([v], scores) for k, v in more.items()},
    })  # fmt: skip


def test_what_is_nearly_a_positive_is_no_negative_however_low_it_scores() -> None:
    said = "the river carries sand and stones from the mountains down to the sea in spring when the snow melts"
    texts, (one, near, half, other) = longer(said, said + " away", " ".join(said.split()[:9]), "owls hunt at night in the woods of the north")
    table = of_ids([one], [near, half, other], [0.3, 0.2, 0.1])
    for share, wanted in ((0.8, [half, other]), (0.99, [near, half, other]), (None, [near, half, other])):
        p = SelectNegatives(near_duplicate=share)
        assert apply(select_negatives, table, p, texts=texts).table["negative_ids"].to_pylist() == [wanted]
    alone = apply(select_negatives, of_ids([one], [near], [0.3]), SelectNegatives(), texts=texts)
    assert alone.rejects["value"].to_pylist() == ["1 nearly a positive"]


def test_no_passage_of_a_positives_document_is_a_negative() -> None:
    texts, (one, same, other) = longer("oak", "birch", "elm")
    homes = columns.content_ids(["a", "a", "b", "c"]).to_pylist()
    documents, table = fold_of([one, same, same, other], homes).finish(), of_ids([one], [same, other], [0.3, 0.2])
    known = apply(select_negatives, table, SelectNegatives(), texts=texts, documents=documents)
    assert known.table["negative_ids"].to_pylist() == [[other]]
    assert apply(select_negatives, table, SelectNegatives(), texts=texts).table["negative_ids"].to_pylist() == [[same, other]]


def test_utility_weighs_how_hard_a_candidate_is_against_how_likely_it_is_relevant() -> None:
    table = of_ids(
        [IDS["oak"]], [IDS[w] for w in ("birch", "elm", "ash", "fir")], [0.1, 0.2, 0.3, 0.4],
        false_negative_scores=[0.9, 0.1, 0.5, math.nan], dense_scores=[0.9, 0.8, 0.7, 0.1],
    )  # fmt: skip
    for weight, cap, wanted in ((0, None, "birch elm ash"), (0.4, None, "elm birch ash"), (0.4, 0.5, "elm"), (2, None, "elm ash birch")):
        p = SelectNegatives(policy="utility", risk_weight=weight, max_risk=cap)
        assert picked(apply(select_negatives, table, p, texts=TEXTS)) == [wanted.split() if cap is None else [wanted]]
    told = apply(select_negatives, table, SelectNegatives(policy="utility", risk_weight=0), texts=TEXTS).table
    assert np.allclose(told["negative_scores"].to_pylist()[0], [0.1, 0.2, 0.3])  # the scorer's, as the positive's
    capped = apply(select_negatives, table, SelectNegatives(policy="window", rank_to=4, max_risk=0.5), texts=TEXTS)
    assert picked(capped) == [["elm"]]


@pytest.mark.parametrize(
    "params",
    [
        {"policy": "utility"},
        {"policy": "margin", "risk_weight": 1},
        {"policy": "margin", "hardness": "dense_scores"},
        {"policy": "window", "rank_from": 2, "margin": 0.1},
        {"policy": "percentage", "quantile": 0.5},
        {"policy": "absolute"},
        {"policy": "window"},
        {"policy": "quantile"},
        {"rank_from": 5, "rank_to": 4},
        {"negatives": 2, "min_negatives": 3},
    ],
)
def test_options_that_cannot_act_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SelectNegatives.model_validate(params)


def test_the_scores_that_come_out_are_those_that_went_in() -> None:
    out = run([row([("elm", 0.1), ("ash", 0.3)])]).table["negative_scores"].combine_chunks()
    assert out.equals(pa.array([[0.3, 0.1]], pa.list_(score)))
