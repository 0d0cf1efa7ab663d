import pyarrow as pa

from operators.contract import apply, ids, scores, text
from operators.gate_margins import GateMargins, gate_margins

P, N, M = b"p" * 16, b"n" * 16, b"m" * 16


def gated(*triples, kinds=None, **params):
    table = pa.table({
        "query_type": pa.array(kinds or ["short-long"] * len(triples), text),
        "positive_ids": pa.array([[P]] * len(triples), ids), "positive_scores": pa.array([[p] for p, _ in triples], scores),
        "candidate_ids": pa.array([[N, M][: len(n)] for _, n in triples], ids), "teacher_scores": pa.array([n for _, n in triples], scores),
    })  # fmt: skip
    outcome = apply(gate_margins, table, GateMargins(**params))
    why = dict(zip(outcome.rejects["_row"].to_pylist(), outcome.rejects["reason"].to_pylist(), strict=True))
    return outcome.table, why


def test_e5_nl_drops_wrong_positives_and_negatives_that_are_too_easy():
    table, why = gated((0.1, [0.05]), (0.09, [0.05]), (0.99, [0.04]), (0.99, [0.02]))
    assert why == {1: "positive scored too low", 3: "no negative within the margin"}
    assert table["negative_ids"].to_pylist() == [[N], [N]]


def test_exempt_types_pass_as_they_are():
    table, why = gated((0.01, [0.5]), (0.99, [0.0]), kinds=["long-short"] * 2, exempt=["long-short"])
    assert why == {}
    assert len(table) == 2


def test_of_several_candidates_those_within_the_margin_stay_with_their_scores():
    table, _ = gated((0.99, [0.01, 0.5]), (0.9, [0.2, 0.95]), min_margin=0.0)
    assert table["negative_ids"].to_pylist() == [[M], [N]]
    assert [len(s) for s in table["negative_scores"].to_pylist()] == [1, 1]


def test_an_unknown_score_is_no_negative_and_no_positive():
    assert gated((0.9, [None]), (None, [0.5]))[1] == {0: "no negative within the margin", 1: "positive scored too low"}
