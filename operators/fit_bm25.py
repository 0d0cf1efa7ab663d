"""Corpus-wide BM25 statistics: document frequencies, document count, lengths (Robertson & Zaragoza 2009).

They are held as an artifact, so that BM25 over any part of the corpus scores as over the whole of it.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators.columns import content_ids, slices
from operators.contract import Example, Params, operator, row_id, text
from operators.normal_form import normal

CJK = (  # kana and their extensions, Hangul, Han on three planes; 々〆〇 and the long vowel ー among them
    "\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_CJK_OR_WORD = re.compile(rf"(?P<cjk>[{CJK}]+)|(?:(?![{CJK}])\w)+")


class FitBm25(Params):
    """How texts become terms, and BM25's two constants (Lucene's defaults).

    ``english`` takes words of two letters and more, drops stop words and stems; ``stopwords`` and ``stemmer``
    switch either off. ``plain`` takes every word as it is. For scripts without spaces, ``bigrams`` takes every two
    characters, of whatever script; ``cjk`` those of runs of Chinese, Japanese and Korean only, and words elsewhere.
    """

    analyser: Literal["english", "plain", "bigrams", "cjk"] = "english"
    stopwords: Literal["en", "none"] = "en"
    stemmer: Literal["english", "none"] = "english"
    k1: float = Field(default=1.2, gt=0)
    b: float = Field(default=0.75, ge=0, le=1)

    @model_validator(mode="after")
    def _refines_english(self) -> Self:
        if self.analyser != "english" and "none" in (self.stopwords, self.stemmer):
            raise ValueError(f"stopwords and stemmer belong to analyser english; leave them out of {self.analyser}")
        return self


@lru_cache(maxsize=4)
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english")


def analyse(texts: Sequence[str], settings: FitBm25) -> list[list[str]]:
    """The terms of every text, in order."""
    if settings.analyser == "bigrams":
        folded = ["".join(t.lower().split()) for t in texts]
        return [[t[i : i + 2] for i in range(max(len(t) - 1, min(len(t), 1)))] for t in folded]
    if settings.analyser == "cjk":
        return [_cjk(t) for t in texts]
    import bm25s

    english = settings.analyser == "english"
    tokens = bm25s.tokenize(
        list(texts),
        stopwords="en" if english and settings.stopwords == "en" else None,
        stemmer=_stemmer() if english and settings.stemmer == "english" else None,
        token_pattern=r"(?u)\b\w\w+\b" if english else r"(?u)\b\w+\b",
        return_ids=False,
        show_progress=False,
    )
    return [list(t) for t in tokens]


def _cjk(given: str) -> list[str]:
    """Words as `plain` has them, and of a run of CJK characters its bigrams or its one character, as Lucene's CJKAnalyzer.

    No word is a stop word. Wide and narrow forms are one (NFKC, where Lucene folds widths alone).
    """
    terms = []
    for found in _CJK_OR_WORD.finditer(normal(given, "NFKC").lower()):
        run = found[0]
        cut = found.lastgroup == "cjk" and len(run) > 1
        terms += [run[i : i + 2] for i in range(len(run) - 1)] if cut else [run]
    return terms


def passage_texts(table: pa.Table) -> list[str]:
    """What BM25 reads of a passage: its title and itself."""
    return [f"{t} {p}".strip() for t, p in zip(table["title"].to_pylist(), table["passage"].to_pylist(), strict=True)]


class Bm25Statistics:
    """Term → document frequency, with the number of documents and of terms; also the fold that counts."""

    def __init__(self, settings: FitBm25, frequencies: Counter[str] | None = None, docs: int = 0, length: int = 0) -> None:
        self.settings, self.frequencies = settings, frequencies or Counter()
        self.docs, self.length = docs, length

    def add(self, table: pa.Table, turn: int) -> None:
        """Count one part."""
        for part in slices(table):
            for terms in analyse(passage_texts(part), self.settings):
                self.frequencies.update(set(terms))
                self.length += len(terms)
            self.docs += len(part)

    def remove(self, table: pa.Table) -> None:
        """Give back what was counted of these rows."""
        gone = Bm25Statistics(self.settings)
        gone.add(table, 0)
        self.frequencies.subtract(gone.frequencies)
        self.frequencies = +self.frequencies  # a term of no document is no term
        self.docs -= gone.docs
        self.length -= gone.length

    def merge(self, later: "Bm25Statistics") -> None:
        """Add the counts of later parts."""
        self.frequencies.update(later.frequencies)
        self.docs += later.docs
        self.length += later.length

    def finish(self) -> "Bm25Statistics":
        """The statistics are the fold itself."""
        return self

    @property
    def mean_length(self) -> float:
        """Terms a document."""
        return self.length / max(self.docs, 1)

    def save(self, folder: Path) -> None:
        """Terms as lines, sorted; counts beside them; the rest as JSON."""
        terms = sorted(self.frequencies)
        (folder / "terms.txt").write_text("\n".join(terms), encoding="utf-8")
        np.save(folder / "frequencies.npy", np.array([self.frequencies[t] for t in terms], np.int64), allow_pickle=False)
        value = {"docs": self.docs, "length": self.length, "settings": self.settings.model_dump()}
        (folder / "statistics.json").write_text(json.dumps(value, sort_keys=True))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        value = json.loads((folder / "statistics.json").read_text())
        terms = (folder / "terms.txt").read_text(encoding="utf-8").split("\n")
        counts = np.load(folder / "frequencies.npy", allow_pickle=False).tolist()
        found = Counter(dict(zip(terms, counts, strict=False)))
        return cls(FitBm25(**value["settings"]), found, value["docs"], value["length"])


@operator("build", version="1", holds=True, reads={"passage_id": row_id, "title": text, "passage": text})
def fit_bm25(p: FitBm25) -> Bm25Statistics:
    """One pass; memory grows with the vocabulary, not with the corpus."""
    return Bm25Statistics(p)


def example() -> Example:
    """Four short passages."""
    passages = ["ice melts in the sun", "iron rusts in the rain", "rain falls on ice", "the sun shines"]
    columns = {"title": pa.array([""] * 4, text), "passage": pa.array(passages, text)}
    table = pa.table({"passage_id": content_ids([""] * 4, passages), **columns})
    return Example(table, FitBm25())
