"""Detect the language of a text, how sure that is, and where asked how much of it is in that language.

ELD (eldc, C, Apache-2.0, 60 languages, offline: n-grams of bytes) beat langid (py3langid, 97 languages; Lui and Baldwin 2012),
fastText's lid.176.ftz, lingua, CLD2, CLD3 and heliport on the 18 languages of debian_pkgdesc_i18n: of the titles it gets 95.5 %
(langid 88.9, fastText 90.7, lingua 89.4), of the texts all, 25 times as fast as langid.
All numbers: tests/bench/results/language.json.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.contract import Columns, Example, Params, operator, score, text, texts
from operators.sentences import sentences

Ranked = dict[str, float]
# Odds to this power: of 1 to 8 the one whose confidence on debian_pkgdesc_i18n's titles lies nearest to its accuracy (0.950 for
# 0.956), with next to the least log loss; on xquad's queries 0.963 for 0.990.
_SHARP = 6
_READ, _WINDOWS = 1000, 8  # characters that ELD reads of a text; pieces of a longer one whose odds are averaged


class DetectLanguage(Params):
    """Which column, and the language that it should be in."""

    column: str = Field(default="passage", min_length=1)
    expected: str = Field(default="", description="ISO 639-1 code, as de; empty: whichever is detected")
    among: tuple[str, ...] = Field(default=(), description="the codes that come into question; of a short text few are safer")
    identifier: Literal["eld", "langid"] = Field(default="eld", description="eld tells 60 languages, langid 97 less surely")
    segment_chars: int | None = Field(
        default=None, ge=10, description="whole documents: sentences, joined up to this length, are told one by one; 80 does"
    )


    @model_validator(mode="after")
    def something_is_left_to_detect(self) -> Self:
        """Refuse one language among which every text is, and languages named twice."""
        if len(self.among) == 1 or len(set(self.among)) < len(self.among):
            raise ValueError("among names each language once, and at least two: of one, every text would be")
        return self


def _check(p: DetectLanguage, using: Mapping[str, Any]) -> list[str]:
    other = "langid" if p.identifier == "eld" else "eld"
    known, faults = languages(p.identifier), []
    for code in (p.expected, *p.among):
        if code and code not in known:
            mend = f"set identifier: {other}" if code in languages(other) else "write an ISO 639-1 code, as de"
            faults.append(f"detect_language: {code!r} is no language that {p.identifier} can detect; {mend}")
    if not faults and p.among and p.expected and p.expected not in p.among:
        faults = [f"detect_language: expected {p.expected!r} is not in among; add it"]
    return faults


def _writes(p: DetectLanguage) -> Columns:
    wide: Columns = {"detected_lang": text, "lang_score": score}
    return {**wide, "lang_share": score, "langs": texts} if p.segment_chars else wide


@operator(
    "map", version="3", reads=lambda p: {p.column: text}, rows="same", check=_check, writes=_writes,
    libraries=lambda p: ["eldc" if p.identifier == "eld" else "py3langid"],
)  # fmt: skip
def detect_language(table: pa.Table, p: DetectLanguage) -> pa.Table:
    """Add ``detected_lang`` (empty without letters) and ``lang_score``, in [0, 1], of the expected language or the detected one.

    With ``segment_chars`` also ``langs``, the languages of the segments, that of most characters first, and ``lang_share``, the
    share of the characters whose segment is in the expected language or, without one, in the first of ``langs``.
    """
    rank = _ranker(p.identifier, tuple(sorted(set(p.among))))
    found: list[tuple[str, float, float, list[str]]] = []
    for part in columns.slices(table.select([p.column])):
        for value in part[p.column].to_pylist():
            ranked = rank(value)
            best = _best(ranked)
            shares = _shares(value, p.segment_chars, rank) if p.segment_chars else {}
            langs = sorted(shares, key=lambda c: (-shares[c], c))
            wanted = p.expected or (langs[0] if langs else "")
            found.append((best, ranked.get(p.expected or best, 0.0), shares.get(wanted, 0.0), langs))
    made = list(zip(*found, strict=True)) or [(), (), (), ()]
    wide = table
    for (name, kind), values in zip([*_writes(p).items()], made[: len(_writes(p))], strict=True):
        wide = columns.put(wide, name, pa.array(values, kind))
    return wide


def _best(ranked: Ranked) -> str:
    return max(ranked, key=lambda c: (ranked[c], c)) if ranked else ""


def _shares(value: str, least: int, rank: Callable[[str], Ranked]) -> Ranked:
    """The share of characters by the language of their segment; a last short one joins that before it."""
    cuts: list[int] = []
    start = 0
    for _, end in sentences(value):
        if end - start >= least:
            cuts.append(end)
            start = end
    ends = [*cuts[:-1], len(value)] if cuts and len(value) - cuts[-1] < least else [*cuts, len(value)]
    sizes: dict[str, int] = {}
    for start, end in zip([0, *ends], ends, strict=False):
        if best := _best(rank(value[start:end])):
            sizes[best] = sizes.get(best, 0) + end - start
    total = sum(sizes.values())
    return {code: size / total for code, size in sizes.items()}


def languages(identifier: str) -> list[str]:
    """The codes that an identifier tells apart."""
    if identifier == "eld":
        import eldc

        return sorted(eldc.LANGUAGES)
    return sorted(_langid(()).nb_classes)


def _ranker(identifier: str, among: tuple[str, ...]) -> Callable[[str], Ranked]:
    """Text → each language that comes into question and how sure it is; a text without letters has none."""
    if identifier == "eld":
        details = _eld(among).detect_details

        def told(value: str) -> Ranked:
            # It reads up to the first zero byte.
            return _mean([_normal(details(one.replace("\0", " ")).scores) for one in _windows(value)])

        return told
    model = _langid(among)
    return lambda value: dict(model.rank(value)) if any(map(str.isalpha, value)) else {}


def _windows(value: str) -> list[str]:
    """A text, or of a long one pieces from its start to its end: of a page's first 1,000 characters many are its banner's."""
    if len(value) <= _READ:
        return [value]
    count = min(-(-len(value) // _READ), _WINDOWS)
    starts = [(len(value) - _READ) * i // (count - 1) for i in range(count)]
    return [value[start : start + _READ] for start in starts]


def _mean(found: list[Ranked]) -> Ranked:
    """Of those that tell anything."""
    said = [one for one in found if one]
    if len(said) < 2:
        return said[0] if said else {}
    codes = dict.fromkeys(code for one in said for code in one)
    return {code: sum(one.get(code, 0.0) for one in said) / len(said) for code in codes}


def _normal(scores: Ranked) -> Ranked:
    """ELD's scores, each in [0, 1] by itself and high for all relatives of a language, as probabilities that add up to 1."""
    odds = {code: (value / max(1 - value, 1e-6)) ** _SHARP for code, value in scores.items() if value > 0}
    total = sum(odds.values())
    return {code: one / total for code, one in odds.items()}


@lru_cache(maxsize=4)
def _eld(among: tuple[str, ...]) -> Any:
    import eldc

    eldc.init()
    model = eldc.instance()
    model.set_scores(eldc.MAX_SCORES)
    if among:
        model.set_languages(list(among))
    return model


@lru_cache(maxsize=4)
def _langid(among: tuple[str, ...]) -> Any:
    from py3langid.langid import LanguageIdentifier

    model = LanguageIdentifier.from_model_file("data/model.npz.xz", norm_probs=True)
    if among:
        model.set_languages(list(among))
    return model


def example() -> Example:
    """Five texts: two in German, one in English, one without letters, one in two languages."""
    said = ["Der Hund schläft unter dem Tisch.", "The dog sleeps under the table.", "Eisen rostet im Regen sehr schnell.", "42"]
    said.append("Die Katze liegt den ganzen Tag auf dem Sofa. She does not like to be woken up by anyone.")
    return Example(pa.table({"passage": pa.array(said, text)}), DetectLanguage(expected="de", segment_chars=20))
