"""An edge leads to the first longer text of the cluster that the vector is like; its classes are those of the edges."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import link_similar as module
from operators.content import indexed
from operators.contract import ROW, apply, numbered, row_id, vector
from operators.fit_classes import FitClasses, fit_classes
from operators.link_similar import LinkSimilar, link_similar

IDS, TEXTS = indexed(["x" * (1 + i % 7) + f"{i:03d}" for i in range(40)])
LENGTHS = TEXTS.lengths(pa.array(IDS, row_id))


def run(angles, clusters, p):
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    table = pa.table({
        "passage_id": pa.array(IDS[: len(rows)], row_id), "cluster": pa.array(clusters, pa.int32()), "vector": pa.array(list(rows), vector),
    })  # fmt: skip
    return apply(link_similar, numbered(table).sort_by([("cluster", "ascending"), (ROW, "ascending")]), p, texts=TEXTS), rows


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 2)), max_size=40), st.sampled_from([0.7, 0.95, 0.999]), st.sampled_from([2, 512]))
def test_each_text_is_its_first_representatives_or_one_itself(told, threshold, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        outcome, rows = run(np.array([a for a, _ in told]), [c for _, c in told], LinkSimilar(threshold=threshold))
    leaders, wanted = [], {}
    exact = rows.astype(np.float64) @ rows.astype(np.float64).T
    for i in sorted(range(len(told)), key=lambda i: (-LENGTHS[i], IDS[i])):
        owner = next((j for j in leaders if told[j][1] == told[i][1] and exact[i, j] >= threshold), None)
        if owner is None:
            leaders.append(i)
        else:
            wanted[tuple(sorted((IDS[i], IDS[owner])))] = np.float32(exact[i, owner])
    found = {(r["id_a"], r["id_b"]): r["cosine"] for r in outcome.table.to_pylist()}
    assert found == wanted
    assert set(outcome.rejects["reason"].to_pylist()) <= {"a representative", "nothing in its cluster is like it"}
    fold = fit_classes(FitClasses(threshold=threshold, score="cosine"), texts=TEXTS)
    fold.add(outcome.table.drop_columns([ROW]), 0)
    own = fold.finish().of(pa.array(IDS[: len(told)], row_id)).to_pylist()
    assert {tuple(sorted((a, b))) for a, b in zip(IDS, own, strict=False) if a != b} == set(wanted)


@pytest.mark.parametrize(("cosine", "edges"), [(0.94995, 0), (0.95005, 1)])
def test_the_product_that_proposes_does_not_decide(cosine, edges):
    assert len(run(np.array([0, np.arccos(cosine)]), [0, 0], LinkSimilar(threshold=0.95))[0].table) == edges


def test_an_id_twice_in_a_cluster_is_a_reject():
    rows = pa.array([np.array([1, 0], np.float32)] * 3, vector)
    table = pa.table({"passage_id": pa.array([IDS[0], IDS[0], IDS[1]], row_id), "cluster": pa.array([0] * 3, pa.int32()), "vector": rows})
    outcome = apply(link_similar, numbered(table), LinkSimilar(), texts=TEXTS)
    assert sorted(outcome.rejects["reason"].to_pylist()) == ["a representative", "its id is in the cluster already"]
    assert len(outcome.table) == 1


def test_an_id_without_a_text_is_a_reject_and_no_representative():
    rows = pa.array([np.array([1, 0], np.float32)] * 3, vector)
    table = pa.table({"passage_id": pa.array([b"\0" * 16, IDS[0], IDS[1]], row_id), "cluster": pa.array([0] * 3, pa.int32()), "vector": rows})
    outcome = apply(link_similar, numbered(table), LinkSimilar(), texts=TEXTS)
    assert sorted(outcome.rejects["reason"].to_pylist()) == ["a representative", "no text has this id"]
    assert {*outcome.table["id_a"].to_pylist(), *outcome.table["id_b"].to_pylist()} == {IDS[0], IDS[1]}
