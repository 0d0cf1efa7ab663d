"""Stages, mixtures, epochs, ranks and packings of `compose_batches` against a brute-force checker."""

import math
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators import fit_classes, index_documents
from operators.assign_batches import AssignBatches, assign_batches
from operators.centroids import Centroids
from operators.columns import content_ids
from operators.compose_batches import ComposeBatches, _check, compose_batches, measure_batches
from operators.content import indexed
from operators.contract import ARTIFACTS, InputError, apply, ids, row_id, score, text
from operators.fit_classes import FitClasses
from operators.index_documents import IndexDocuments
from operators.mixtures import Stage, quotas

SAID = [f"passage number {i} of a library of owls and rivers" for i in range(14)]
SAID[13] = SAID[12].upper()  # another id? no: one text in another case
IDS, TEXTS = indexed(SAID)
KEY = {i: SAID[n].casefold() for n, i in enumerate(IDS)}
PAGE = {i: n // 2 for n, i in enumerate(IDS)}  # two passages a document


def near_classes():
    """Passages 0 and 1, and 2 and 3, are near-duplicates."""
    fold = fit_classes.fit_classes(FitClasses(threshold=0.1), texts=TEXTS)
    ends = [sorted((IDS[a], IDS[b])) for a, b in ((0, 1), (2, 3))]
    made = [pa.array([e[0] for e in ends], row_id), pa.array([e[1] for e in ends], row_id), pa.array([1.0, 1.0], score)]
    fold.add(pa.table(made, names=["id_a", "id_b", "jaccard"]), 0)
    return fold.finish()


def pages():
    fold = index_documents.index_documents(IndexDocuments())
    fold.add(pa.table({
        "passage_id": pa.array(IDS, row_id), "doc_id": content_ids([f"page {PAGE[i]}" for i in IDS]),
        "title": pa.array([""] * len(IDS), text), "passage": pa.array(SAID, text),
    }), 0)  # fmt: skip
    return fold.finish()


CLASSES, PAGES = near_classes(), pages()
CLASS = {i: r for i, r in zip(IDS, CLASSES.of(pa.array(IDS, row_id)).to_pylist(), strict=True)}
CENTROIDS = Centroids(np.eye(4, 3, dtype=np.float32) + np.float32(0.1))
HALF = st.integers(0, 1)  # few strata, so that rows meet
ROW = st.tuples(st.integers(0, 13), st.lists(st.integers(0, 13), max_size=2), HALF, HALF, st.integers(0, 3))
ROWS = st.one_of(st.lists(ROW, max_size=6), st.lists(ROW, min_size=25, max_size=40))


def table_of(rows, echo=False):
    """(positive, negatives, source, cluster, label) a row; every fourth query is asked twice in another case, or says a passage."""
    said = [f"QUERY {i - 1}" if i % 4 == 3 else f"query {i}" for i in range(len(rows))]
    said = [SAID[i % 14].upper() + "  " if echo and i % 4 == 1 else one for i, one in enumerate(said)]
    return pa.table({
        "query_id": content_ids(said, [str(i) for i in range(len(rows))]), "query": pa.array(said, text),
        "positive_ids": pa.array([[IDS[r[0]]] for r in rows], ids),
        "negative_ids": pa.array([[IDS[n] for n in r[1] if KEY[IDS[n]] != KEY[IDS[r[0]]]] for r in rows], ids),
        "source": pa.array([f"s{r[2]}" for r in rows], text), "cluster": pa.array([r[3] for r in rows], pa.int32()),
        "label": pa.array([f"l{r[4]}" for r in rows], text), "hard": pa.array([r[0] / 7 for r in rows], score),
    }).sort_by("query_id")  # fmt: skip


def composed(table, p, cuts=(), **used):
    """The rows in the order of their positions, as `assign_batches` gives them, and the artifact."""
    folds = []
    edges = [0, *sorted(min(c, len(table)) for c in cuts), len(table)]
    for a, b in zip(edges, edges[1:], strict=False):
        folds.append(compose_batches(p, texts=TEXTS, **used))
        folds[-1].add(table.slice(a, b - a), 0)
    for later in folds[1:]:
        folds[0].merge(later)
    made = folds[0].finish()
    return apply(assign_batches, table, AssignBatches(), batches=made).table.sort_by("position").to_pylist(), made


def by_batch(rows):
    found = defaultdict(list)
    for row in rows:
        found[row["batch"]].append(row)
    return found


def clashes(batch, kinds, apart=()):
    """Everything that stands in a batch and must not: by brute force over its pairs of rows."""
    for i, a in enumerate(batch):
        for b in batch[:i]:
            if a["query"].casefold() == b["query"].casefold():
                yield "query"
            for one, other in ((a, b), (b, a)):
                if one["query"].casefold().strip() in {KEY[x] for x in (*other["positive_ids"], *other["negative_ids"])}:
                    yield "passage"
            yield from (name for name in apart if a[name] == b[name])
            for kind in kinds:
                own, theirs = ({kind[x] for x in r["positive_ids"]} for r in (a, b))
                if own & theirs:
                    yield "positive"
                if own & {kind[x] for x in b["negative_ids"]} or theirs & {kind[x] for x in a["negative_ids"]}:
                    yield "negative"


@settings(max_examples=120, deadline=None)
@given(
    ROWS, st.integers(1, 4), st.integers(1, 3), st.sampled_from(["drop", "short", "mix"]),
    st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["random", "greedy"]), st.integers(1, 2),
    st.sampled_from([0, 0.5, 1]), st.lists(st.integers(0, 40), max_size=2), st.booleans(),
)  # fmt: skip
def test_every_batch_and_every_rank_keeps_every_promise(rows, share, ranks, remainder, near, paged, labels, packing, epochs, mixed, cuts, echo):
    table, size = table_of(rows, echo), share * ranks
    used = {**({"classes": CLASSES} if near else {}), **({"documents": PAGES} if paged else {})}
    used |= {"centroids": CENTROIDS} if packing == "greedy" else {}
    by = ("source", "label", "cluster") if packing == "greedy" else ("source", "cluster")
    shard = {"ranks": ranks, "shard_rows": 3} if ranks > 1 else {}
    p = ComposeBatches(
        batch_size=size, remainder=remainder, apart=("label",) if labels and packing == "random" else (), by=by, packing=packing,
        stages=(Stage(epochs=epochs, mixed=mixed),), **shard,
    )  # fmt: skip
    placed, made = composed(table, p, **used)
    again, other = composed(table, p, cuts, **used)
    assert placed == again
    assert np.array_equal(made.position, other.position)
    batches = by_batch(placed)
    kinds = [KEY, *([CLASS] if near else []), *([PAGE] if paged else [])]
    for batch in batches.values():
        assert not list(clashes(batch, kinds, p.apart))
        assert len(batch) <= size
        assert len(batch) == size or (remainder == "short" and len(batch) % ranks == 0)
        assert len({(r["stage"], r["epoch"]) for r in batch}) == 1
        if not mixed:
            assert len({r["source"] for r in batch}) == 1
            if remainder != "mix":
                assert len({tuple(r[c] for c in by if c != "cluster" or packing == "random") for r in batch}) == 1
        assert len(set(Counter(r["rank"] for r in batch).values())) == 1, "ranks have unlike shares of a batch"
    often = Counter((r["epoch"], r["query_id"]) for r in placed)
    assert not often or max(often.values()) == 1, "twice in an epoch"
    if remainder == "short" and ranks == 1:
        assert len(placed) == epochs * len(rows)
    assert [b for b in sorted(batches)] == list(range(len(batches)))
    assert [batches[b][0]["epoch"] for b in sorted(batches)] == sorted(batches[b][0]["epoch"] for b in batches)
    _each_rank_reads_its_files_in_batch_order(placed, p, len(batches))
    told = measure_batches(made, p)
    assert told == {"batches": len(batches), "short batches": sum(len(b) < size for b in batches.values()), "rows in batches": len(placed)}


def _each_rank_reads_its_files_in_batch_order(placed, p, count):
    """Files are dealt to the ranks in turn, as `datasets.split_dataset_by_node` does."""
    files = defaultdict(list)
    for row in placed:
        files[row["position"] // (p.shard_rows or 1 << 30)].append(row)
    assert sorted(files) == list(range(len(files)))
    assert len(files) % p.ranks == 0
    read = [[r for f in sorted(files) if f % p.ranks == rank for r in files[f]] for rank in range(p.ranks)]
    assert len({len(one) for one in read}) == 1
    for rank, one in enumerate(read):
        assert {r["rank"] for r in one} <= {rank}
        assert [r["batch"] for r in one] == sorted(r["batch"] for r in one)
        assert {r["batch"] for r in one} == set(range(count))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(ROW, min_size=1, max_size=30), st.sampled_from([0, 0.5, 1]), st.one_of(st.none(), st.integers(1, 40)),
    st.sampled_from(["spread", "shrink", "repeat"]), st.integers(1, 3), st.one_of(st.none(), st.integers(1, 9)),
)  # fmt: skip
def test_a_mixture_has_its_shares_and_no_row_stands_twice_before_all_of_its_value(rows, alpha, size, shortfall, epochs, cap):
    if alpha == 1 and cap is None and (shortfall == "shrink" or (shortfall == "repeat" and size is None)):
        return
    stage = Stage(share="source", alpha=alpha, rows=size, shortfall=shortfall, epochs=epochs, cap=cap)
    placed, _ = composed(table_of(rows), ComposeBatches(batch_size=1, by=(), stages=(stage,)))
    counts = Counter(f"s{r[2]}" for r in rows)
    wanted = quotas(stage, counts)
    for epoch in range(epochs):
        assert Counter(r["source"] for r in placed if r["epoch"] == epoch) == Counter({v: n for v, n in wanted.items() if n})
    weights = {v: n**alpha for v, n in counts.items()}
    if cap is None and shortfall != "spread":  # shares hold, to a row
        total = sum(wanted.values())
        assert all(abs(wanted[v] - total * w / sum(weights.values())) < 1 + 1e-9 for v, w in weights.items())
    if cap is None and shortfall == "repeat" and size is None:
        assert all(wanted[v] >= n for v, n in counts.items())
    if shortfall != "repeat":
        assert all(wanted[v] <= min(n, cap or n) for v, n in counts.items())
    assert cap is None or max(wanted.values()) <= cap
    often = Counter(r["query_id"] for r in placed)
    for source in counts:
        times = [often[r["query_id"]] for r in table_of(rows).to_pylist() if r["source"] == source]
        assert max(times) - min(times) <= 1


def test_alike_shares_are_the_over_and_undersampling_of_few_shot_pairs():
    counts = {"a": 3, "b": 10, "c": 7}
    assert quotas(Stage(share="source", alpha=0, shortfall="repeat"), counts) == {"a": 10, "b": 10, "c": 10}
    assert quotas(Stage(share="source", alpha=0, shortfall="shrink"), counts) == {"a": 3, "b": 3, "c": 3}


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_realised_frequencies_are_those_of_the_mixture(alpha):
    from scipy.stats import chisquare

    counts = {"big": 100_000, "small": 2_500, "tiny": 400}
    found = quotas(Stage(share="source", alpha=alpha, rows=900, shortfall="spread" if alpha == 1 else "repeat"), counts)
    whole = sum(n**alpha for n in counts.values())
    assert chisquare([found[v] for v in counts], [900 * n**alpha / whole for n in counts.values()]).pvalue > 0.95


def test_retrieval_first_then_everything_mixed():
    rows = [(i % 12, [], i % 2, i % 3, 0) for i in range(60)]
    stages = (Stage(only={"source": ("s0",)}, epochs=2), Stage(mixed=1))
    placed, _ = composed(table_of(rows), ComposeBatches(batch_size=3, by=("source",), remainder="short", stages=stages))
    assert [r["stage"] for r in placed] == [0] * 60 + [1] * 60
    assert {r["source"] for r in placed if r["stage"] == 0} == {"s0"}
    assert any(len({r["source"] for r in b}) > 1 for b in by_batch(placed).values() if b[0]["stage"])
    first, second = ([r["query_id"] for r in placed if (r["stage"], r["epoch"]) == (0, e)] for e in (0, 1))
    assert sorted(first) == sorted(second) and first != second


def test_another_seed_and_another_stage_draw_other_rows_of_a_mixture():
    table = table_of([(i % 12, [], 0, 0, 0) for i in range(60)])

    def drawn(**seed):
        placed, _ = composed(table, ComposeBatches(batch_size=1, by=(), stages=(Stage(rows=20), Stage(rows=20)), **seed))
        return [{r["query_id"] for r in placed if r["stage"] == stage} for stage in (0, 1)]

    sets = [*drawn(), *drawn(seed=1)]
    assert [len(one) for one in sets] == [20] * 4
    assert all(sets[i] != sets[j] for i in range(4) for j in range(i))
    assert drawn() == sets[:2]


@pytest.mark.parametrize("mixed", [0, 0.25, 0.5, 1])
def test_the_share_that_is_mixed_is_exact(mixed):
    table = table_of([(i, [], 0, 0, 0) for i in range(12)]).append_column("kind", pa.array([f"k{i}" for i in range(12)], text))
    p = ComposeBatches(batch_size=64, by=("kind",), remainder="short", stages=(Stage(mixed=mixed, epochs=2),), negatives=False)
    for epoch in (0, 1):  # rows that are alike in nothing meet where they are mixed alone; three are asked twice
        batches = by_batch([r for r in composed(table, p)[0] if r["epoch"] == epoch]).values()
        alone = sum(len(b) for b in batches if len(b) == 1)
        assert 12 - alone <= 12 * mixed <= 12 - alone + 1, mixed


def test_difficulty_rises_or_falls_from_batch_to_batch():
    rows = [(i % 12, [], 0, 0, 0) for i in range(48)]
    for order, sign in (("rising", 1), ("falling", -1)):
        p = ComposeBatches(batch_size=4, by=(), order=order, difficulty="hard", remainder="short")
        found = by_batch(composed(table_of(rows), p)[0])
        means = [sign * sum(r["hard"] for r in found[b]) / len(found[b]) for b in sorted(found)]
        assert means == sorted(means) and means[0] < means[-1]


def test_length_is_that_of_the_longest_text_of_a_row():
    table = table_of([(i, [], 0, 0, 0) for i in range(12)])
    placed, _ = composed(table, ComposeBatches(batch_size=2, by=("length",), lengths=(len(SAID[10]),), remainder="short"))
    told = [{len(KEY[r["positive_ids"][0]]) for r in b} for b in by_batch(placed).values()]
    assert all(len(one) == 1 for one in told) and len({n for one in told for n in one}) == 2
    queries = ["q" * (10 if i % 2 else 400) + str(i) for i in range(12)]
    table = table.set_column(1, "query", pa.array(queries, text))
    placed, _ = composed(table, ComposeBatches(batch_size=3, by=("length",), lengths=(100,), remainder="short"))
    for batch in by_batch(placed).values():
        assert len({len(r["query"]) > 100 for r in batch}) == 1


def test_greedy_batches_run_on_into_the_nearest_cluster_alone():
    angles = np.array([0.0, 0.3, 0.6, 0.9])
    centroids = Centroids(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)[[2, 0, 3, 1]])
    rows = [((i + i // 4) % 12, [], 0, i % 4, 0) for i in range(40)]
    p = ComposeBatches(batch_size=4, by=("source", "cluster"), packing="greedy", negatives=False)
    found = by_batch(composed(table_of(rows), p, centroids=centroids)[0])
    assert len(found) == 10
    place = {0: 2, 1: 0, 2: 3, 3: 1}
    spread = [max(place[r["cluster"]] for r in b) - min(place[r["cluster"]] for r in b) for b in found.values()]
    assert sum(s <= 1 for s in spread) >= len(spread) - 2  # a walk that starts within turns back once
    p = ComposeBatches(batch_size=4, by=("source", "cluster"), negatives=False)
    assert len(by_batch(composed(table_of(rows), p)[0])) == 8  # ten rows a cluster: two of each are left over


@pytest.mark.parametrize(("params", "told"), [
    ({"by": ["source", "source"]}, "by names a column twice"),
    ({"by": ["length"]}, "length.* and lengths go together"),
    ({"lengths": [10]}, "length.* and lengths go together"),
    ({"by": ["length"], "lengths": [9, 9]}, "lengths do not rise"),
    ({"packing": "greedy", "by": ["source"]}, "put cluster into by"),
    ({"packing": "greedy", "order": "rising", "difficulty": "hard"}, "both say which rows meet"),
    ({"remainder": "mix", "by": ["source"]}, "by needs source and something more"),
    ({"remainder": "mix", "packing": "greedy"}, "by needs source and something more"),
    ({"order": "rising"}, "order and difficulty go together"),
    ({"difficulty": "hard"}, "order and difficulty go together"),
    ({"by": [], "stages": [{"mixed": 0.5}]}, "mixed does nothing where by is empty"),
    ({"ranks": 2}, "ranks above 1 and shard_rows go together"),
    ({"shard_rows": 9}, "ranks above 1 and shard_rows go together"),
    ({"ranks": 3, "shard_rows": 9}, "64 is no multiple of the 3 ranks"),
    ({"stages": []}, "at least 1 item"),
    ({"stages": [{"alpha": 0.5}]}, "alpha does nothing without share"),
    ({"stages": [{"cap": 5}]}, "cap does nothing without share"),
    ({"stages": [{"share": "source", "alpha": 0.5, "target": {"a": 1}}]}, "both say the shares"),
    ({"stages": [{"share": "source", "target": {"a": 0}}]}, "a share is above 0"),
    ({"stages": [{"share": "source", "caps": {"a": 0}}]}, "a cap is 1 at least"),
    ({"stages": [{"share": "source", "shortfall": "shrink"}]}, "does nothing where rows stand as they are"),
    ({"stages": [{"share": "source", "shortfall": "repeat"}]}, "does nothing where rows stand as they are"),
    ({"stages": [{"only": {"source": []}}]}, "only.source names no value"),
    ({"stages": [{"shares": "source"}]}, "Extra inputs"),
])  # fmt: skip
def test_what_would_do_nothing_is_refused(params, told):
    with pytest.raises(ValidationError, match=told):
        ComposeBatches(**params)


def test_centroids_are_given_where_they_are_walked_and_only_there():
    greedy = ComposeBatches(packing="greedy")
    assert "needs using: {centroids: STEP}" in _check(greedy, {ARTIFACTS: ["texts"]})[0]
    assert "do nothing where packing is random" in _check(ComposeBatches(), {ARTIFACTS: ["texts", "centroids"]})[0]
    assert _check(greedy, {ARTIFACTS: ["texts", "centroids"]}) == _check(ComposeBatches(), {ARTIFACTS: ["texts"]}) == []
    with pytest.raises(InputError, match="there is a cluster 3, but 2 centroids"):
        composed(table_of([(0, [], 0, 3, 0)]), greedy, centroids=Centroids(np.eye(2, dtype=np.float32)))


def test_a_target_without_rows_cannot_hold_its_shares():
    stage = Stage(share="source", target={"s0": 0.5, "s9": 0.5}, shortfall="repeat")
    with pytest.raises(InputError, match="no row has the source 's9' of a stage's target"):
        composed(table_of([(0, [], 0, 0, 0)]), ComposeBatches(stages=(stage,)))
    assert math.isclose(sum(stage.target.values()), 1)


@pytest.mark.parametrize(("stage", "told"), [
    ({"share": "source", "caps": {"scifct": 5}}, "target and caps of source: no row has 'scifct'; did you mean 'scifact'"),
    ({"only": {"source": ["scifct"]}}, "only.source: no row has 'scifct'; did you mean 'scifact'"),
])  # fmt: skip
def test_a_misspelt_value_is_refused_and_one_that_only_a_sample_lacks_is_not(stage, told):
    table = table_of([(0, [], 0, 0, 0), (1, [], 1, 0, 0)])
    table = table.set_column(table.column_names.index("source"), "source", pa.array(["scifact", "arguana"], text))
    with pytest.raises(InputError, match=told):
        composed(table, ComposeBatches(batch_size=1, stages=(Stage(**stage),), remainder="short"))
    known = Stage.model_validate({**stage, **({"caps": {"webis": 5}} if "caps" in stage else {"only": {"source": ["webis", "scifact"]}})})
    composed(table, ComposeBatches(batch_size=1, stages=(known,), remainder="short"))


def test_the_ranks_of_a_streaming_loader_read_the_files_of_the_set_as_they_are(tmp_path):
    import pyarrow.parquet as pq
    from datasets import load_dataset
    from datasets.distributed import split_dataset_by_node

    rows = [(i % 12, [], i % 2, 0, 0) for i in range(200)]
    table, p = table_of(rows), ComposeBatches(batch_size=4, ranks=2, shard_rows=10)
    placed, _ = composed(table, p)
    found = pa.Table.from_pylist(placed)
    shard = found["position"].to_numpy() // p.shard_rows
    for number in np.unique(shard):
        pq.write_table(found.filter(pa.array(shard == number)), tmp_path / f"train-{number:05d}.parquet")
    stream = load_dataset("parquet", data_files=str(tmp_path / "*.parquet"), split="train", streaming=True, cache_dir=str(tmp_path / "cache"))
    read = [[r["batch"] for r in split_dataset_by_node(stream, rank=rank, world_size=2)] for rank in range(2)]
    assert read[0] == read[1] == [b for b in range(len(placed) // 4) for _ in range(2)]
    assert len(placed) > 150
