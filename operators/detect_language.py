"""Detect the language of a text and how sure that is: the first of the gates behind a translation.

langid's naive Bayes over byte n-grams (Lui and Baldwin, ACL 2012), 97 languages, by py3langid: 5 MB, offline.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Example, Params, operator, score, text


class DetectLanguage(Params):
    """Which column, and the language that it should be in."""

    column: str = Field(default="passage", min_length=1)
    expected: str = Field(description="ISO 639-1 code, as de")
    among: tuple[str, ...] = Field(default=(), description="the codes that come into question; of a short text few are safer")


def _check(p: DetectLanguage, using: Mapping[str, Any]) -> list[str]:
    known = set(_identifier(()).nb_classes)
    faults = [
        f"detect_language: {c!r} is no language that can be detected; write an ISO 639-1 code, as de"
        for c in (p.expected, *p.among) if c not in known
    ]  # fmt: skip
    if not faults and p.among and p.expected not in p.among:
        faults = [f"detect_language: expected {p.expected!r} is not in among; add it"]
    return faults


@operator(
    "map", version="1", reads=lambda p: {p.column: text}, rows="same", check=_check,
    writes={"detected_lang": text, "lang_score": score},
)  # fmt: skip
def detect_language(table: pa.Table, p: DetectLanguage) -> pa.Table:
    """Add ``detected_lang`` and ``lang_score``, the probability of the expected language."""
    model, found = _identifier(p.among), []
    for value in table[p.column].to_pylist():
        ranked = dict(model.rank(value)) if any(map(str.isalpha, value)) else {}
        best = max(ranked, key=lambda c: (ranked[c], c)) if ranked else ""
        found.append((best, float(np.float32(ranked.get(p.expected, 0.0)))))
    wide = columns.put(table, "detected_lang", pa.array([code for code, _ in found], text))
    return columns.put(wide, "lang_score", pa.array([s for _, s in found], score))


@lru_cache(maxsize=4)
def _identifier(among: tuple[str, ...]) -> Any:
    from py3langid.langid import LanguageIdentifier

    model = LanguageIdentifier.from_model_file("data/model.npz.xz", norm_probs=True)
    if among:
        model.set_languages(list(among))
    return model


def example() -> Example:
    """Four texts: two in German, one in English, one without letters."""
    said = ["Der Hund schläft unter dem Tisch.", "The dog sleeps under the table.", "Eisen rostet im Regen sehr schnell.", "42"]
    return Example(pa.table({"passage": pa.array(said, text)}), DetectLanguage(expected="de"))
