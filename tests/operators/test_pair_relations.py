"""Edges become pairs of texts: each of an edge or of two with one node, at most so many of a text, whatever the order."""

from collections import Counter

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import columns
from operators.cap_rows import CapRows, cap_rows
from operators.cap_sources import CapSources, cap_sources
from operators.content import indexed
from operators.contract import ARTIFACTS, apply, row_id, text
from operators.fill_pairs import FillPairs, fill_pairs
from operators.fit_source_caps import FitSourceCaps, SourceCaps, fit_source_caps
from operators.index_ids import IndexIds, index_ids
from operators.pair_relations import PairRelations, pair_relations
from operators.resolve_relations import ResolveRelations, _check, resolve_relations
from operators.sentences import sentences

EDGES = st.lists(st.tuples(st.integers(0, 3), st.integers(4, 12), st.sampled_from(["direct", "co_cited"])), max_size=30)


def of(numbers):
    return pa.array([bytes([n]) * 16 for n in numbers], row_id)


def run(edges, order=None, **params):
    """Nodes of direct edges are texts 0–3, shared ones 20–23."""
    edges = [edges[i] for i in order] if order is not None else edges
    table = pa.table({
        "node_id": of(n + 20 * (k != "direct") for n, _, k in edges), "member_id": of(m for _, m, _ in edges),
        "pairs": pa.array([k for *_, k in edges], text), "relation": pa.array([""] * len(edges), text),
        "source": pa.array(["s"] * len(edges), text), "licence": pa.array([""] * len(edges), text),
    })  # fmt: skip
    return apply(pair_relations, table.sort_by("node_id"), PairRelations(**params))


def pairs(outcome) -> list[tuple[int, int, str]]:
    return [(r["anchor_id"][0], r["passage_id"][0], r["query_type"]) for r in outcome.table.to_pylist()]


@settings(max_examples=120, deadline=None)
@given(EDGES, st.integers(1, 10) | st.just(10**30), st.integers(2, 10) | st.just(10**30))
def test_pairs_are_of_edges_and_caps_are_exact(edges, fan_out, members):
    outcome = run(edges, fan_out=fan_out, max_members=members)
    found = pairs(outcome)
    of_node = {(n, k): {m for a, m, b in edges if (a, b) == (n, k)} for n, _, k in edges}
    direct = Counter(a for a, _, k in found if k == "direct")
    assert all((a, b, "direct") in edges for a, b, k in found if k == "direct")
    assert direct == {n: min(len(own), fan_out) for (n, k), own in of_node.items() if k == "direct"}
    shared = [own for (_, k), own in of_node.items() if k == "co_cited"]
    together = [(a, b) for a, b, k in found if k == "co_cited"]
    assert all(any({a, b} <= own and a != b for own in shared) for a, b in together)

    def count(n):
        n = min(n, members)
        return sum(n if 2 * step < n else n // 2 for step in range(1, min(fan_out, n // 2) + 1))

    assert len(together) == sum(count(len(own)) for own in shared)
    if len(shared) == 1:  # one node: every pair once, and of a text at most as many as the fan-out lets ask
        assert len({frozenset(one) for one in together}) == len(together)
        assert max(Counter(a for a, _ in together).values(), default=0) <= fan_out
        if fan_out >= len(shared[0]) <= members:
            assert len(together) == len(shared[0]) * (len(shared[0]) - 1) // 2


def test_a_pair_that_two_nodes_share_has_one_id_in_whichever_order_and_a_direct_one_has_two():
    twice = [(node, m, "co_cited") for node in range(20) for m in (4, 5)]
    rows = run(twice).table.to_pylist()
    assert {(r["anchor_id"][0], r["passage_id"][0]) for r in rows} == {(4, 5), (5, 4)}, "in no direction that their ids tell"
    assert len(rows) == 20 and len({r["pair_id"] for r in rows}) == 1
    assert len({r["pair_id"] for r in run([(0, 1, "direct"), (1, 0, "direct")]).table.to_pylist()}) == 2


@settings(max_examples=60, deadline=None)
@given(EDGES.flatmap(lambda edges: st.tuples(st.just(edges), st.permutations(range(len(edges))))))
def test_the_order_of_edges_changes_no_pair(drawn):
    edges, order = drawn
    one, other = run(edges, fan_out=2), run(edges, order, fan_out=2)
    assert sorted(pairs(one)) == sorted(pairs(other))
    assert sorted(one.rejects["reason"].to_pylist()) == sorted(other.rejects["reason"].to_pylist())


def test_each_reject_says_why_and_a_relation_is_the_type():
    edges = [(0, 4, "direct"), (0, 5, "direct"), (0, 5, "direct"), (1, 6, "co_cited"), (2, 7, "co_cited"), (2, 8, "co_cited"), (2, 9, "co_cited")]
    outcome = run(edges, fan_out=1, max_members=2)
    assert sorted(outcome.rejects["reason"].to_pylist()) == [
        "above the fan-out of its node", "above the members of its node", "alone at its node", "in the pairs of its node's others",
        "joined to its node before",
    ]  # fmt: skip
    assert pairs(run([(0, 4, "direct")], seed=3)) == [(0, 4, "direct")]


def corpus():
    names, said = ["d1", "d2", "d3", "d4"], ["oak", "birch", "elm", "elm"]
    fold = index_ids(IndexIds())
    fold.add(pa.table({"source_id": pa.array(names, text), "passage_id": columns.content_ids([""] * 4, said)}), 0)
    return fold.finish()


def test_an_id_of_two_corpora_names_a_text_on_each_side():
    (a, b), _ = indexed(["links", "rechts"])
    sides = []
    for own in (a, b):
        fold = index_ids(IndexIds())
        fold.add(pa.table({"source_id": pa.array(["1"], text), "passage_id": pa.array([own], row_id)}), 0)
        sides.append(fold.finish())
    table = pa.table({name: pa.array(["1", said], text) for name, said in (("from_source_id", "1"), ("to_source_id", "2"), ("relation", ""))})
    outcome = apply(resolve_relations, table, ResolveRelations(), ids=sides[0], to_ids=sides[1])
    assert [(r["node_id"], r["member_id"]) for r in outcome.table.to_pylist()] == [(a, b)]
    assert outcome.rejects["reason"].to_pylist() == ["unknown id in `to`"]
    assert "leave to_ids out" in _check(ResolveRelations(pairs="co_cited"), {ARTIFACTS: frozenset({"ids", "to_ids"})})[0]


def resolved(edges, pairs):
    table = pa.table({name: pa.array([e[i] for e in edges], text) for i, name in enumerate(("from_source_id", "to_source_id", "relation"))})
    return apply(resolve_relations, table, ResolveRelations(pairs=pairs), ids=corpus())


def test_unknown_ids_and_two_ids_of_one_text_are_rejects():
    edges = [("d1", "d2", ""), ("x", "d2", ""), ("d1", "y", ""), ("x", "y", ""), ("d3", "d4", "")]
    direct = resolved(edges, "direct")
    assert [(r["reason"], r["value"]) for r in direct.rejects.to_pylist()] == [
        ("unknown id in `from`", "x"), ("unknown id in `to`", "y"), ("unknown id in `from`", "x"), ("both ids are one text", "d4"),
    ]  # fmt: skip
    cited = resolved(edges, "co_cited")
    assert cited.rejects["reason"].to_pylist() == ["unknown id in `to`"] * 2, "what cites need not be there"
    assert resolved(edges, "co_citing").rejects["reason"].to_pylist() == ["unknown id in `from`"] * 2


def test_edges_meet_in_one_node_by_id_and_relation():
    nodes = resolved([("x", "d1", "a"), ("x", "d2", "a"), ("x", "d3", "b"), ("y", "d1", "a")], "co_cited").table["node_id"].to_pylist()
    assert nodes[0] == nodes[1] and len(set(nodes)) == 3
    nodes = resolved([("d1", "x", ""), ("d2", "x", ""), ("d2", "y", "")], "co_citing").table["node_id"].to_pylist()
    assert nodes[0] == nodes[1] != nodes[2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=25, unique_by=lambda one: one[1]), st.integers(1, 5))
def test_a_cap_is_exact_and_hangs_on_the_pairs_alone(rows, most):
    def kept(told):
        table = pa.table({"anchor_id": of(a for a, _ in told), "pair_id": of(p for _, p in told)}).sort_by("anchor_id")
        return {(r["anchor_id"][0], r["pair_id"][0]) for r in apply(cap_rows, table, CapRows(key="anchor_id", most=most)).table.to_pylist()}

    found = kept(rows)
    assert Counter(a for a, _ in found) == {a: min(n, most) for a, n in Counter(a for a, _ in rows).items()}
    assert found == kept(rows[::-1])
    assert {one for one in found if one[0] == 0} == kept([one for one in rows if one[0] == 0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 250)), max_size=60, unique_by=lambda one: one[1]), st.integers(1, 9), st.integers(0, 60))
def test_a_source_keeps_exactly_its_cap_whatever_the_cut(rows, most, cut):
    def fold(told):
        made = fit_source_caps(FitSourceCaps(most=most))
        for one in told:  # a row a part, so that the fold has to forget
            made.add(pa.table({"pair_id": of([one[1]]), "source": pa.array([one[0]], text)}), 0)
        return made

    first = fold(rows[:cut])
    first.merge(fold(rows[cut:]))
    caps = first.finish()
    assert caps.limits == fold(rows[::-1]).finish().limits
    table = pa.table({"pair_id": of(p for _, p in rows), "source": pa.array([s for s, _ in rows], text)})
    outcome = apply(cap_sources, table, CapSources(), caps=caps)
    assert Counter(outcome.table["source"].to_pylist()) == {s: min(n, most) for s, n in Counter(s for s, _ in rows).items()}
    assert set(outcome.rejects["reason"].to_pylist()) <= {"above the cap of its source"}


def test_what_is_saved_of_the_caps_is_what_is_loaded(tmp_path):
    made = SourceCaps(3, {"wiki": 2**64 - 5})
    made.save(tmp_path)
    assert vars(SourceCaps.load(tmp_path)) == vars(made)


def test_pairs_get_their_texts_or_a_sentence_by_the_anchor_alone():
    said = ["Oaks grow slowly. They live long. No.", "Birches.  Grow fast."]
    own, texts = indexed(said)
    table = pa.table({"anchor_id": pa.array(own, row_id), "passage_id": pa.array(own[::-1], row_id)})
    made = apply(fill_pairs, table, FillPairs(instruction="find"), texts=texts).table.to_pylist()
    assert [(r["query"], r["passage"]) for r in made] == [(said[0], said[1]), ("Birches. Grow fast.", said[0])]
    assert all(r["query_id"] == columns.content_id(r["query"], "find") and r["positive_ids"] == [r["passage_id"]] for r in made)
    drawn = {seed: apply(fill_pairs, table, FillPairs(query="sentence", seed=seed), texts=texts).table["query"].to_pylist() for seed in range(20)}
    assert {one[0] for one in drawn.values()} == {said[0][a:b] for a, b in sentences(said[0])[:2]}, "of three words at least"
    assert {one[1] for one in drawn.values()} == {"Birches.", "Grow fast."}
    turned = apply(fill_pairs, table.take(pa.array([1, 0])), FillPairs(query="sentence"), texts=texts).table["query"].to_pylist()
    assert turned[::-1] == drawn[0]
    many, texts = indexed([f"First is {i} here. Second is {i} here. Third is {i} here." for i in range(30)])
    table = pa.table({"anchor_id": pa.array(many, row_id), "passage_id": pa.array(many, row_id)})
    said = apply(fill_pairs, table, FillPairs(query="sentence"), texts=texts).table["query"].to_pylist()
    assert {one.split()[0] for one in said} == {"First", "Second", "Third"}
