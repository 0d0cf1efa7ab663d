"""Choose anchors for a teacher, so that its score of any pair follows from few: CUR (ANNCUR, arXiv:2210.12579, section 3).

Of the matrix of all scores, queries by passages, keep the columns of some anchor passages and the rows of some anchor
queries: S ≈ C · U⁺ · R, where U is what both have in common. So a query is C · U⁺, a passage is R, and a search over dot
products finds what the teacher would have scored highest (`embed_by_teacher`, then `retrieve_dense`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import indexed
from operators.contract import Columns, Example, InputError, Params, ids, operator, row_id, text
from operators.engines.teacher import CALLS, Teacher
from operators.index_texts import Texts

Array = np.ndarray[Any, Any]
_SAMPLE = 4  # scores that tell one teacher from another
_TEXTS, _LINK = "anchors.json", "link.npy"


class FitAnchors(Params):
    """How many anchors: a passage costs a teacher's call for each query among them, a query one for each passage."""

    queries: int = Field(default=100, ge=1, description="anchor queries, the first by id, which is a hash: a fair draw")
    passages: int = Field(default=200, ge=1, description="anchor passages, of those that the rows list")
    ids: str = Field(default="positive_ids", min_length=1, description="the column that lists them")
    cutoff: float = Field(default=0.01, ge=0, lt=1, description="singular values below this share of the largest count as noise")


class Anchors:
    """The texts of the anchors, U⁺: (passages, queries) float64, and the first few scores, by which the teacher is known."""

    def __init__(self, queries: list[str], passages: list[str], link: Array, sample: list[float]) -> None:
        self.queries, self.passages, self.link, self.sample = queries, passages, link, sample

    def check(self, teacher: Teacher) -> None:
        """Raise an `InputError` where another teacher chose these anchors: its numbers would mean nothing here."""
        found = teacher.score(self.queries[:1] * len(self.sample), self.passages[: len(self.sample)])
        if not np.allclose(found, self.sample, rtol=0.01, atol=0.01):
            raise InputError("embed_by_teacher: the anchors are another teacher's; use the one that fit_anchors used")

    def save(self, folder: Path) -> None:
        """Two files."""
        said = {"queries": self.queries, "passages": self.passages, "sample": self.sample}
        (folder / _TEXTS).write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8", errors="surrogatepass")
        np.save(folder / _LINK, self.link, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        said = json.loads((folder / _TEXTS).read_text(encoding="utf-8", errors="surrogatepass"))
        return cls(said["queries"], said["passages"], np.load(folder / _LINK, allow_pickle=False), said["sample"])


class _Choosing:
    """The fold: the first queries and passages by id."""

    def __init__(self, p: FitAnchors, teacher: Teacher, texts: Texts) -> None:
        self.p, self._teacher, self._texts = p, teacher, texts
        self.queries: dict[str, None] = {}  # rows come in the order of their ids
        self.passages: list[bytes] = []

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        for part in columns.slices(table):
            for query in part["query"].to_pylist():
                if len(self.queries) < self.p.queries:
                    self.queries[query] = None
            _, listed = columns.flat(part[self.p.ids])
            self._keep(listed.unique().to_pylist())

    def merge(self, later: "_Choosing") -> None:
        """Take in the fold of later parts."""
        self.queries = dict.fromkeys(list(self.queries | later.queries)[: self.p.queries])
        self._keep(later.passages)

    def _keep(self, more: list[bytes]) -> None:
        self.passages = sorted({*self.passages, *more})[: self.p.passages]

    def finish(self) -> Anchors:
        """Score every anchor query with every anchor passage."""
        if not self.queries or not self.passages:
            raise InputError(f"fit_anchors: no row has a query and {self.p.ids}; give it rows behind a search, or with positives")
        queries, passages = list(self.queries), self._texts.take(pa.array(self.passages, row_id)).to_pylist()
        both = scored(self._teacher, queries, passages)
        if not np.isfinite(both).all():
            raise InputError("fit_anchors: the teacher's score of an anchor is not finite; score_teacher shows of which, drop it")
        link = np.linalg.pinv(both.astype(np.float64), rcond=self.p.cutoff)
        return Anchors(queries, passages, link, both[0, :_SAMPLE].tolist())


def scored(teacher: Teacher, queries: list[str], passages: list[str]) -> Array:
    """The teacher's score of every query with every passage: (queries, passages) float32."""
    asked, told = [q for q in queries for _ in passages], [d for _ in queries for d in passages]
    return teacher.score(asked, told).reshape(len(queries), len(passages))


def no_llm(p: Params, using: Mapping[str, Any]) -> list[str]:
    """Why a teacher that asks an LLM is refused: each passage is scored with every anchor."""
    if "teacher" not in using or using["teacher"].backend not in CALLS:
        return []
    return ["anchors are scored with every passage, too many calls of an LLM; name a cross-encoder or late interaction"]


def _reads(p: FitAnchors) -> Columns:
    return {"query": text, p.ids: ids}


@operator("build", version="2", reads=_reads, check=no_llm)
def fit_anchors(p: FitAnchors, *, teacher: Teacher, texts: Texts) -> _Choosing:
    """One pass; equal whatever the cut, as the anchors are chosen by id."""
    return _Choosing(p, teacher, texts)


def example() -> Example:
    """Three queries and their passages, with the packaged teacher."""
    from operators.engines import load_model, packaged

    key, texts = indexed(["iron rusts in rain", "owls hunt at night", "bread needs yeast"])
    table = pa.table({
        "query": pa.array(["why does iron rust", "when do owls hunt", "what makes bread rise"], text),
        "positive_ids": pa.array([[k] for k in key], ids),
    })  # fmt: skip
    used = {"teacher": load_model("teacher", packaged("teacher")), "texts": texts}
    return Example(table, FitAnchors(queries=2, passages=3), used)
