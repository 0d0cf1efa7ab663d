"""Key each text by how it begins and by how it ends: texts that one of them contains there share the key.

CADET (arXiv:2505.19274) sorts all texts, and all texts reversed, and looks for each text in its next neighbours. A text that
is the beginning of another has its first ten characters: a group by those has the same neighbours and needs no sort of all.
"""

import unicodedata

import pyarrow as pa
import xxhash
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Outcome, Params, operator, reject, row_id, text


class KeyEnds(Params):
    """Which texts, and from what length on."""

    column: str = Field(default="passage", description="the texts")
    min_chars: int = Field(default=10, ge=1, description="characters of a key; shorter texts are rejects, as in CADET")
    digits: bool = Field(default=False, description="digits count; to CADET, texts that differ in digits alone are one")


def _writes(p: KeyEnds) -> Columns:
    return {"plain": text, "begin_key": row_id, "end_key": row_id}


class _Letters(dict[int, str]):
    """What each character counts as, found once: for `str.translate`."""

    def __init__(self, digits: bool) -> None:
        super().__init__()
        self._digits = digits

    def __missing__(self, code: int) -> str:
        told = unicodedata.normalize("NFKD", chr(code)).casefold()
        kept = (c for c in told if c.isspace() or c.isalpha() or (self._digits and c.isnumeric()))
        self[code] = "".join(" " if c.isspace() else c for c in kept)
        return self[code]


_LETTERS = {digits: _Letters(digits) for digits in (False, True)}


def plain(value: str, digits: bool) -> str:
    """The text as CADET compares it: letters and single blanks, compatible forms and case folded, without accents."""
    return " ".join(value.translate(_LETTERS[digits]).split())


@operator("map", version="1", reads=lambda p: {p.column: text}, writes=_writes, rows="fewer")
def key_ends(table: pa.Table, p: KeyEnds) -> Outcome:
    """Add the plain text, a hash of its first ``min_chars`` characters, and one of its last."""
    said = [plain(value, p.digits) for value in table[p.column].to_pylist()]
    ends = ([one[: p.min_chars] for one in said], [one[-p.min_chars :] for one in said])
    keys = (pa.array([xxhash.xxh3_128_digest(one.encode()) for one in end], row_id) for end in ends)
    for name, values in zip(_writes(p), (pa.array(said, text), *keys), strict=True):
        table = columns.put(table, name, values)
    return reject(table, [len(one) < p.min_chars for one in said], "too short", said)


def example() -> Example:
    """Three texts, one of which is the beginning of another, and a short one."""
    said = ["Iron rusts in rain.", "Iron rusts in rain and in snow!", "A dog barks", "Owls"]
    return Example(pa.table({"passage": pa.array(said, text)}), KeyEnds())
