"""Lines of many texts at once, their words, and which of them C4 keeps."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators import columns
from operators.content import floats, parents
from operators.sentences import UNSPACED

Array = np.ndarray[Any, Any]
# C4's code has them.
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
C4_WORDS, _C4_LONG = 5, 1000  # C4 keeps lines of so many words, none of more characters
_BYTES = 4 << 20  # of text at a time: some 40 bytes of tables a byte
_DENSE = f"[{UNSPACED}]"
_QUOTE = "[\"'”’»」』）)\\]]*"
# Unicode's Sentence_Terminal of living scripts, as in datatrove; and the ellipsis.
_FULL = "。！？．｡"
_STOP = ".!?…‼⁇⁈⁉‽։\u061d؟۔܀܁܂߹।॥၊။።፧፨᙮᜵᜶។៕᠃᠉᥄᥅꓿꘎꘏꛳꛷"
END = rf"[{_STOP}{_FULL}]{_QUOTE}$|[\"”]$"
SENTENCE = rf"[{_STOP}]+{_QUOTE}(?:\s|$)|[{_FULL}]+|[\"”]$"
_CITATION = r"\[\d*\]|\[edit\]|\[citation needed\]"  # C4 takes Wikipedia's out before it looks at a line's end


def cuts(said: pa.Array) -> list[tuple[int, int]]:
    """Runs of rows of at most `columns.SLICE` rows and about `_BYTES` bytes; a longer text stands alone."""
    sizes = pc.binary_length(said).to_numpy(zero_copy_only=False)
    edges, held = [0], 0
    for i, size in enumerate(sizes.tolist()):
        if i > edges[-1] and (held + size > _BYTES or i - edges[-1] >= columns.SLICE):
            edges.append(i)
            held = 0
        held += size
    return list(zip(edges, [*edges[1:], len(said)], strict=True)) if len(said) else []


def split(said: pa.Array, mark: str) -> tuple[pa.Array, Array]:
    """The parts between the marks without outer space, none empty, and the row of each."""
    offsets, parts = columns.flat(pc.split_pattern_regex(said, mark) if len(mark) > 1 else pc.split_pattern(said, mark))
    parts = pc.utf8_trim_whitespace(parts)
    full = pc.greater(pc.binary_length(parts), 0)
    return parts.filter(full), parents(offsets)[full.to_numpy(zero_copy_only=False)]


def words_of(lines: pa.Array, unspaced: Array) -> tuple[pa.Array, Array]:
    """What stands between white space, and each letter of a script without blanks; and the line of each.

    Where most letters are of such a script, what is left between them without a letter or digit is no word.
    """
    dense = len(lines) > 0 and bool(matches(lines, _DENSE).any())
    if dense:
        # Trimmed, since Arrow 26 now and then leaves white space at the very end of its data in the last word.
        lines = pc.utf8_trim_whitespace(pc.replace_substring_regex(lines, rf"({_DENSE})", r" \1 "))
    offsets, words = columns.flat(pc.utf8_split_whitespace(lines))
    rows = parents(offsets)
    full = pc.greater(pc.binary_length(words), 0).to_numpy(zero_copy_only=False)
    if dense:
        full &= ~unspaced[rows] | matches(words, r"[\p{L}\p{M}\p{N}]")
    return words.filter(pa.array(full)), rows[full]


def weights(words: pa.Array) -> Array:
    """What each word counts: half a word where it is one letter of a script without blanks: (W,) float64."""
    found: Array = np.where(matches(words, f"^{_DENSE}$"), 0.5, 1.0)
    return found


def uncited(lines: pa.Array) -> pa.Array:
    """The lines without Wikipedia's citations, which C4 takes out before it looks at their ends."""
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(lines, _CITATION, ""))


def c4_faults(lines: pa.Array, words: pa.Array, owner: Array, least: int = C4_WORDS) -> dict[str, Array]:
    """Why C4 drops lines, by rule: (L,) bool each; ``words`` (W,) with the line of each, ``least`` of which a line needs.

    As in C4's code: its policy lines are of no paper. An ellipsis is no terminal mark.
    """
    bare = uncited(lines)
    return {
        "c4.long_word": sums(owner, lengths(words) > _C4_LONG, len(lines)) > 0,
        "c4.terminal": ~matches(bare, END) | matches(bare, r"(?:\.\.\.|…)$"),
        "c4.words": sums(owner, weights(words), len(lines)) < least,
        "c4.javascript": matches(lines, "(?i)javascript"), "c4.policy": matches(lines, "(?i)" + "|".join(POLICY)),
    }  # fmt: skip


def sums(rows: Array, values: Array, count: int) -> Array:
    """Add values up by row: (count,) float64."""
    summed: Array = np.bincount(rows, weights=values.astype(float), minlength=count)
    return summed


def ratio(part: Array, whole: Array) -> Array:
    """Part by whole, 0 where there is none."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def counts(said: pa.Array, pattern: str) -> Array:
    """How often each text holds a pattern: (N,) float64."""
    return floats(pc.count_substring_regex(said, pattern))


def matches(said: pa.Array, pattern: str) -> Array:
    """Which texts hold a pattern: (N,) bool."""
    found: Array = pc.match_substring_regex(said, pattern).to_numpy(zero_copy_only=False).astype(bool)
    return found


def lengths(said: pa.Array) -> Array:
    """Characters of each text: (N,) float64."""
    return floats(pc.utf8_length(said))
