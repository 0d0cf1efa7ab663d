"""Rows under a budget: quotas to the row, the best or a fair draw of each value, the same whatever the cut."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators import choose_rows as module
from operators import columns
from operators.apportion import apportion
from operators.choose_rows import ChooseRows, Chosen, choose_rows
from operators.contract import InputError, apply, score, text
from operators.keep_chosen import KeepChosen, keep_chosen

VALUES = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([0.1, 0.5, 0.9, float("nan")])), max_size=60)


def table(rows):
    out = pa.table({
        "passage_id": columns.content_ids([str(i) for i in range(len(rows))]), "source": pa.array([v for v, _ in rows], text),
        "quality": pa.array([q for _, q in rows], score),
    })  # fmt: skip
    return out.sort_by("passage_id")


def choose(whole, p, cuts=()):
    folds = []
    for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        folds.append(choose_rows(p))
        folds[-1].add(whole.slice(a, b - a), 0)
    for fold in folds[1:]:
        folds[0].merge(fold)
    return folds[0].finish()


def kept(whole, p, cuts=()):
    return apply(keep_chosen, whole, KeepChosen(), chosen=choose(whole, p, cuts)).table


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 200), st.lists(st.tuples(st.floats(0, 9), st.integers(0, 50)), max_size=6), st.booleans())
def test_quotas_keep_the_total_their_limits_and_their_shares(total, said, shrink):
    weights, limits = [w for w, _ in said], [n for _, n in said]
    quotas = apportion(total, weights, limits, shrink)
    assert all(0 <= q <= n for q, n in zip(quotas, limits, strict=True))
    assert all(q == 0 for q, w in zip(quotas, weights, strict=True) if w == 0)
    whole = sum(map(Fraction, weights))
    if not shrink:
        assert sum(quotas) == min(total, sum(n for w, n in said if w))
        exact = [(q, Fraction(w), n) for q, w, n in zip(quotas, weights, limits, strict=True) if w and q < n]
        # what its limit does not hold has its share of one and the same total: quotas differ from it by less than one
        for q, w, _ in exact:
            for other, v, _ in exact:
                assert (q - 1) / w < (other + 1) / v
    elif whole:
        most = sum(quotas)
        assert all(abs(q - most * Fraction(w) / whole) < 1 for q, w in zip(quotas, weights, strict=True))
        more = most + 1
        assert more > total or any(more * Fraction(w) > n * whole for w, n in said if w)


def test_largest_remainders_by_hand():
    assert apportion(10, [53, 24, 23], [99] * 3) == [5, 3, 2]  # 5.3, 2.4, 2.3
    assert apportion(10, [1, 1, 1], [99] * 3) == [4, 3, 3]
    assert apportion(10, [1, 1, 8], [5, 5, 3]) == [4, 3, 3]
    assert apportion(10, [1, 1, 2], [99, 99, 3], shrink=True) == [2, 1, 3]


PARAMS = st.fixed_dictionaries(
    {"budget": st.integers(1, 30)},
    optional={"cap": st.integers(1, 9), "caps": st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9)), "seed": st.integers(0, 3)},
)
SHARES = st.one_of(
    st.fixed_dictionaries({"alpha": st.sampled_from([0, 0.5, 1])}),
    st.fixed_dictionaries({"target": st.dictionaries(st.sampled_from("abce"), st.sampled_from([0.2, 0.5, 1, 3]), min_size=1)}),
)
ORDER = st.sampled_from([{}, {"quality": "quality"}, {"quality": "quality", "temperature": 0.3}])


@settings(max_examples=300, deadline=None)
@given(VALUES, PARAMS, SHARES, ORDER, st.data())
def test_quotas_are_exact_the_best_are_kept_and_no_cut_changes_them(rows, said, shares, order, data):
    p = ChooseRows.model_validate({"by": "source", **said, **shares, **order})
    whole = table(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    met = {v for v, q in rows if not p.quality or not np.isnan(q)}
    if met and p.target and not met & set(p.target):
        with pytest.raises(InputError, match="of target"):
            choose(whole, p, cuts)
        return
    found, made = kept(whole, p, cuts), choose(whole, p)
    assert found["passage_id"].equals(kept(whole, p)["passage_id"])  # a table is no equal of itself where it holds NaN
    usable = [r for r in whole.to_pylist() if not p.quality or not np.isnan(r["quality"])]
    counts = {v: sum(r["source"] == v for r in usable) for v in "abcd"}
    counts = {v: n for v, n in counts.items() if n}
    weights = [p.target.get(v, 0) if p.target else counts[v] ** p.alpha for v in counts]
    limits = [min(n, p.caps.get(v, p.cap or n)) for v, n in counts.items()]
    quotas = dict(zip(counts, apportion(p.budget, weights, limits), strict=True))
    assert made.quotas == {v: (counts[v], quotas[v]) for v in counts}
    assert {v: found["source"].to_pylist().count(v) for v in counts} == quotas
    if p.quality and not p.temperature:
        for v, n in quotas.items():
            best = sorted((r["quality"] for r in usable if r["source"] == v), reverse=True)[:n]
            assert sorted((r["quality"] for r in found.to_pylist() if r["source"] == v), reverse=True) == best


@pytest.mark.parametrize("held", [0, 7])
def test_letting_rows_go_before_the_end_changes_nothing(monkeypatch, held):
    whole = table([("abc"[i % 7 % 3], (i * 37 % 100) / 100) for i in range(400)])
    cuts = tuple(range(20, 400, 20))
    for order in ({}, {"quality": "quality"}, {"quality": "quality", "temperature": 0.2}):
        p = ChooseRows.model_validate({"budget": 11, "by": "source", **order})
        want = kept(whole, p)
        with monkeypatch.context() as patched:
            patched.setattr(module, "_HELD", held)
            assert kept(whole, p, cuts).equals(want)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([1.0, 9.99, 10.0, 49.0, 50.0, 1000.0, float("nan")]), max_size=30), st.integers(1, 20))
def test_a_distribution_of_lengths_is_matched_and_shrinks_to_what_there_is(lengths, budget):
    whole = table([("a", n) for n in lengths])
    target = {"..10": 0.5, "10..50": 0.25, "50..": 0.25}
    p = ChooseRows(budget=budget, by="quality", edges=(10, 50), target=target, shortfall="shrink")
    bins = {"..10": lambda n: n < 10, "10..50": lambda n: 10 <= n < 50, "50..": lambda n: n >= 50}
    have = {name: sum(map(within, lengths)) for name, within in bins.items()}
    if not all(have.values()):
        with pytest.raises(InputError, match=r"no row has the quality '.*\.\..*' of the target"):
            choose(whole, p)
        return
    total = min([budget, *(int(n / target[name]) for name, n in have.items())])
    got = kept(whole, p)["quality"].to_pylist()
    assert len(got) == total
    assert all(abs(sum(map(within, got)) - total * target[name]) < 1 for name, within in bins.items())


def test_a_smaller_budget_draws_a_part_of_the_larger_and_another_seed_another():
    whole = table([("a", 0.5)] * 500)
    small, large, other = (set(kept(whole, ChooseRows(budget=b, seed=s))["passage_id"].to_pylist()) for b, s in ((50, 0), (100, 0), (100, 1)))
    assert len(small) == 50
    assert small < large
    assert len(large & other) < 40


def test_a_draw_by_quality_favours_it_as_much_as_its_temperature_says():
    whole = table([("a", i % 2) for i in range(4000)])
    shares = []
    for temperature in (0.25, 1.0, 100.0):
        found = kept(whole, ChooseRows(budget=200, quality="quality", temperature=temperature))
        shares.append(float(np.mean(found["quality"].to_numpy())))
    # 200 of 4,000, half of which weigh e^(1/t) times as much: 0.982, 0.731, 0.5, less what is drawn without replacement
    assert shares[0] > 0.96
    assert 0.64 < shares[1] < 0.8
    assert 0.4 < shares[2] < 0.6


def test_an_id_that_stands_twice_is_refused_where_it_would_be_chosen_also_at_the_edge():
    whole = table([("a", 0.9), ("a", 0.8), ("a", 0.1), ("a", 0.05)]).sort_by([("quality", "descending")])
    twice = pa.concat_tables([whole, whole.slice(1, 1)])
    for budget in (2, 3):
        with pytest.raises(InputError, match="stands on more than one row; put drop_duplicates with key passage_id before it"):
            choose(twice, ChooseRows(budget=budget, quality="quality"))
    assert len(choose(twice, ChooseRows(budget=1, quality="quality"))) == 1


def test_what_was_chosen_comes_back_from_disk(tmp_path):
    made = choose(table([("é", 0.5), ("b", 0.5)]), ChooseRows(budget=2, by="source"))
    made.save(tmp_path)
    again = Chosen.load(tmp_path)
    assert again.quotas == made.quotas == {"b": (1, 1), "é": (1, 1)}
    assert np.array_equal(again.keys, made.keys)


@pytest.mark.parametrize(("said", "fault"), [
    ({"alpha": 0.5}, "alpha does nothing without by"), ({"cap": 3}, "cap does nothing without by"),
    ({"by": "source", "alpha": 0.5, "target": {"a": 1}}, "target and alpha both say the shares"),
    ({"by": "source", "target": {"a": 0}}, "a share is above 0"), ({"by": "source", "caps": {"a": 0}}, "a cap is 1 at least"),
    ({"by": "words", "edges": [3, 3]}, "edges do not rise"), ({"temperature": 1}, "temperature does nothing without quality"),
    ({"by": "words", "edges": [10, 50], "target": {"10-50": 1}}, r"'10-50' is no bin of these edges; they make \.\.10, 10\.\.50, 50\.\."),
])  # fmt: skip
def test_options_that_would_do_nothing_are_refused(said, fault):
    with pytest.raises(ValidationError, match=fault):
        ChooseRows.model_validate({"budget": 3, **said})


def test_a_target_of_which_no_row_is_and_a_misspelt_cap_are_told():
    whole = table([("a", 0.1), ("b", 0.5)])
    with pytest.raises(InputError, match="no row has a source of target; they have 'a', 'b'"):
        choose(whole, ChooseRows(budget=1, by="source", target={"x": 1}))
    p = ChooseRows(budget=1, by="source", target={"a": 1, "x": 1}, caps={"y": 3, "b": 1})
    assert module.measure_chosen(choose(whole, p), p)["named values without a row"] == 2


def test_a_temperature_near_zero_takes_the_best():
    whole = table([("a", q) for q in (0.1, 0.9, 0.5, 0.2)])
    best = choose(whole, ChooseRows(budget=2, quality="quality"))
    assert (choose(whole, ChooseRows(budget=2, quality="quality", temperature=1e-310)).keys == best.keys).all()
