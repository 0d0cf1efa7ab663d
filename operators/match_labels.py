"""Offer a taxonomy's labels to a prompt, or match what an LLM answered to one of them.

Text Clustering as Classification (arXiv:2410.00927) asks the model to choose one of the merged labels.
"""

from typing import Literal

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Outcome, Params, operator, reject, text
from operators.merge_labels import Labels, MergeLabels, merge_labels


class MatchLabels(Params):
    """``offer`` writes all labels as one line of text, for a prompt; ``match`` puts the label in place of the answer."""

    do: Literal["offer", "match"] = "match"
    column: str = Field(default="label", min_length=1, description="match: the column of the answer")
    writes: str = Field(default="labels", min_length=1, description="offer: the column of the line")


def _reads(p: MatchLabels) -> Columns:
    return {p.column: text} if p.do == "match" else {}


def _writes(p: MatchLabels) -> Columns:
    return {p.column if p.do == "match" else p.writes: text}


@operator("map", version="1", reads=_reads, writes=_writes, rows="fewer")
def match_labels(table: pa.Table, p: MatchLabels, *, labels: Labels) -> Outcome:
    """Rows with the labels, or with theirs; an answer that means none of them is a reject."""
    if p.do == "offer":
        line = ", ".join(labels.counts)
        return Outcome(columns.put(table, p.writes, pa.array([line] * len(table), text)))
    said = table[p.column].to_pylist()
    found = [labels.find(one) for one in said]
    wide = columns.put(table, p.column, pa.array(found, text))
    return reject(wide, [not one for one in found], "no label of the taxonomy", said)


def example() -> Example:
    """Four answers: three mean a label, one means none."""
    fold = merge_labels(MergeLabels(min_count=1))
    fold.add(pa.table({"label": pa.array(["trains", "owls", "trains"], text)}), 0)
    return Example(
        pa.table({"label": pa.array(["Train", "about owls", "weather", "owls"], text)}), MatchLabels(), {"labels": fold.finish()}
    )
