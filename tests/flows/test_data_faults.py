"""Faults of the user's files and models: one sentence each, exit status 2, nothing published."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main

FLOW = """
flow: faulty
steps:
  corpus: {{op: read_corpus, with: {{path: {path}{more}}}}}
  pairs: {{op: structural_pairs, from: corpus, max_rejected: 1, with: {{kinds: [title_body]}}}}
"""
DOC = {"_id": "1", "title": "A title of words", "text": "A body of some words that stands below its title."}


def jsonl(path, docs=(DOC,)):
    path.write_text("".join(json.dumps(d) + "\n" for d in docs))


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)


# name: (file, what writes it, more params, the sentence; {p} is the file)
FILES = {
    "missing": ("none.jsonl", lambda p: None, "", "{p}: no such file or folder; mend `path:`"),
    "unknown format": ("c.xyz", lambda p: p.write_text("x"), "",
        "{p}: its format cannot be told by its name; give format: parquet, jsonl, csv, tsv, text, html, pdf or python"),
    "broken parquet": ("c.parquet", lambda p: p.write_bytes(b"PAR1 nonsense"), "", "{p}: it is not a whole parquet file ("),
    "cut parquet": ("c.parquet", lambda p: (parquet(p, text=["a"] * 999), p.write_bytes(p.read_bytes()[:300])), "",
        "{p}: it is not a whole parquet file ("),
    "not gzip": ("c.jsonl.gz", lambda p: p.write_bytes(b"plain"), "", "{p}: it is not gzip, although its name says so"),
    "half a gzip": ("c.jsonl.gz", lambda p: p.write_bytes(gzip.compress(json.dumps(DOC).encode() * 900)[:-60]), "",
        "{p}: it ends early, its gzip is cut off; copy it again"),
    "no text column": ("c.parquet", lambda p: parquet(p, _id=["1"], txt=["a"]), "",
        "{p}: no column for the text; did you mean 'txt'?; name it with `columns: {{text: ...}}`"),
    "a column that is not there": ("c.parquet", lambda p: parquet(p, body=["a"]), ", columns: {text: bodi}",
        "{p}: no column 'bodi'; did you mean 'body'?; name it with `columns: {{text: ...}}`"),
    "an unknown role": ("c.jsonl", jsonl, ", columns: {txt: text}", None),
    "a wrong format": ("c.jsonl", jsonl, ", format: parket", None),
    "an empty folder": ("folder", lambda p: p.mkdir(), "", "{p}: it holds no file that can be read; mend `path:`"),
    "an empty corpus": ("c.jsonl", lambda p: p.write_text(""), "", "the input holds no rows; give another path"),
    "only empty texts": ("c.jsonl", lambda p: jsonl(p, [{"text": ""}] * 3), "",
        "every one of its 3 records was rejected, most as 'empty text'"),
    "only broken lines": ("c.jsonl", lambda p: p.write_text("{oops\n" * 3), "",
        "every one of its 3 records was rejected, most as 'not JSON'"),
    "an unknown dataset": ("none", lambda p: None, ", format: datasets", "`datasets` cannot load it"),
}  # fmt: skip


def test_where_no_row_came_this_far_the_step_that_took_them_is_named_and_the_funnel_is_shown(tmp_path, capsys):
    jsonl(tmp_path / "c.jsonl", [{"headline": "A headline", "text": f"Text number {i} has no title, whatever its headline says."} for i in range(3)])
    assert main(["run", "structural", "--set", f"corpus.path={tmp_path}/c.jsonl", "--store", str(tmp_path / "s"), "--workers", "0"]) == 2
    out, said = capsys.readouterr()
    assert said.strip().startswith("centroids: no row came this far: pairs let none of its 3 through, most as 'no title; no heading'; look")
    assert "pairs                   3        0         3" in out


@pytest.mark.parametrize("name", FILES)
def test_a_fault_of_a_file_is_one_sentence(name, tmp_path, capsys):
    file, write, more, sentence = FILES[name]
    path = tmp_path / file
    write(path)
    flow = tmp_path / "flow.yaml"
    flow.write_text(FLOW.format(path=path, more=more))
    assert main(["run", str(flow), "--store", str(tmp_path / "s"), "--workers", "0"]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said
    if sentence is not None:
        assert sentence.replace("{p}", str(path)).replace("{{", "{").replace("}}", "}") in said
    assert not (tmp_path / "s" / "datasets").exists()


MODELS = """
gone: {kind: encoder, backend: sentence-transformers, model: /nowhere/model, max_tokens: 128}
unpackaged: {kind: llm, backend: transformers-gguf, model: "package:no_such_package", max_tokens: 128}
"""
STEP = {
    "an unknown model": ("embed, from: corpus, using: {encoder: minilmm}", "did you mean 'minilm'?"),
    "a model of another kind": ("embed, from: corpus, using: {encoder: smollm2}", "'smollm2' of models.yaml is a llm, this needs a encoder"),
    "a model that is not there": ("embed, from: corpus, using: {encoder: gone}", "/nowhere/model"),
    "a package that is not there": ("generate_queries, from: corpus, using: {llm: unpackaged}", "no_such_package"),
    "a prompt that is not there": ("generate_queries, from: corpus, using: {llm: smollm2}, with: {prompts: {a: nowhere.md}}", "nowhere.md"),
    "a prompt without its place": ("generate_queries, from: corpus, using: {llm: smollm2}, with: {prompts: {a: bad.md}}", "{passage} exactly once"),
    "a margin that does nothing": ("select_negatives, from: corpus, using: {texts: texts}, with: {policy: window, rank_from: 3, margin: 0.1}",
        "margin does nothing under policy window: leave it out"),
}  # fmt: skip


@pytest.mark.parametrize("name", STEP)
def test_a_fault_of_a_model_or_a_prompt_is_named(name, tmp_path, capsys):
    step, words = STEP[name]
    jsonl(tmp_path / "c.jsonl")
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "bad.md").write_text("Ask something.")
    flow = tmp_path / "flow.yaml"
    flow.write_text(FLOW.format(path=tmp_path / "c.jsonl", more="") + f"  last: {{op: {step}}}\n")
    assert main(["run", str(flow), "--store", str(tmp_path / "s")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "s" / "steps").exists()


def mining(tmp_path, docs, *changes):
    pairs = tmp_path / "pairs.jsonl"
    jsonl(pairs, docs)
    sets = [x for c in (f"pairs.path={pairs}", *changes) for x in ("--set", c)]
    return main(["run", "mine", "--store", str(tmp_path / "s"), "--workers", "0", "--buckets", "1", *sets])


def test_more_clusters_than_rows_is_refused(tmp_path, capsys):
    docs = [{"query": f"what is {w}", "positive": f"{w} is a kind of thing"} for w in ("ice", "iron", "coal")]
    assert mining(tmp_path, docs, "negatives.max_rejected=1", "negatives.risk_weight=0", "centroids.clusters=50") == 2
    assert "clusters is 50, but there are" in capsys.readouterr().err
    assert not (tmp_path / "s" / "datasets").exists()


def test_a_corpus_of_one_document_publishes_nothing_and_says_where_its_row_went(tmp_path, capsys):
    assert mining(tmp_path, [{"query": "what melts", "positive": "Ice melts."}], "negatives.max_rejected=1", "centroids.clusters=1") == 2
    said = "centroids: no row came this far: negatives let none of its 1 through, most as 'no negative left'; look with"
    assert capsys.readouterr().err.strip() == f"{said} `pithead show FLOW negatives --rejects`"


def test_fewer_documents_than_top_k_is_no_fault(tmp_path):
    docs = [{"query": f"what about {w}", "positive": f"{w} is treated here at length"} for w in ("ice", "iron", "coal", "tea")]
    assert mining(tmp_path, docs, "negatives.max_rejected=1", "centroids.clusters=1", "negatives.risk_weight=0") in (0, 2)
    assert (tmp_path / "s" / "steps").exists()


def test_a_percentage_margin_on_logits_is_refused(tmp_path, capsys):
    from operators.engines.models import packaged, place

    folder = place(packaged("encoder").model)
    (tmp_path / "models.yaml").write_text(f"cross: {{kind: teacher, backend: cross-encoder, model: {folder}, max_tokens: 128}}\n")
    flow = tmp_path / "flow.yaml"
    from flows.config import CONFIGS

    mine = (CONFIGS / "flows" / "mine.yaml").read_text().replace("late-interaction", "cross")
    flow.write_text(mine.replace("policy: utility, risk_weight: 0.5", "policy: percentage, margin: 0.05"))
    jsonl(tmp_path / "pairs.jsonl", [{"query": "a query", "positive": "a text"}])
    assert main(["run", str(flow), "--store", str(tmp_path / "s")]) == 2
    assert "logit" in capsys.readouterr().err


TEACHERS = (
    "logits: {{kind: teacher, backend: cross-encoder, model: {folder}, max_tokens: 128}}\n"
    "shares: {{kind: teacher, backend: cross-encoder, model: {folder}, max_tokens: 128, activation: sigmoid}}\n"
)
SECOND = (
    "  judged: {{op: score_teacher, from: scored, using: {{teacher: {second}, texts: texts}}, with: {{scores: b, positives: b_of}}}}\n"
    "  risk:      {{op: score_false_negatives, from: judged,"
)


@pytest.mark.parametrize(("first", "second", "refused"), [("shares", "logits", False), ("logits", "shares", True)])
def test_the_teacher_that_a_margin_is_asked_of_is_the_one_whose_scores_are_read(tmp_path, first, second, refused):
    from flows.config import CONFIGS
    from flows.faults import FlowError
    from flows.flow import load
    from operators.engines.models import packaged, place

    (tmp_path / "models.yaml").write_text(TEACHERS.format(folder=place(packaged("encoder").model)))
    jsonl(tmp_path / "pairs.jsonl", [{"query": "a query", "positive": "a text"}])
    told = (CONFIGS / "flows" / "mine.yaml").read_text().replace("late-interaction", first)
    told = told.replace("  risk:      {op: score_false_negatives, from: scored,", SECOND.format(second=second))
    told = told.replace("{policy: utility, risk_weight: 0.5, negatives: 4}", "{policy: percentage}")
    (flow := tmp_path / "flow.yaml").write_text(told)
    faults = []
    try:
        load(flow)
    except FlowError as error:
        faults = error.faults
    assert [fault for fault in faults if "no meaning on a logit" in fault] == faults
    assert bool(faults) == refused


@pytest.mark.parametrize(("old", "new", "words"), [
    ("using: {documents: documents}, with: {top_k: 50, other_documents: true}", "with: {top_k: 50, other_documents: true}",
     "steps.dense: the search leaves a query's own documents out by both or neither: this step lacks using"),
    ("with: {top_k: 200, other_documents: true}", "with: {top_k: 200}",
     "steps.lexical: the search leaves a query's own documents out by both or neither: this step lacks with"),
    ("[dense_scores, bm25_scores, teacher_scores]", "[bm25_scores, dense_scores]", "steps.risk: score_false_negatives: no packaged weights"),
])  # fmt: skip
def test_what_cannot_act_is_told_before_a_corpus_is_embedded(tmp_path, capsys, old, new, words):
    from flows.config import CONFIGS

    told = (CONFIGS / "flows" / "mine.yaml").read_text()
    assert old in told
    (flow := tmp_path / "flow.yaml").write_text(told.replace(old, new))
    jsonl(tmp_path / "pairs.jsonl", [{"query": "a query", "positive": "a text"}])
    assert main(["run", str(flow), "--store", str(tmp_path / "s")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "s" / "steps").exists()
