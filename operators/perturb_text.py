"""Perturb a text without a model: typos, words in another order, a phrase split off.

PEARL (arXiv:2401.10407) trains phrases on such variants; a query with a typo still means the same.
"""

import string
from collections.abc import Callable
from random import Random
from typing import Literal

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Outcome, Params, operator, outcome_of, row_id, text

Kind = Literal["typos", "word_order", "phrase_split"]


class PerturbText(Params):
    """What is done to which column; each row's own id decides how."""

    column: str = Field(default="query", min_length=1)
    writes: str = Field(default="perturbed", min_length=1, description="the column of the perturbed text")
    row: str = Field(default="query_id", min_length=1, description="the id that decides what is drawn")
    kinds: tuple[Kind, ...] = Field(default=("typos", "word_order", "phrase_split"), min_length=1)
    typos: int = Field(default=1, ge=1, description="of a text, each in another word while there are any left")
    window: int = Field(default=3, ge=2, description="words that are put in another order, next to each other")
    seed: int = Field(default=0, ge=0)


def _writes(p: PerturbText) -> Columns:
    return {p.writes: text, "perturbation": text}


@operator("map", version="2", reads=lambda p: {p.row: row_id, p.column: text}, writes=_writes, rows="fewer")
def perturb_text(table: pa.Table, p: PerturbText) -> Outcome:
    """One variant a row, by a kind that is drawn among those which change the text; else a reject."""
    made: list[tuple[str, str]] = []
    kept, reasons = [], {}
    for i, (key, value) in enumerate(zip(table[p.row].to_pylist(), table[p.column].to_pylist(), strict=True)):
        draw = Random(columns.row_seed(p.seed, key))
        said = value.split()
        found = [(new, k) for k in draw.sample(p.kinds, len(p.kinds)) if (new := _MAKERS[k](said, p, draw)) != " ".join(said)]
        if found:
            kept.append(i)
            made.append(found[0])
        else:
            reasons[i] = ("too short to perturb", value)
    wide = table.take(pa.array(kept, pa.int64()))
    wide = columns.put(wide, p.writes, pa.array([new for new, _ in made], text))
    return outcome_of(table, columns.put(wide, "perturbation", pa.array([k for _, k in made], text)), reasons)


def _typos(said: list[str], p: PerturbText, draw: Random) -> str:
    """Two letters swapped, one left out, doubled, or another in its place; first letters stay."""
    out = list(said)
    long = [i for i, word in enumerate(said) if len(word) > 3 and word.isalpha()]
    for i in draw.sample(long, min(p.typos, len(long))):
        word, at = out[i], draw.randrange(1, len(out[i]) - 1)
        variants = [
            word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:],
            word[:at] + draw.choice(string.ascii_lowercase) + word[at + 1 :],
        ]  # fmt: skip
        out[i] = draw.choice(variants)
    return " ".join(out)


def _word_order(said: list[str], p: PerturbText, draw: Random) -> str:
    size = min(p.window, len(said))
    if size < 2:
        return " ".join(said)
    start = draw.randrange(len(said) - size + 1)
    return " ".join([*said[:start], *draw.sample(said[start : start + size], size), *said[start + size :]])


def _phrase_split(said: list[str], p: PerturbText, draw: Random) -> str:
    """The longer half of the text, cut where a comma or a small word stands nearest to a drawn place."""
    if len(said) < 4:
        return " ".join(said)
    cut = draw.randrange(2, len(said) - 1)
    ends = [i + 1 for i, word in enumerate(said[:-1]) if word[-1] in ",;:" and 1 < i + 1 < len(said)]
    cut = min(ends, key=lambda e: (abs(e - cut), e)) if ends else cut
    half = " ".join(said[:cut] if 2 * cut >= len(said) else said[cut:]).strip(",;: ")
    return half or " ".join(said)  # a half of nothing but commas


_MAKERS: dict[Kind, Callable[[list[str], PerturbText, Random], str]] = {
    "typos": _typos, "word_order": _word_order, "phrase_split": _phrase_split,
}  # fmt: skip


def example() -> Example:
    """Four queries; one word is too short for any kind."""
    said = ["why does iron rust in the rain", "how do owls hunt, and when", "bread with yeast", "ice"]
    table = pa.table({"query_id": columns.content_ids(said, [""] * 4), "query": pa.array(said, text)})
    return Example(table, PerturbText())
