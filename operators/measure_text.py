r"""Measure a text once, so that the rules of Gopher, C4 and FineWeb are cheap limits over stored numbers (`filter_quality`).

Gopher: Rae et al., arXiv:2112.11446, appendix A.1.1; C4: Raffel et al., arXiv:1910.10683, section 2.2; FineWeb: Penedo et al.,
arXiv:2406.17557, section 3.6; where a paper leaves it open as its code counts (datatrove's filters, c4_utils of
tensorflow-datasets; `filter_quality` says where not). In scripts that set no blanks (Japanese, Chinese, Thai, Lao, Khmer,
Burmese) a letter is half a word, so an n-gram has 2n of them; what has no meaning in a text is NaN there, and no rule rejects it.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators import columns
from operators.characters import class_counts
from operators.contract import Columns, Example, Params, operator, score, text
from operators.lines import (
    END,
    SENTENCE,
    c4_faults,
    counts,
    cuts,
    lengths,
    matches,
    ratio,
    split,
    sums,
    uncited,
    weights,
    words_of,
)
from operators.repeats import duplicate_share, repeats, top_share

Array = np.ndarray[Any, Any]
TOP, DUPLICATE = (2, 3, 4), (5, 6, 7, 8, 9, 10)  # words of an n-gram
STATISTICS = (
    "characters", "words", "mean_word_length", "symbol_ratio", "bullet_lines", "ellipsis_lines", "letter_words", "stop_words",
    "digit_ratio", "unreadable_ratio", "duplicate_lines", "duplicate_line_characters", "duplicate_paragraphs",
    "duplicate_paragraph_characters", *(f"top_{n}gram" for n in TOP), *(f"duplicate_{n}grams" for n in DUPLICATE),
    "terminal_lines", "short_lines", "line_breaks", "c4_sentences", "c4_lines", "lorem_ipsum", "curly_brackets",
)  # fmt: skip
SHARES = frozenset(STATISTICS) - {
    "characters", "words", "mean_word_length", "symbol_ratio", "stop_words", "line_breaks", "c4_sentences", "curly_brackets",
}  # fmt: skip  # lie in 0..1
ENGLISH = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher's
SHORT = 30  # FineWeb: a line of fewer characters is short
_NGRAM_WORDS = 1 << 20  # of a longer text the n-grams of so many words are looked at: Gopher takes none of over 100,000
_TRIMMED = "".join(map(chr, [*range(0x21, 0x30), *range(0x3A, 0x41), *range(0x5B, 0x61), *range(0x7B, 0x7F)])) + "«»“”‘’„…–—"
_BULLET = r"^(?:[•‣⁃◦▪▫■□●○∙·]|[-*–] )"


class MeasureText(Params):
    """Which column, and the words that Gopher's rule of stop words looks for, by language."""

    column: str = Field(default="text", min_length=1)
    lang: str = Field(default="", description="the column of a row's language (ISO 639-1); empty: all are in `language`")
    language: str = Field(default="en", description="of all rows; does nothing where lang names a column")
    stop_words: dict[str, tuple[str, ...]] = Field(
        default={"en": ENGLISH}, description="language: its words; without any a text's stop_words are NaN"
    )

    @model_validator(mode="after")
    def one_way_to_tell_the_language(self) -> Self:
        """Refuse a language beside the column of languages."""
        if self.lang and self.moved("language"):
            raise ValueError("language does nothing where lang names a column; leave one out")
        return self


def _reads(p: MeasureText) -> Columns:
    return {p.column: text, **({p.lang: text} if p.lang else {})}


@operator("map", version="2", reads=_reads, writes=dict.fromkeys(STATISTICS, score), rows="same")
def measure_text(table: pa.Table, p: MeasureText) -> pa.Table:
    """Add every statistic of `STATISTICS` as float32. Ratios are 0 for an empty text.

    ``characters`` includes white space. ``words`` and ``mean_word_length`` leave out what is punctuation or symbols alone, ratios
    to words count it. ``symbol_ratio``: of hashes or of ellipses to words, the larger; ``line_breaks``: of line feeds.
    ``stop_words``: how many different ones, without case and outer punctuation. ``unreadable_ratio``: U+FFFD to characters that
    are no space, as is ``digit_ratio``. Lines and paragraphs are not empty and without outer space; the duplicates are those
    after the first. ``top_2gram``: the share of the words' characters in the most frequent n-gram, each once (0 where it occurs
    once); ``duplicate_5grams``: in n-grams that stood in the text before; both of its first million words. ``terminal_lines``
    end in a sentence's mark, closing quotes and brackets may follow. ``c4_lines``: the share of lines that C4 keeps (such a
    mark, citations such as [1] aside, no ellipsis, five words, none above 1,000 characters, no JavaScript, no policy);
    ``c4_sentences``: theirs.
    """
    said = table[p.column].combine_chunks()
    langs = table[p.lang].to_pylist() if p.lang else [p.language] * len(table)
    found: dict[str, list[Array]] = {name: [] for name in STATISTICS}
    for start, end in cuts(said):
        for name, values in _measured(said.slice(start, end - start), langs[start:end], p.stop_words).items():
            found[name].append(values)
    for name in STATISTICS:
        values = np.concatenate(found[name]) if found[name] else np.empty(0)
        table = columns.put(table, name, pa.array(values.astype(np.float32), score))
    return table


def _measured(said: pa.Array, langs: list[str], stop_words: Mapping[str, tuple[str, ...]]) -> dict[str, Array]:
    """Every statistic of these texts: (N,) float64 each."""
    of = class_counts(said)
    unspaced = 2 * of["unspaced"] > of["letter"]
    lines, line_rows = split(said, "\n")
    words, word_lines = words_of(lines, unspaced[line_rows])
    rows, weight = line_rows[word_lines], weights(words)
    length = lengths(words)
    total, visible = sums(rows, weight, len(said)), of["characters"] - of["space"]
    spoken = matches(words, r"[^\p{P}\p{S}]")
    plain = (weight == 1) & spoken
    mean = ratio(sums(rows, length * plain, len(said)), sums(rows, plain, len(said)))
    stops = _stop_words(words, rows, langs, stop_words)
    return {
        "characters": of["characters"], "words": sums(rows, weight * spoken, len(said)),
        "mean_word_length": np.where(unspaced, np.nan, mean),
        "symbol_ratio": ratio(np.maximum(of["hash"], counts(said, r"\.\.\.|…")), total),
        "letter_words": ratio(sums(rows, weight * matches(words, r"[\p{L}\p{M}]"), len(said)), total),
        "stop_words": np.where(unspaced, np.nan, stops),
        "digit_ratio": ratio(of["digit"], visible), "unreadable_ratio": ratio(of["unreadable"], visible),
        "line_breaks": ratio(counts(said, "\n"), total),
        **_of_lines(lines, line_rows, c4_faults(lines, words, word_lines), len(said), 2 * of["unended"] > of["letter"]),
        **_of_paragraphs(said), **_of_ngrams(words, rows, length, unspaced),
        "lorem_ipsum": matches(said, r"(?i)lorem\s+ipsum").astype(float), "curly_brackets": of["curly"],
    }  # fmt: skip


def _of_lines(lines: pa.Array, rows: Array, faults: dict[str, Array], count: int, no_stop: Array) -> dict[str, Array]:
    number = sums(rows, np.ones(len(rows)), count)
    ellipsis, ends = matches(lines, r"(?:\.\.\.|…)$"), matches(lines, END)
    kept = ~np.any([*faults.values()], axis=0)
    sentences = sums(rows, np.maximum(counts(uncited(lines), SENTENCE), 1) * kept, count)
    wide = class_counts(lines)
    width = wide["characters"] + wide["unspaced"]

    def share(mask: Array) -> Array:
        return ratio(sums(rows, mask, count), number)

    fraction, characters = _repeated(lines, rows, count)
    marked = {"terminal_lines": share(ends), "c4_lines": share(kept), "c4_sentences": sentences}
    return {
        "bullet_lines": share(matches(lines, _BULLET)), "ellipsis_lines": share(ellipsis), "short_lines": share(width < SHORT),
        "duplicate_lines": fraction, "duplicate_line_characters": characters,
        **{name: np.where(no_stop, np.nan, values) for name, values in marked.items()},
    }  # fmt: skip


def _of_paragraphs(said: pa.Array) -> dict[str, Array]:
    paragraphs, rows = split(said, r"\n\s*\n")
    fraction, characters = _repeated(paragraphs, rows, len(said))
    return {"duplicate_paragraphs": fraction, "duplicate_paragraph_characters": characters}


def _of_ngrams(words: pa.Array, rows: Array, length: Array, unspaced: Array) -> dict[str, Array]:
    """Shares of the words' characters; of texts without blanks, n-grams of twice as many letters."""
    names = [f"top_{n}gram" for n in TOP] + [f"duplicate_{n}grams" for n in DUPLICATE]
    found = {name: np.zeros(len(unspaced)) for name in names}
    starts = np.searchsorted(rows, np.arange(len(unspaced)))
    near = np.arange(len(rows)) - starts[rows] < _NGRAM_WORDS
    words, rows, length = words.filter(pa.array(near)), rows[near], length[near]
    codes = pc.dictionary_encode(words).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    for times, texts in ((1, ~unspaced), (2, unspaced)):
        mine = texts[rows]
        of, size = rows[mine], length[mine]
        if not len(of):
            continue
        wanted = {n * times: name for n, name in zip((*TOP, *DUPLICATE), names, strict=True)}
        for n, code, whole in repeats(codes[mine], of, max(wanted)):
            if n in wanted:
                measure = top_share if n // times in TOP else duplicate_share
                found[wanted[n]][texts] = measure(n, code, whole, of, size, len(unspaced))[texts]
    return found


def _repeated(parts: pa.Array, rows: Array, count: int) -> tuple[Array, Array]:
    """The shares of a text's parts, and of their characters, that stood in it before."""
    codes = pc.dictionary_encode(parts).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    length = lengths(parts)
    again = np.zeros(len(codes), bool)
    for _, code, at in repeats(codes, rows, 1):
        again[at] = code <= np.concatenate([[-1], np.maximum.accumulate(code)[:-1]])
    fraction = ratio(sums(rows, again, count), sums(rows, np.ones(len(rows)), count))
    return fraction, ratio(sums(rows, length * again, count), sums(rows, length, count))


def _stop_words(words: pa.Array, rows: Array, langs: list[str], stop_words: Mapping[str, tuple[str, ...]]) -> Array:
    small = pc.utf8_trim(pc.utf8_lower(words), _TRIMMED)
    found = np.full(len(langs), np.nan)
    for lang in sorted(set(langs) & set(stop_words)):
        mine = np.array([one == lang for one in langs])
        wanted = dict.fromkeys(word.lower().strip(_TRIMMED) for word in stop_words[lang])
        which = pc.index_in(small, value_set=pa.array([*wanted], text))
        at = which.is_valid().to_numpy(zero_copy_only=False)
        width = len(wanted)
        pairs = np.unique(rows[at] * width + which.drop_null().to_numpy())  # each word of a text once
        found[mine] = np.bincount(pairs // width, minlength=len(langs))[mine] if width else 0
    return found


def example() -> Example:
    """Four texts: prose, a list, a loop, and none."""
    said = [
        "Iron rusts in rain. That is because water and oxygen react with it.\nOwls hunt at night.",
        "- one\n- two\n- one\n• three",
        "buy now buy now buy now buy now buy now buy now", "",
    ]  # fmt: skip
    return Example(pa.table({"text": pa.array(said, text)}), MeasureText())
