"""Collections with judged queries, and the steps that rank one exactly: untouched, by BM25, by students.

A collection is a BEIR folder, or a folder with corpus, queries and qrels as parquet files; another file of judgements is
named by its own path. Documents are ranked whole; those that say the same are one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operators import formats
from operators.contract import InputError
from operators.fit_bm25 import CJK

Steps = dict[str, dict[str, Any]]
TOP_K = 100  # recall is asked that deep
_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".tsv")
_PASSAGE = ["passage_id", "title", "passage"]
_HEAD = 200  # documents that tell the script of a corpus


@dataclass(frozen=True)
class Collection:
    """Where its files are, what it is called, and how its texts become terms."""

    name: str
    corpus: Path
    queries: Path
    qrels: Path
    analyser: str


def collection_of(given: str) -> Collection:
    """The collection of a folder, or of a file of judgements in one; `InputError` says what is missing."""
    path = Path(given).expanduser().absolute()
    if path.is_file():
        folder = path.parent.parent if path.parent.name == "qrels" else path.parent
    else:
        folder, path = path, path / "qrels"
    if not folder.is_dir():
        raise InputError(f"--on {given}: no such folder; give one with corpus, queries and qrels")
    found = {part: _file(folder, part, given) for part in ("corpus", "queries")}
    qrels = path if path.is_file() else _qrels(folder, given)
    name = re.sub(r"[^A-Za-z0-9_]", "-", folder.name)
    return Collection(name, found["corpus"], found["queries"], qrels, _analyser(found["corpus"]))


def _file(folder: Path, part: str, given: str) -> Path:
    file = next((folder / f"{part}{s}" for s in _SUFFIXES if (folder / f"{part}{s}").is_file()), None)
    if file is None:
        raise InputError(f"--on {given}: it has no {part}.parquet and no {part}.jsonl; give corpus, queries and qrels")
    return file


def _qrels(folder: Path, given: str) -> Path:
    if not (folder / "qrels").is_dir():
        return _file(folder, "qrels", given)
    if (folder / "qrels" / "test.tsv").is_file():
        return folder / "qrels" / "test.tsv"
    splits = sorted(p.name for p in (folder / "qrels").iterdir())
    raise InputError(f"--on {given}: qrels has no test.tsv but {', '.join(splits) or 'nothing'}; name one of them by its path")


def _analyser(corpus: Path) -> str:
    """``cjk`` where a fifth of the first documents' letters are, else ``english``."""
    batch = next(iter(formats.read(corpus, formats.kind_of(corpus, "auto"))), None)
    said = "".join(v for c in (batch.columns.values() if batch else ()) for v in c[:_HEAD] if isinstance(v, str))
    return "cjk" if 5 * len(re.findall(f"[{CJK}]", said)) > len(said) > 0 else "english"


def judged(c: Collection) -> Steps:
    """Its documents, its judged queries and BM25's rankings of them, scored."""
    n, bm25 = c.name, {"collection": c.name, "arm": "bm25", "ids": "bm25_ids", "scores": "bm25_scores"}
    known, ids = {"passages": f"{n}-docs", "queries": f"{n}-ids"}, {"id": "query_id", "carry": ["query"]}
    lexical = step("retrieve_bm25", f"{n}-judged", {"top_k": TOP_K}, using={"statistics": f"{n}-terms"})
    return {
        f"{n}-corpus": {"op": "read_corpus", "with": {"path": str(c.corpus), "source": n}, "max_rejected": 0.1},
        f"{n}-whole": step("split_passages", f"{n}-corpus", {"max_words": None, "min_words": 1}, max_rejected=0.1),
        f"{n}-unique": step("drop_duplicates", f"{n}-whole", {"key": "passage_id"}, keep=_PASSAGE, max_rejected=1),
        f"{n}-queries": {"op": "read_queries", "with": {"path": str(c.queries), "source": n}, "max_rejected": 0.1},
        f"{n}-qrels": {"op": "read_qrels", "with": {"path": str(c.qrels), "source": n}, "max_rejected": 1},
        f"{n}-docs": step("index_ids", f"{n}-whole", {"id": "passage_id"}),
        f"{n}-ids": step("index_ids", f"{n}-queries", ids),
        f"{n}-resolved": step("resolve_qrels", f"{n}-qrels", {}, using=known, max_rejected=0.5),
        f"{n}-judged": step("group_judgements", f"{n}-resolved", {}, max_rejected=1),
        f"{n}-terms": step("fit_bm25", f"{n}-unique", {"analyser": c.analyser}),
        f"{n}-lexical": {**lexical, "against": f"{n}-unique"},
        scored(c, "bm25", 0): step("score_rankings", f"{n}-lexical", bm25),
    }


def ranked(c: Collection, arm: str, seed: int, encoder: str) -> Steps:
    """What an encoder, a key of models.yaml or a step, ranks: every document against every judged query, scored."""
    n, at = c.name, f"{c.name}-{arm}-{seed}"
    return {
        f"{at}-vectors": step("embed", f"{n}-unique", {"column": "passage"}, keep=["passage_id"], using={"encoder": encoder}),
        f"{at}-asked": step(
            "embed", f"{n}-judged", {"column": "query"}, keep=["query_id", "judged_ids", "grades"], using={"encoder": encoder}
        ),
        f"{at}-found": {**step("retrieve_dense", f"{at}-asked", {"top_k": TOP_K}), "against": f"{at}-vectors"},
        scored(c, arm, seed): step("score_rankings", f"{at}-found", {"collection": n, "arm": arm, "seed": seed}),
    }


def scored(c: Collection, arm: str, seed: int) -> str:
    """The step that has an arm's scores."""
    return f"{c.name}-{arm}-{seed}-scored"


def tests_of(c: Collection) -> Steps:
    """Its judged queries as texts of an evaluation, which no training row may repeat."""
    return {f"{c.name}-tests": step("list_texts", f"{c.name}-judged", {"columns": ["query"], "carry": ["source", "source_id"]})}


def step(op: str, above: str | list[str], params: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A step as a flow has it."""
    return {"op": op, "from": above, "with": {**params}, **more}
