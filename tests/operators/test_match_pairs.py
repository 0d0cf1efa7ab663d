"""Margins and matches are those of a plain loop over all pairs, as LASER has it; whatever the cut, and from either end alike."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.contract import ARTIFACTS, InputError, apply, ids, numbered, row_id, scores, text, vector
from operators.fit_margin import FitMargin, Margin, fit_margin
from operators.fit_neighbourhoods import FitNeighbourhoods, Neighbourhoods, fit_neighbourhoods
from operators.fit_neighbourhoods import _check as fit_check
from operators.match_pairs import Matches, MatchPairs, match_pairs
from operators.retrieve_dense import RetrieveDense, retrieve_dense
from operators.score_margins import ScoreMargins, _check, score_margins
from operators.take_matches import TakeMatches, take_matches
from operators.take_matches import _check as take_check

K = 2


def of(numbers):
    return pa.array([bytes([n]) * 16 for n in numbers], row_id)


def searched(left, right, names, others):
    """The rows of one side with their nearest of the other: 3 at most, of which one may be the text's own copy."""
    own, told = (pa.table({"passage_id": of(n), "vector": pa.array(list(v), vector)}) for n, v in ((names, left), (others, right)))
    table = own.append_column("query_id", own["passage_id"])
    p = RetrieveDense(top_k=K + 1)
    found = retrieve_dense.merge([retrieve_dense(numbered(table), told, p)], p).sort_by("_row")
    return pa.table({"passage_id": own["passage_id"], **{c: found[c] for c in ("candidate_ids", "dense_scores")}})


def neighbourhoods(*tables) -> Neighbourhoods:
    first, *rest = [fit_neighbourhoods(FitNeighbourhoods(k=K)) for _ in tables]
    for fold, table in zip([first, *rest], tables, strict=True):
        fold.add(table, 0)
    for fold in rest:
        first.merge(fold)
    return first.finish()


def sides(seed, sizes, shared):
    """Vectors of both sides; the first ``shared`` texts stand in both."""
    rng = np.random.default_rng(seed)
    left, right = (rng.normal(size=(n, 3)).astype(np.float32) + 1 for n in sizes)
    right[:shared] = left[:shared]
    left, right = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (left, right))
    return left, right, list(range(sizes[0])), [*range(shared), *range(100, 100 + sizes[1] - shared)]


def oracle(left, right, names, others, kind):
    """{(x, y): margin} of the k nearest others of each direction."""
    cos = {(x, y): float(np.float32(np.dot(left[i].astype(float), right[j].astype(float)))) for i, x in enumerate(names) for j, y in enumerate(others)}
    near = {("l", x): sorted((y for y in others if y != x), key=lambda y: (-cos[x, y], y))[:K] for x in names}
    near |= {("r", y): sorted((x for x in names if x != y), key=lambda x: (-cos[x, y], x))[:K] for y in others}
    mean = {key: np.mean([cos[key[1], n] if key[0] == "l" else cos[n, key[1]] for n in found]) for key, found in near.items() if found}
    made = {}
    for (side, one), found in near.items():
        for n in found:
            x, y = (one, n) if side == "l" else (n, one)
            middle = (mean["l", x] + mean["r", y]) / 2
            value = {"ratio": cos[x, y] / middle if middle > 0 else None, "distance": cos[x, y] - middle, "absolute": cos[x, y]}[kind]
            if value is not None:
                made[side, x, y] = value
    return made


def matched(made, retrieval):
    """As mine_bitexts.py: the best of each, then by the kind of retrieval."""
    best = {}
    for (side, x, y), value in made.items():
        one, other = (x, y) if side == "l" else (y, x)
        if (side, one) not in best or (-value, other) < best[side, one][:2]:
            best[side, one] = (-value, other, x, y)
    forward, backward = ({(x, y): -v for (s, _), (v, _, x, y) in best.items() if s == side} for side in "lr")
    if retrieval == "forward":
        return forward
    if retrieval == "backward":
        return backward
    if retrieval == "intersect":
        return {pair: v for pair, v in forward.items() if pair in backward}
    taken, seen = {}, (set(), set())
    for (x, y), value in sorted({**forward, **backward}.items(), key=lambda one: (-one[1], one[0])):
        if x not in seen[0] and y not in seen[1]:
            taken[x, y] = value
            seen[0].add(x)
            seen[1].add(y)
    return taken


def scored(left, right, names, others, kind):
    forth, back = searched(left, right, names, others), searched(right, left, others, names)
    around = (neighbourhoods(back), neighbourhoods(forth)) if kind != "absolute" else (None, None)
    used = [{"neighbourhoods": one} if one else {} for one in around]
    return [apply(score_margins, t, ScoreMargins(margin=kind, k=K), **u).table for t, u in zip((forth, back), used, strict=True)]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10**6), st.tuples(st.integers(1, 7), st.integers(1, 7)), st.integers(0, 2), st.sampled_from(["ratio", "distance", "absolute"]),
    st.sampled_from(["max", "intersect", "forward", "backward"]), st.integers(0, 7),
)  # fmt: skip
def test_margins_and_matches_are_those_of_a_loop_over_all_pairs(seed, sizes, shared, kind, retrieval, cut):
    left, right, names, others = sides(seed, sizes, min(shared, *sizes))
    want = oracle(left, right, names, others, kind)
    tables = scored(left, right, names, others, kind)
    got = {}
    for side, table in zip("lr", tables, strict=True):
        for r in table.to_pylist():
            for n, value in zip(r["candidate_ids"], r["margin_scores"], strict=True):
                one = (r["passage_id"][0], n[0])
                if value is not None:
                    got[side, *(one if side == "l" else one[::-1])] = value
    assert got.keys() == want.keys()
    assert np.allclose([got[k] for k in got], [want[k] for k in got], rtol=1e-5, atol=1e-6)
    assert all(got["l", x, y] == got["r", x, y] for side, x, y in got if ("l", x, y) in got and ("r", x, y) in got), "one margin from either end"
    every = pa.concat_tables([t.append_column("side", pa.array([s] * len(t), text)) for t, s in zip(tables, ("left", "right"), strict=True)])
    first, second = match_pairs(MatchPairs(retrieval=retrieval)), match_pairs(MatchPairs(retrieval=retrieval))
    first.add(every.slice(0, cut), 0)
    second.add(every.slice(cut), 0)
    first.merge(second)
    made = first.finish()
    at = np.arange(len(made))
    found = {(int(x >> np.uint64(56)), y[0]): s for x, y, s in zip(made.left(at)["hi"], made.right(at).to_pylist(), made.scores, strict=True)}
    told = matched(got, retrieval)
    assert found.keys() == told.keys()
    assert all(found[k] == np.float32(told[k]) for k in told)


def matches(pairs, retrieval="max", kind="ratio of 4") -> Matches:
    """Each (left, right, margin) proposed from both ends."""
    fold = match_pairs(MatchPairs(retrieval=retrieval))
    for side, (one, other) in (("left", (0, 1)), ("right", (1, 0))):
        fold.add(pa.table({
            "passage_id": of(p[one] for p in pairs), "side": pa.array([side] * len(pairs), text),
            "candidate_ids": pa.array([[bytes([p[other]]) * 16] for p in pairs], ids), "margin_scores": pa.array([[p[2]] for p in pairs], scores),
            "margin_by": pa.array([kind] * len(pairs), text),
        }), 0)  # fmt: skip
    return fold.finish()


PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(50, 59), st.sampled_from([0.5, 0.75, 1.0, 1.25])), max_size=10, unique_by=(lambda p: p[0], lambda p: p[1]))


@settings(max_examples=100, deadline=None)
@given(
    PAIRS, st.lists(st.booleans(), min_size=10, max_size=10), st.sets(st.tuples(st.integers(0, 9), st.integers(50, 59)), max_size=5),
    st.booleans(), st.integers(0, 8),
)  # fmt: skip
def test_the_least_margin_has_the_best_f1_of_all(pairs, right, more, complete, cut):
    known = more | {(a, b) for (a, b, _), good in zip(pairs, right, strict=False) if good}
    folds = [fit_margin(FitMargin(complete=complete, fallback=9), matches=matches(pairs)) for _ in range(2)]
    for fold, part in zip(folds, (sorted(known)[:cut], sorted(known)[cut:]), strict=True):
        fold.add(pa.table({"node_id": of(a for a, _ in part), "member_id": of(b for _, b in part)}), 0)
    folds[0].merge(folds[1])
    found = folds[0].finish()

    def f1(limit):
        ends = {a for a, _ in known}, {b for _, b in known}
        kept = [(a, b) for a, b, s in pairs if s >= limit and (complete or a in ends[0] or b in ends[1])]
        good = sum(one in known for one in kept)
        return (2 * good / (len(kept) + len(known)) if known else 0), (good / len(kept) if kept else 0)

    best = max((f1(s)[0] for *_, s in pairs), default=0)
    if best == 0:
        assert found == Margin(9, pairs=len(known))
    else:
        assert found.f1 == pytest.approx(best) == pytest.approx(f1(found.at_least)[0])
        assert found.precision == pytest.approx(f1(found.at_least)[1])
        judged = sorted({s for a, b, s in pairs if complete or a in {a for a, _ in known} or b in {b for _, b in known}})
        last = min(s for s in judged if s >= found.at_least)
        below = [s for s in judged if s < last]
        assert all(f1(s)[0] < best - 1e-9 for s in judged if s > last), "the highest of those"
        assert found.at_least == ((last + below[-1]) / 2 if below else last), "half-way, as bucc.py has it"


def test_texts_get_their_matches_from_the_margin_on(tmp_path):
    made = matches([(1, 51, 1.2), (2, 52, 1.0), (3, 53, 0.9)])
    made.save(tmp_path)
    table = pa.table({"passage_id": of([2, 4, 3, 1]), "source": pa.array(list("abcd"), text)})
    for used, params in (({}, {"at_least": 1.0}), ({"margin": Margin(1.0)}, {})):
        outcome = apply(take_matches, table, TakeMatches(query_type="x", **params), matches=Matches.load(tmp_path), **used)
        assert [(r["anchor_id"][0], r["passage_id"][0], r["source"], r["query_type"]) for r in outcome.table.to_pylist()] == [
            (2, 52, "a", "x"), (1, 51, "d", "x"),
        ]  # fmt: skip
        assert [(r["reason"], r["value"]) for r in outcome.rejects.to_pylist()] == [("no match", ""), ("margin too low", "0.9")]
    assert len(apply(take_matches, table, TakeMatches(), matches=made).table) == 3


def test_several_lefts_may_have_one_right_and_one_left_several_going_backward():
    fold = match_pairs(MatchPairs(retrieval="backward"))
    fold.add(pa.table({
        "passage_id": of([51, 52]), "side": pa.array(["right"] * 2, text), "candidate_ids": pa.array([[b"\x01" * 16]] * 2, ids),
        "margin_scores": pa.array([[1.0], [2.0]], scores), "margin_by": pa.array(["ratio of 4"] * 2, text),
    }), 0)  # fmt: skip
    outcome = apply(take_matches, pa.table({"passage_id": of([1])}), TakeMatches(), matches=fold.finish())
    assert [r["passage_id"][0] for r in outcome.table.to_pylist()] == [51, 52]
    assert len(set(outcome.table["pair_id"].to_pylist())) == 2


def test_what_cannot_be_is_one_sentence():
    with pytest.raises(InputError, match="'left' or 'right', a row has 'up'"):
        match_pairs(MatchPairs()).add(pa.table({
            "passage_id": of([1]), "side": pa.array(["up"], text), "candidate_ids": pa.array([[]], ids), "margin_scores": pa.array([[]], scores),
            "margin_by": pa.array([""], text)}), 0)  # fmt: skip
    assert "needs using: {neighbourhoods: STEP}" in _check(ScoreMargins(), {})[0]
    assert "do nothing" in _check(ScoreMargins(margin="absolute"), {ARTIFACTS: frozenset({"neighbourhoods"})})[0]
    assert "both say the least margin" in take_check(TakeMatches(at_least=1), {ARTIFACTS: frozenset({"matches", "margin"})})[0]


def test_a_hub_is_no_match_of_what_it_is_near_to():
    """The case of Artetxe & Schwenk §1: the nearest by cosine is a text that is near to everything."""
    rows = pa.table({
        "passage_id": of([1]), "candidate_ids": pa.array([[b"\x33" * 16, b"\x34" * 16]], ids), "dense_scores": pa.array([[0.80, 0.78]], scores),
    })  # fmt: skip
    back = pa.table({
        "passage_id": of([51, 52]), "candidate_ids": pa.array([[bytes([n]) * 16 for n in (1, 2)]] * 2, ids),
        "dense_scores": pa.array([[0.80, 0.80], [0.78, 0.20]], scores),
    })  # fmt: skip
    hub, mate = apply(score_margins, rows, ScoreMargins(k=2), neighbourhoods=neighbourhoods(back)).table["margin_scores"].to_pylist()[0]
    assert hub < mate


def test_neighbourhoods_of_parts_are_those_of_the_whole(tmp_path):
    left, right, names, others = sides(3, (6, 5), 1)
    table = searched(left, right, names, others)
    whole = neighbourhoods(table)
    for cut, _ in itertools.product(range(1, 6), range(1)):
        assert np.array_equal(neighbourhoods(table.slice(0, cut), table.slice(cut)).of(of(names)), whole.of(of(names)))
    whole.save(tmp_path)
    assert np.array_equal(Neighbourhoods.load(tmp_path).of(of([0, 99])), whole.of(of([0, 99])), equal_nan=True)
    assert np.isnan(whole.of(of([99])))[0]


def known(*pairs):
    return pa.table({"node_id": of(a for a, _ in pairs), "member_id": of(b for _, b in pairs)})


def test_a_margin_that_nothing_tells_is_no_number():
    fold = fit_margin(FitMargin(), matches=matches([(1, 51, 1.2), (2, 52, 1.0)]))
    assert fold.finish() == Margin(1.06)
    fold.add(known((51, 1), (52, 2)), 0)
    with pytest.raises(InputError, match="none of the 2 known pairs is among the 2 matches"):
        fold.finish()
    distance = matches([(1, 51, 0.2)], kind="distance of 4")
    with pytest.raises(InputError, match="no value is usual of a margin that is distance of 4; say a `fallback`"):
        fit_margin(FitMargin(), matches=distance).finish()
    assert fit_margin(FitMargin(fallback=0.1), matches=distance).finish() == Margin(0.1)


def test_between_two_neighbouring_floats_the_upper_is_the_limit():
    low = np.float32(1.1)
    upper = np.nextafter(low, np.float32(2))
    fold = fit_margin(FitMargin(), matches=matches([(1, 51, float(upper)), (2, 52, float(low))]))
    fold.add(known((1, 51), (2, 53)), 0)
    assert np.float32(fold.finish().at_least) == upper


def test_two_directions_of_other_margins_or_neighbours_are_refused():
    left, right, names, others = sides(3, (6, 5), 1)
    forth, back = searched(left, right, names, others), searched(right, left, others, names)
    with pytest.raises(InputError, match="k is 1, its neighbourhoods are of 2; give both steps one k"):
        apply(score_margins, forth, ScoreMargins(k=1), neighbourhoods=neighbourhoods(back))
    fold = match_pairs(MatchPairs())
    for side, table, kind in (("left", forth, "ratio"), ("right", back, "distance")):
        scored_ = apply(score_margins, table, ScoreMargins(k=K, margin=kind), neighbourhoods=neighbourhoods(back)).table
        fold.add(scored_.append_column("side", pa.array([side] * len(scored_), text)), 0)
    with pytest.raises(InputError, match="two margins, distance of 2 and ratio of 2"):
        fold.finish()


def test_a_search_that_keeps_too_few_is_refused():
    for check, p in ((fit_check, FitNeighbourhoods()), (_check, ScoreMargins())):
        used = {ARTIFACTS: frozenset({"neighbourhoods"})}
        assert check(p, {"depth": 4, **used})[0].endswith("k is 4, the search above keeps 4; let it keep 5 at least")
        assert check(p, {"depth": 5, **used}) == check(p, used) == []
