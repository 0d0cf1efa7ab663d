"""Keep texts of good quality by the published rules, over the statistics that `measure_text` stored: limits move for free.

The limits are those printed in the papers: Gopher (arXiv:2112.11446, appendix A.1.1, table A1), C4 (arXiv:1910.10683, section
2.2; its sentences are of the lines that it keeps), FineWeb (arXiv:2406.17557, section 3.6). They were made for web pages of some
hundred words in English: for passages, titles or other languages move or turn off what does not fit.

Where datatrove's filters, which made FineWeb, are not the papers: they take from 0.01 of duplicate characters (the paper 0.1; set
``limits: {fineweb.duplicate_lines: 0.01}``), 5 sentences of 3 words for C4 (C4's own code 3 of 5, as here), and drop texts of
more than 0.3 line feeds a word, of which no paper tells: ``fineweb.line_breaks``. They cut punctuation from words, here it stays
on them and is none alone; divide repeated n-grams by all characters, here by those of words, which is stricter by the blanks;
count a most frequent n-gram that occurs once, here it is no repetition; look for "{" and lorem ipsum in lines that C4 keeps, here
in all, and for "}" too. C4 takes a line's end to be one of . ? ! "; here, as in datatrove, it is any script's, brackets and
quotes may follow it, and an ellipsis is one. A list's bullet is here a sign, or a hyphen, dash or asterisk with a blank behind
it; there any hyphen.
"""

import difflib
from collections.abc import Iterable
from typing import Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators.contract import Columns, Example, Outcome, Params, operator, score
from operators.filter_scores import Limit, within
from operators.measure_text import SHARES, STATISTICS, MeasureText, measure_text
from operators.measure_text import example as measured

Family = Literal["gopher", "repetition", "c4", "fineweb"]
_GOPHER = [
    ("gopher.min_words", "words", "at_least", 50), ("gopher.max_words", "words", "at_most", 100_000),
    ("gopher.min_mean_word_length", "mean_word_length", "at_least", 3),
    ("gopher.max_mean_word_length", "mean_word_length", "at_most", 10),
    ("gopher.symbol_ratio", "symbol_ratio", "at_most", 0.1), ("gopher.bullet_lines", "bullet_lines", "at_most", 0.9),
    ("gopher.ellipsis_lines", "ellipsis_lines", "at_most", 0.3), ("gopher.letter_words", "letter_words", "at_least", 0.8),
    ("gopher.stop_words", "stop_words", "at_least", 2),
]  # fmt: skip
_REPETITION = {
    "duplicate_lines": 0.3, "duplicate_paragraphs": 0.3, "duplicate_line_characters": 0.2, "duplicate_paragraph_characters": 0.2,
    "top_2gram": 0.2, "top_3gram": 0.18, "top_4gram": 0.16, "duplicate_5grams": 0.15, "duplicate_6grams": 0.14,
    "duplicate_7grams": 0.13, "duplicate_8grams": 0.12, "duplicate_9grams": 0.11, "duplicate_10grams": 0.1,
}  # fmt: skip
_C4 = [
    ("c4.sentences", "c4_sentences", "at_least", 3), ("c4.lorem_ipsum", "lorem_ipsum", "at_most", 0),
    ("c4.curly_brackets", "curly_brackets", "at_most", 0),
]  # fmt: skip
_FINEWEB = [
    ("fineweb.terminal_lines", "terminal_lines", "above", 0.12),
    ("fineweb.duplicate_lines", "duplicate_line_characters", "below", 0.1),
    ("fineweb.short_lines", "short_lines", "below", 0.67), ("fineweb.line_breaks", "line_breaks", "at_most", 0.3),
]  # fmt: skip
RULES: dict[str, Limit] = {
    name: Limit(name, column, side, limit, nan_passes=True)  # type: ignore[arg-type]
    for name, column, side, limit in [
        *_GOPHER, *((f"repetition.{name}", name, "at_most", limit) for name, limit in _REPETITION.items()), *_C4, *_FINEWEB,
    ]
}  # fmt: skip


class FilterQuality(Params):
    """Which rules, and their limits. A statistic that has no meaning for a text (NaN) rejects none."""

    families: tuple[Family, ...] = Field(default=("gopher", "repetition", "c4", "fineweb"), description="whose rules")
    without: tuple[str, ...] = Field(default=(), description="rules left out, as gopher.stop_words")
    limits: dict[str, float] = Field(default={}, description="rule: its limit in the published one's place")
    at_least: dict[str, float] = Field(default={}, description="statistic: the lowest that passes; rules of your own")
    at_most: dict[str, float] = Field(default={}, description="statistic: the highest that passes")

    @model_validator(mode="after")
    def every_name_acts(self) -> Self:
        """Refuse unknown names, rules that no family has, and a choice that leaves no rule."""
        of_families = [name for name in RULES if name.split(".")[0] in self.families]
        for field, names in (("without", self.without), ("limits", self.limits)):
            for name in names:
                if name not in RULES:
                    raise ValueError(f"{field}: there is no rule {name!r}{_hint(name, RULES)}")
                if name not in of_families:
                    raise ValueError(f"{field}: {name} does nothing where families lacks {name.split('.')[0]}")
        for name in self.limits:
            if name in self.without:
                raise ValueError(f"limits: {name} is left out; a limit of it does nothing")
        for field, own in (("at_least", self.at_least), ("at_most", self.at_most)):
            for name in own:
                if name not in STATISTICS:
                    raise ValueError(f"{field}: there is no statistic {name!r}{_hint(name, STATISTICS)}")
        if not self.rules:
            raise ValueError("no rule is left and every row passes: give families, at_least or at_most")
        return self

    @model_validator(mode="after")
    def every_limit_acts(self) -> Self:
        """Refuse limits that no text breaks, or that every one breaks."""
        for one in self.rules:
            top = 1.0 if one.column in SHARES else float("inf")
            least, most = one.passes(np.array([0, top], np.float32))
            if least == most:
                told = "no text breaks it" if least else "no text passes"
                raise ValueError(f"{one.reason}: {one.column} lies in 0..{top:g}, with the limit {one.limit:g} {told}; move it")
        for name in sorted(set(self.at_least) & set(self.at_most)):
            if self.at_least[name] > self.at_most[name]:
                raise ValueError(f"at_least.{name} is above at_most.{name}: no text lies between them")
        return self

    @property
    def rules(self) -> list[Limit]:
        """The rules in force, the families' first."""
        kept = [one for name, one in RULES.items() if name.split(".")[0] in self.families and name not in self.without]
        moved = [Limit(o.reason, o.column, o.side, self.limits.get(o.reason, o.limit), o.nan_passes) for o in kept]
        low = [Limit(f"min {name}", name, "at_least", limit, nan_passes=True) for name, limit in self.at_least.items()]
        high = [Limit(f"max {name}", name, "at_most", limit, nan_passes=True) for name, limit in self.at_most.items()]
        return moved + low + high


def _hint(word: str, among: Iterable[str]) -> str:
    names = sorted(among)
    close = difflib.get_close_matches(word, names, 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; there is {', '.join(names)}"


def _reads(p: FilterQuality) -> Columns:
    return dict.fromkeys(dict.fromkeys(one.column for one in p.rules), score)


@operator("map", version="2", reads=_reads, rows="fewer")
def filter_quality(table: pa.Table, p: FilterQuality) -> Outcome:
    """Rows that pass every rule; a reject names the first rule that it breaks, with the value of its statistic."""
    return within(table, p.rules)


def example() -> Example:
    """Four measured texts, of which the rules of repetition reject one, and a limit of our own the empty one."""
    table = measure_text(measured().table, MeasureText())
    return Example(table, FilterQuality(families=("repetition",), limits={"repetition.top_2gram": 0.5}, at_least={"words": 1}))
