"""The law: after any edits a refreshed set is, byte for byte, a full rebuild with the same kept answers and held artifacts.

On every shipped flow. Documents come, go and change, files are re-ordered and cut anew, params and policies change.
"""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cluster.local_engine import LocalEngine
from cluster.store import Store
from cluster.task import Bench, StepFailed
from flows.config import find_flow, read_config
from flows.flow import load
from flows.plan import plan
from flows.run import run
from operators import python_docs
from operators.contract import InputError

DOCS = [(t, d) for _, t, d in python_docs.docs() if 60 < len(d) < 500 and ". " in d][::7][:40]
STATIC = ["vectors.using.encoder=static", "asked.using.encoder=static"]
HELD = ["centroids.refit=never"]
EDIT = st.tuples(
    st.sets(st.integers(0, 39), min_size=1, max_size=5),  # documents that come, or go where they are
    st.sets(st.integers(0, 39), max_size=3),  # documents that change
    st.permutations(range(3)), st.integers(1, 3),  # the order of lines, and files
    st.booleans(), st.booleans(), st.sampled_from([2, 4, 5]),  # params, held, buckets
)  # fmt: skip


def jsonl(path: Path, rows: list[dict], files: int = 1) -> None:
    """The rows as a file, or as a folder of several."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    for i in range(files):
        (path / f"{i}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[i::files]))


def corpus(home: Path, docs: dict[int, str], files: int) -> None:
    jsonl(home / "corpus", [{"_id": f"d{i}", "title": DOCS[i][0], "text": text} for i, text in docs.items()], files)


def titled(home: Path, docs: dict[int, str], files: int) -> None:
    said = {i: text.split(". ", 1) for i, text in docs.items()}
    jsonl(home / "corpus", [{"_id": f"d{i}", "title": first, "text": rest} for i, (first, rest) in said.items()], files)


def pairs(home: Path, docs: dict[int, str], files: int) -> None:
    corpus(home, docs, files)
    jsonl(home / "pairs", [{"query": DOCS[i][1].split(". ")[0], "positive": text, "title": DOCS[i][0]} for i, text in docs.items() if i % 3])


def labels(home: Path, docs: dict[int, str], files: int) -> None:
    jsonl(home / "labels", [{"text": text, "label": f"l{i % 3}"} for i, text in docs.items()], files)


def relations(home: Path, docs: dict[int, str], files: int) -> None:
    corpus(home, docs, files)
    edges = [f"d{i},d{j}\n" for i in docs for j in docs if i < j and (i * j) % 4 == 1]
    (home / "edges.csv").write_text("from,to\n" + "".join(edges))


def bitext(home: Path, docs: dict[int, str], files: int) -> None:
    jsonl(home / "left", [{"_id": f"a{i}", "text": text.split(". ")[0]} for i, text in docs.items()], files)
    jsonl(home / "right", [{"_id": f"b{i}", "text": text} for i, text in docs.items() if i % 5])


def beir(home: Path, docs: dict[int, str], files: int) -> None:
    folder = home / "beir"
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"_id": f"d{i}", "title": DOCS[i][0], "text": text}) for i, text in docs.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    asked = [i for i in docs if i % 2]
    told = [json.dumps({"_id": f"q{i}", "text": DOCS[i][1].split(". ")[0]}) for i in asked]
    (folder / "queries.jsonl").write_text("\n".join(told) + "\n")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in asked))


# flow: (writes the files, where they lie, for small sets, a change of params, what may be held, examples)
MINE = ["negatives.negatives=2", "negatives.risk_weight=0.2", "dense.top_k=7"]
FLOWS = {
    "structural": (titled, ["corpus.path=corpus"], ["batches.batch_size=4", "pairs.min_passage_words=3"],
                   ["pairs.min_passage_words=8"], HELD, 2),
    "labels": (labels, ["labelled.path=labels"], ["batches.batch_size=4"], ["pairs.negatives=2"], HELD, 2),
    "binary": (labels, ["labelled.path=labels"], ["batches.batch_size=4"], ["named.negatives=2"], HELD, 2),
    "relations": (relations, ["corpus.path=corpus", "edges.path=edges.csv"], ["batches.batch_size=4"], ["asking.most=1"], HELD, 2),
    "bitext": (bitext, ["left.path=left", "right.path=right"], ["ours.using.encoder=static", "theirs.using.encoder=static"],
               ["forth.top_k=3", "back.top_k=3"], HELD, 1),
    "curate": (corpus, ["corpus.path=corpus"], [], ["language.at_least={lang_score: 0.8}"], [], 1),
    "mine": (pairs, ["pairs.path=pairs", "corpus.path=corpus"], [*STATIC, "batches.batch_size=4"], MINE, [*HELD, "terms.refit=never"], 1),
    "remine": (pairs, ["pairs.path=pairs", "corpus.path=corpus"],
               ["batches.batch_size=4", "vectors_now.using.encoder=static", "asked_now.using.encoder=static"], MINE,
               [*HELD, "terms.refit=never"], 1),
    "beir": (beir, ["corpus.path=beir", "queries.path=beir", "qrels.path=beir"], [*STATIC, "batches.batch_size=4"], MINE,
             [*HELD, "terms.refit=drift>0.5"], 1),
    "quickstart": (corpus, ["corpus.path=corpus"],
                   [*STATIC, "centroids.clusters=1", "chosen.share=0.25", "queries.per_passage=1", "batches.batch_size=4"], MINE,
                   [*HELD, "terms.refit=never"], 1),
}  # fmt: skip


def go(name: str, sets: list[str], store: Store, buckets: int) -> dict[str, bytes] | str:
    """The files of what was published, but the manifest and the card, which tell the day of nothing; or why there is none."""
    try:
        ran = run(load(find_flow(name), sets), Bench(store, LocalEngine(0), buckets))
    except (StepFailed, InputError) as error:
        return str(error).split(";")[0]
    found = [home for home in (ran.published, *ran.beside) if home]
    return {f"{home}/{n}": store.read(f"{home}/{n}") for home in found for n in store.names(home) if n.endswith(".parquet")}


def kept(name: str, sets: list[str], store: Store, fresh: Store) -> None:
    """Give the rebuild what models answered and the artifacts that are held."""
    folders = ["ledger", "held", *(p.task.home for p in plan(load(find_flow(name), sets), store) if p.held)]
    for folder in folders:
        if (store.local / folder).is_dir():
            shutil.copytree(store.local / folder, fresh.local / folder, dirs_exist_ok=True)


@pytest.mark.parametrize("name", FLOWS)
def test_a_refreshed_set_is_a_full_rebuild_byte_for_byte(name, tmp_path_factory, monkeypatch):
    write, paths, small, params, held, examples = FLOWS[name]
    config = read_config(find_flow(name))
    limits = [f"{step}.max_rejected=1" for step in config.steps]
    clusters = ["centroids.clusters=2"] if "centroids" in config.steps else []

    @settings(max_examples=examples, deadline=None, phases=[Phase.explicit, Phase.generate])
    @given(st.sets(st.integers(0, 39), min_size=20, max_size=28), st.lists(EDIT, min_size=1, max_size=2))
    def law(first, edits):
        home = tmp_path_factory.mktemp(name)
        monkeypatch.chdir(home)
        store, docs = Store(str(home / "s")), {i: DOCS[i][1] for i in sorted(first)}
        base = [*limits, *clusters, *small, *(f"{key}={home / path}" for key, _, path in (p.partition("=") for p in paths))]
        write(home, docs, 1)
        assert isinstance(go(name, [*base, *held], store, 4), dict)
        for number, (toggled, altered, order, files, changed, holds, buckets) in enumerate(edits):
            for i in sorted(toggled):
                docs = {k: v for k, v in docs.items() if k != i} if i in docs else {**docs, i: DOCS[i][1]}
            docs = {i: text + f" It was changed in turn {number}." * (i in altered) for i, text in docs.items()}
            docs = dict(sorted(docs.items(), key=lambda x: (order[x[0] % 3], x[0])))
            write(home, docs, files)
            sets = [*base, *(params if changed else []), *(held if holds else [])]
            fresh = Store(str(home / f"fresh{number}"))
            refreshed = go(name, sets, store, buckets)
            kept(name, sets, store, fresh)
            assert refreshed == go(name, sets, fresh, 3)

    law()
