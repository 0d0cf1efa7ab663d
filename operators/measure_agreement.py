"""Measure how far the answers of several sources agree: of one text's translations those that another supports are kept.

M-NTA (arXiv:2311.15781) keeps what at least two of machine translation, web and LLM say. Here an answer's support
is its likeness to the nearest other answer: the F score of character 4-grams, as chrF (W15-3049) counts them.
"""

from collections import Counter

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Params, operator, row_id, score, text


class MeasureAgreement(Params):
    """Whose answers are compared."""

    key: str = Field(default="query_id", min_length=1, description="the id that answers to one question share")
    column: str = Field(min_length=1, description="the column of the answers")
    grams: int = Field(default=4, ge=1, description="characters of a gram")


def _reads(p: MeasureAgreement) -> Columns:
    return {p.key: row_id, p.column: text}


@operator("group", version="1", key=lambda p: p.key, reads=_reads, writes={"agreement": score}, rows="same")
def measure_agreement(table: pa.Table, p: MeasureAgreement) -> pa.Table:
    """Add ``agreement``: likeness to the nearest other answer of the key, 0 for the only one."""
    keys, said = table[p.key].to_pylist(), table[p.column].to_pylist()
    together: dict[bytes, list[int]] = {}
    for i, key in enumerate(keys):
        together.setdefault(key, []).append(i)
    found = [0.0] * len(said)
    for rows in together.values():
        bags = {i: _bag(said[i], p.grams) for i in rows}
        for i in rows:
            found[i] = max((_likeness(bags[i], bags[j]) for j in rows if j != i), default=0.0)
    return columns.put(table, "agreement", pa.array(found, score))


def _bag(value: str, size: int) -> Counter[str]:
    whole = f" {columns.normalise(value).casefold()} "
    return Counter(whole[i : i + size] for i in range(max(len(whole) - size + 1, 1)))


def _likeness(one: Counter[str], other: Counter[str]) -> float:
    return 2 * (one & other).total() / (one.total() + other.total())


def example() -> Example:
    """Two questions: two of three answers agree, the only answer to the other has no support."""
    said = ["Der Hund schläft.", "Der Hund schläft", "Das Haus ist rot.", "Eis schmilzt."]
    keys = columns.content_ids(["a", "a", "a", "b"])
    table = pa.table({"query_id": keys, "translation": pa.array(said, text)})
    return Example(table.sort_by("query_id"), MeasureAgreement(column="translation"))
