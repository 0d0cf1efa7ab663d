"""Within the lists that it probes the search is exact, whatever the cut; below the floor of recall the step fails."""

import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.store import Store
from cluster.task import StepFailed
from operators.assign_clusters import AssignClusters, assign_clusters
from operators.centroids import Centroids
from operators.columns import content_ids
from operators.contract import InputError, numbered, vector
from operators.retrieve_dense import RetrieveDense, merge_dense, retrieve_dense
from operators.retrieve_ivf import RetrieveIvf, floor_ivf, measure_ivf, merge_ivf, prepare_ivf, retrieve_ivf
from operators.topk import FLOOR
from tests.flows.test_run import go


def sides(queries, passages, centroids, repeat=1):
    left = {"query_id": content_ids([f"q{i}" for i in range(len(queries))]), "vector": pa.array(list(queries), vector)}
    names = content_ids([f"p{i // repeat}" for i in range(len(passages))])
    right = pa.table({"passage_id": names, "vector": pa.array(list(passages), vector)})
    return numbered(pa.table(left)), assign_clusters(right, AssignClusters(), centroids=centroids)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 80), st.integers(1, 12), st.integers(1, 6), st.integers(1, 6), st.booleans(),
    st.lists(st.integers(0, 80), max_size=3), st.integers(1, 2),
)  # fmt: skip
def test_it_is_the_exact_search_of_the_probed_lists_for_any_cut(seed, count, k, lists, probes, coarse, cuts, repeat):
    rng = np.random.default_rng(seed)
    q, d, c = (rng.normal(size=(n, 6)).astype(np.float32) for n in (4, count, lists))
    if coarse:
        q, d = np.round(q), np.round(d)
    left, right = sides(q, d, Centroids(c), repeat)
    p, used = RetrieveIvf(top_k=k, probes=probes, sample=1, min_recall=0), {"centroids": Centroids(c)}
    edges = [0, *sorted(min(x, count) for x in cuts), count]
    parts = [retrieve_ivf(left, right.slice(a, b - a), p, **used) for a, b in zip(edges, edges[1:], strict=False)]
    found = merge_ivf(parts[::-1], p)
    assert found.equals(merge_ivf([retrieve_ivf(left, right, p, **used)], p))
    last = [row[-1] if len(row) == k else -np.inf for row in merge_ivf(parts[:1], p)["dense_scores"].to_pylist()]
    floored = left.append_column(FLOOR, pa.array(last, pa.float32()))
    assert found.equals(merge_ivf([parts[0], *(retrieve_ivf(floored, right.slice(a, b - a), p, **used) for a, b in zip(edges[1:], edges[2:], strict=False))], p))
    of = (d.astype(np.float64) @ c.T.astype(np.float64)).argmax(1)
    near = np.argsort(-(q.astype(np.float64) @ c.T.astype(np.float64)), axis=1, kind="stable")[:, :probes]
    plain = RetrieveDense(top_k=k)
    for i in range(4):
        told = right.filter(pa.array(np.isin(of, near[i])))
        wanted = merge_dense([retrieve_dense(left.slice(i, 1), told, plain)], plain)
        assert found["candidate_ids"][i] == wanted["candidate_ids"][0]
        assert found["dense_scores"][i] == wanted["dense_scores"][0]
    exact = merge_dense([retrieve_dense(left, right, plain)], plain)
    assert found["exact_ids"].to_pylist() == exact["candidate_ids"].to_pylist()


@pytest.mark.parametrize(("queries", "passages", "alike"), [(2048, 8000, False), (400, 2000, True)])
def test_a_list_of_most_of_the_corpus_is_not_held_against_all_queries_at_once(queries, passages, alike):
    rng = np.random.default_rng(0)
    q, d = (rng.normal(size=(n, 8)).astype(np.float32) for n in (queries, passages))
    d = np.repeat(d[:1], passages, axis=0) if alike else d
    centroids = Centroids(d[:1])
    left, right = sides(q, d, centroids)
    p = RetrieveIvf(top_k=5, sample=1e-9, min_recall=0)
    ready = prepare_ivf(right, p, centroids=centroids)
    tracemalloc.start()
    found = retrieve_ivf(left, ready, p, centroids=centroids)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80 << 20  # they were 164 and 138 MB, and grew with the list
    some = left.slice(0, 20)
    assert found.slice(0, 20)["candidate_ids"].equals(retrieve_dense(some, right, RetrieveDense(top_k=5))["candidate_ids"])


def test_many_ties_at_the_cut_are_settled_by_id_in_lists_longer_than_what_is_proposed():
    names = content_ids([f"p{i}" for i in range(400)])
    told = {"vector": pa.array([[1.0, 0.5], [0.5, 1.0]] * 200, vector), "cluster": pa.array([0, 1] * 200, pa.int32())}
    right = pa.table({"passage_id": names, **told})
    left = numbered(pa.table({"query_id": content_ids("ab"), "vector": pa.array([[1.0, 1.0]] * 2, vector)}))
    p = RetrieveIvf(top_k=5, probes=2, sample=1.0)
    found = retrieve_ivf(left, right, p, centroids=Centroids(np.eye(2, dtype=np.float32)))
    assert found["candidate_ids"].to_pylist() == [sorted(names.to_pylist())[:5]] * 2


def test_recall_is_counted_on_the_sampled_queries_and_too_low_a_one_is_said():
    rng = np.random.default_rng(0)
    q, d, c = (rng.normal(size=(n, 8)).astype(np.float32) for n in (200, 400, 20))
    left, right = sides(q, d, Centroids(c))
    for probes, least in ((20, 1.0), (1, 0.0)):
        p = RetrieveIvf(top_k=10, probes=probes, sample=0.3, min_recall=0.9)
        found = merge_ivf([retrieve_ivf(left, right, p, centroids=Centroids(c))], p)
        told = measure_ivf(found, p)
        assert 30 < told["sampled_queries"] < 90 and told["exact"] == 10 * told["sampled_queries"]
        assert told["exact_found"] / told["exact"] >= least
        assert (floor_ivf(told, p) is None) == (probes == 20)
    assert "raise probes (now 1)" in str(floor_ivf(told, p))
    none = {"queries": 3, "sampled_queries": 0, "exact": 0, "exact_found": 0}
    assert "none of 3 queries is in the sample; raise sample" in str(floor_ivf(none, p))
    assert floor_ivf({**none, "queries": 0}, p) is None


def test_centroids_of_another_encoder_and_passages_of_other_centroids_are_refused():
    left, right = sides(np.ones((1, 3), np.float32), np.ones((2, 3), np.float32), Centroids(np.eye(3, dtype=np.float32)))
    with pytest.raises(InputError, match="3 dimensions, centroids 2"):
        retrieve_ivf(left, right, RetrieveIvf(), centroids=Centroids(np.eye(2, dtype=np.float32)))
    other = right.set_column(2, "cluster", pa.array([0, 7], pa.int32()))
    with pytest.raises(InputError, match="clusters up to 7, the centroids are 3; search the step that assign_clusters made"):
        retrieve_ivf(left, other, RetrieveIvf(), centroids=Centroids(np.eye(3, dtype=np.float32)))


FLOW = """
flow: small
seed: 1
steps:
  docs:   {{op: read_corpus, with: {{path: docs.jsonl}}}}
  passages: {{op: split_passages, from: docs, with: {{max_words: null, min_words: 1}}}}
  asked:  {{op: embed, from: passages, using: {{encoder: static}}, keep: [passage_id]}}
  lists:  {{op: fit_clusters, from: asked, with: {{clusters: 8, key: passage_id}}}}
  listed: {{op: assign_clusters, from: asked, using: {{centroids: lists}}}}
  queries: {{op: read_queries, with: {{path: queries.jsonl}}}}
  told:   {{op: embed, from: queries, using: {{encoder: static}}, with: {{column: query}}}}
  found:  {{op: retrieve_ivf, from: told, against: listed, using: {{centroids: lists}}, with: {{top_k: 5, probes: {probes}, sample: 1, min_recall: 0.9}}}}
"""


def test_the_recall_stands_in_the_manifest_and_below_the_floor_the_step_stops(tmp_path):
    words = ["ice", "iron", "rain", "owls", "bread", "sand", "snow", "wood", "glass", "stone", "river", "cloud"]
    rng = np.random.default_rng(0)
    for name in ("docs", "queries"):
        lines = [{"_id": str(i), "text": " ".join(rng.choice(words, 5))} for i in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path, store = tmp_path / "flow.yaml", Store(str(tmp_path / "s"))
    path.write_text(FLOW.format(probes=8))
    ran = go(path, store, workers=0)
    manifest = json.loads(next((tmp_path / "s" / "steps").glob("retrieve_ivf-*/manifest.json")).read_text())
    assert manifest["measured"] == {
        "queries": manifest["rows"],
        "sampled_queries": manifest["rows"],
        "exact": 5 * manifest["rows"],
        "exact_found": 5 * manifest["rows"],
    }
    assert ran.funnel[-1]["measured"] == manifest["measured"]
    path.write_text(FLOW.format(probes=1))
    with pytest.raises(StepFailed, match=r"found: recall@5 on \d+ sampled queries is 0\.\d+, below min_recall 0.9; raise probes"):
        go(path, store, workers=0)
