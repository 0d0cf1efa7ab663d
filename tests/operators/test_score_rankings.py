"""nDCG@10, MRR@10 and recall@100 against their definitions; judgements by query; arms over seeds; a set read again."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import columns
from operators.compare_arms import CompareArms, compare_arms
from operators.compare_arms import example as compared
from operators.contract import InputError, apply, ids, scores
from operators.group_judgements import GroupJudgements, grades, group_judgements, judgements
from operators.read_training_set import ReadTrainingSet, read_training_set
from operators.read_training_set import example as published
from operators.score_rankings import METRICS, ScoreRankings, score_rankings

KEYS = [bytes([n] * 16) for n in range(130)]


def by_hand(ranking: list[int], judged: dict[int, int]) -> tuple[float, float, float]:
    """The metrics as Järvelin and Kekäläinen's linear gain, the first relevant place, and the share found have them."""
    gains = [judged.get(d, 0) for d in ranking[:10]]
    ideal = sorted((g for g in judged.values()), reverse=True)[:10]
    dcg, best = (sum(g / np.log2(i + 2) for i, g in enumerate(one)) for one in (gains, ideal))
    first = next((i for i, g in enumerate(gains) if g > 0), None)
    relevant = [d for d, g in judged.items() if g > 0]
    return dcg / best, 0.0 if first is None else 1 / (first + 1), len(set(relevant) & set(ranking[:100])) / len(relevant)


lists = st.lists(st.integers(0, 129), unique=True, max_size=120)
truth = st.dictionaries(st.integers(0, 129), st.integers(1, 4), min_size=1, max_size=20)


@settings(max_examples=40)
@given(st.lists(st.tuples(lists, truth), min_size=1, max_size=4))
def test_the_metrics_are_their_definitions(cases: list) -> None:
    table = pa.table({
        "query_id": columns.content_ids([str(i) for i in range(len(cases))]),
        "judged_ids": pa.array([[KEYS[d] for d in judged] for _, judged in cases], ids),
        "grades": pa.array([[*judged.values()] for _, judged in cases], grades),
        "candidate_ids": pa.array([[KEYS[d] for d in ranking] for ranking, _ in cases], ids),
        "dense_scores": pa.array([[0.5] * len(ranking) for ranking, _ in cases], scores),  # ties: the list's order holds
    })  # fmt: skip
    made = apply(score_rankings, table, ScoreRankings(collection="c", arm="a", seed=2)).table
    assert [set(made[c].to_pylist()) for c in ("collection", "arm", "seed")] == [{"c"}, {"a"}, {2}]
    for row, (ranking, judged) in zip(made.to_pylist(), cases, strict=True):
        assert [row[m] for m in METRICS] == pytest.approx(by_hand(ranking, judged))


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.lists(st.integers(0, 3), max_size=3), st.integers(1, 3)), min_size=1, max_size=12))
def test_judgements_are_gathered_with_the_highest_grade(rows: list) -> None:
    table = judgements([(q, [KEYS[d] for d in found], g) for q, found, g in rows]).sort_by("query_id").combine_chunks()
    made = apply(group_judgements, table, GroupJudgements())
    expected: dict[str, dict[bytes, int]] = {q: {} for q, *_ in rows}
    for q, found, g in rows:
        for d in found:
            expected[q][KEYS[d]] = max(g, expected[q].get(KEYS[d], 0))
    told = {r["source_id"]: dict(zip(r["judged_ids"], r["grades"], strict=True)) for r in made.table.to_pylist()}
    assert told == expected
    assert len(made.rejects) == len(rows) - len(expected)


def rows_of(cut: int = 0, pairs: tuple = (("ours", "base"),), table: pa.Table | None = None) -> list[dict]:
    given_rows = compared().table if table is None else table
    params = CompareArms(pairs=pairs, draws=1000)
    first, second = compare_arms(params), compare_arms(params)
    first.add(given_rows.slice(0, cut), 0)
    second.add(given_rows.slice(cut), 0)
    first.merge(second)
    return first.finish().rows


def test_arms_are_means_over_queries_and_seeds_whatever_the_cut_and_the_order() -> None:
    base, ours = rows_of()
    assert (base["ndcg10"], base["seeds"], "gain" in base) == (0.225, 1, False)
    assert (ours["ndcg10"], ours["seeds"], ours["gain"], ours["versus"]) == (0.3125, 2, 0.0875, "base")
    assert ours["seed_sd"] == pytest.approx(0.01768) and ours["p"] == ours["p_corrected"]
    turned = compared().table.take(pa.array(np.random.default_rng(0).permutation(12)))
    assert rows_of(5) == rows_of(table=turned) == rows_of()


def test_more_comparisons_are_corrected_together() -> None:
    more = rows_of(pairs=(("ours", "base"), ("base", "ours")))
    assert [row["p_corrected"] for row in more] == [min(1.0, 2 * row["p"]) for row in more]


def test_arms_of_other_queries_are_refused() -> None:
    with pytest.raises(InputError, match="on toy ours and base have not the same queries"):
        rows_of(table=pa.concat_tables([compared().table.slice(0, 3), compared().table.slice(4)]))
    with pytest.raises(InputError, match="the seeds of ours have not the same queries"):
        rows_of(table=compared().table.slice(0, 11))


def test_a_set_is_read_again_with_what_it_lacks_as_empty(tmp_path: Path) -> None:
    p = published(tmp_path)
    [item] = read_training_set.items(p)
    [out] = read_training_set(item, p)
    first, second = out.table.to_pylist()
    assert (first["query"], first["positive_ids"], first["negative_ids"], second["negative_ids"]) == ("x", [KEYS[1]], [KEYS[2]], [])
    assert first["negative_scores"] == first["masked_ids"] == [] and (second["position"], second["stage"]) == (1, 0)
    [texts] = read_training_set(item, ReadTrainingSet(path=p.path, rows="passages"))
    assert {(r["passage_id"], r["passage"]) for r in texts.table.to_pylist()} == {(KEYS[1], "oak"), (KEYS[2], "elm")}


def test_what_is_no_whole_set_is_said_in_a_sentence(tmp_path: Path) -> None:
    assert read_training_set.check(ReadTrainingSet(path=str(tmp_path)), {}) == [
        f"{tmp_path}: no published set; give the folder of one version, with its manifest.json"
    ]
    p = published(tmp_path)
    pq.write_table(pa.table({"text": ["a corpus"]}), tmp_path / "train-00000-of-00001.parquet")
    assert "it has no query_id, query, positive_ids, positives" in read_training_set.check(p, {})[0]
    (tmp_path / "manifest.json").write_text(json.dumps({"shards": [{"file": "gone.parquet"}]}))
    assert "manifest names this file, which is missing" in read_training_set.check(p, {})[0]
