"""Classes are those of the rule in words, done one by one; nothing but edges and texts counts."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.content import indexed
from operators.contract import InputError, row_id, score
from operators.fit_classes import DuplicateClasses, FitClasses, Graph, example, fit_classes

COUNT = 12


def by_the_rule(likeness: np.ndarray, edges: set[tuple[int, int]], lengths: list[int], threshold: float) -> list[int]:
    """Component by component, class by class, text by text."""
    owner = [-1] * len(lengths)

    def component(start: int) -> set[int]:
        seen, more = {start}, [start]
        while more:
            at = more.pop()
            new = {b for a, b in edges if a == at and owner[b] < 0} - seen
            seen |= new
            more += new
        return seen

    while -1 in owner:
        for start in [i for i, one in enumerate(owner) if one < 0]:
            if owner[start] >= 0:
                continue
            best = min(component(start), key=lambda i: (-lengths[i], i))
            owner[best], more = best, [best]
            while more:
                at = more.pop()
                for a, b in sorted(edges):
                    if a == at and owner[b] < 0 and likeness[best, b] >= threshold:
                        owner[b] = best
                        more.append(b)
    return owner


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.6), st.lists(st.integers(1, 4), min_size=COUNT, max_size=COUNT))
def test_classes_are_those_of_the_rule(seed: int, share: float, lengths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    likeness = np.triu(rng.random((COUNT, COUNT)), 1).astype(np.float32)
    likeness += likeness.T
    pairs = [(a, b) for a in range(COUNT) for b in range(a) if rng.random() < share]
    for a, b in pairs:
        likeness[a, b] = likeness[b, a] = np.float32(0.7 + 0.3 * rng.random())  # an edge may be below what a class asks
    one, other = np.array(pairs, int).reshape(-1, 2).T
    asked = []

    def told(x, y):
        asked.extend(zip(x.tolist(), y.tolist(), strict=True))
        return likeness[x, y]

    found = Graph(one, other, likeness[one, other], np.array(lengths)).classes(0.75, told)
    both = {*pairs, *((b, a) for a, b in pairs)}
    assert found.tolist() == by_the_rule(likeness, both, lengths, 0.75)
    assert len(asked) == len(set(asked)) <= len(pairs)
    assert not set(asked) & both, "an edge is compared already"


def built(said, edges, **more):
    ids, texts = indexed(said)
    ends = [sorted((ids[a], ids[b])) for a, b in edges]
    columns = [pa.array([one[i] for one in ends], row_id) for i in range(2)]
    table = pa.table([*columns, pa.array([0.9] * len(ends), score)], names=["id_a", "id_b", "jaccard"])
    fold = fit_classes(FitClasses(**more), texts=texts)
    fold.add(table, 0)
    return ids, fold.finish()


def test_a_chain_falls_apart_where_its_ends_are_other_texts():
    line = [f"w{i}" for i in range(70)]
    said = [" ".join(line[i : i + 44]) for i in range(0, 24, 4)]  # 40 runs: neighbours have 36/44
    said[0] += " andmorewords"
    ids, classes = built(said, [(i, i + 1) for i in range(5)])
    own = [ids.index(one) for one in classes.of(pa.array(ids, row_id)).to_pylist()]
    assert own[:2] == [0, 0], "the longest, and its neighbour alone is like it"
    assert own[2:] != [0] * 4
    assert len(classes) == sum(own.count(one) > 1 for one in own)


def test_what_has_no_edge_is_its_own_and_what_is_saved_is_what_is_loaded(tmp_path):
    ids, classes = built(["owls hunt mice", "Owls hunt mice!", "iron rusts"], [(0, 1)], threshold=0.5)
    classes.save(tmp_path)
    asked = pa.chunked_array([pa.array(ids[:1], row_id), pa.array(ids[1:], row_id)])
    for one in (classes, DuplicateClasses.load(tmp_path)):
        assert one.of(asked).to_pylist() == [ids[1], ids[1], ids[2]]
        assert one.exact(asked).tobytes() == b"".join([ids[1], ids[1], ids[2]])
        assert len(one) == 2
    nothing = built(["x"], [])[1]
    assert len(nothing) == 0
    assert nothing.of(asked).to_pylist() == ids


def test_an_edge_met_twice_is_one():
    shown = example()
    made = []
    for times in (1, 2):
        fold = fit_classes(shown.params, **shown.used)
        for _ in range(times):
            fold.add(shown.table, 0)
        made.append(fold.finish())
    ids = shown.table["id_a"]
    assert made[0].of(ids).equals(made[1].of(ids))
    assert len(made[0]) == len(made[1])


def test_an_edge_of_a_text_that_is_not_indexed_is_told():
    shown = example()
    fold = fit_classes(shown.params, texts=indexed(["other"])[1])
    fold.add(shown.table, 0)
    with pytest.raises(InputError, match="index the texts that were signed"):
        fold.finish()


def test_a_chain_of_which_each_class_takes_two_looks_at_all_of_it_a_few_times_alone(monkeypatch):
    looks = []
    monkeypatch.setattr(Graph, "_queues", lambda self, owner, made=Graph._queues: looks.append(1) or made(self, owner))
    count = 3_000
    one = np.arange(count - 1)
    graph = Graph(one, one + 1, np.full(count - 1, 0.9, np.float32), np.arange(count, 0, -1))
    owner = graph.classes(0.8, lambda x, y: np.zeros(len(x), np.float32))
    assert owner.tolist() == [i // 2 * 2 for i in range(count)]
    assert len(looks) <= 12, "1,500 turns; a look at all edges each took 1.2 s of 3,000 texts and hours of a million"
