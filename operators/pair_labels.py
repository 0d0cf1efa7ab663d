"""Make pairs and triplets of labelled texts: another text of the same label, and texts of other labels.

Example-based pairs teach clusters more than a text with the name of its label does (NV-Embed, arXiv:2405.17428 §4.2.2:
+1.49 on average); names serve where there are two labels or few texts. `class_id` stays: texts of one label are no
negatives of each other within a batch (`mask_negatives`, same: [class_id]).
"""

import random
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.content import indexed
from operators.contract import ARTIFACTS, Columns, Example, Outcome, Params, ids, operator, outcome_of, row_id, text
from operators.index_labels import IndexLabels, LabelIndex, index_labels
from operators.index_texts import Texts

_SPARE = 8  # more drawn than are wanted, for those that say the same as the text or its positive
_MORE = 1024  # drawn where all of these do: most texts of a label may be one text


class PairLabels(Params):
    """What is a positive, and how many texts a row draws. The draw is by the text's id and the seed."""

    positive: Literal["text", "label"] = Field(default="text", description="another text of the label, or the label's own name")
    negatives: int = Field(default=1, ge=0, description="texts, or names, of other labels")
    instruction: str = ""
    seed: int = Field(default=0, ge=0)


def _check(p: PairLabels, using: Mapping[str, Any]) -> list[str]:
    if p.positive == "text" and "texts" not in using.get(ARTIFACTS, ()):
        return ["pair_labels: positive: text needs using: {texts: STEP}, an index_texts of the labelled texts"]
    return []


def _reads(p: PairLabels) -> Columns:
    return {"passage_id": row_id, "title": text, "passage": text, "class_id": text}


_WRITES = {
    "query_id": row_id, "query": text, "query_type": text, "instruction": text, "generator": text, "class_id": text,
    "passage_id": row_id, "title": text, "passage": text, "positive_ids": ids,
}  # fmt: skip


@operator(
    "map", version="3", reads=_reads, writes=lambda p: {**_WRITES, **({"negative_ids": ids} if p.negatives else {})},
    rows="fewer", check=_check,
)  # fmt: skip
def pair_labels(table: pa.Table, p: PairLabels, *, labels: LabelIndex, texts: Texts | None = None) -> Outcome:
    """N texts: each as a query, with a text of its label as ``passage`` and others' as ``negative_ids``.

    With positive: label, passage and negatives are names of labels, which are texts without a title.
    """
    own = table["class_id"].to_pylist()
    at = labels.places(table["passage_id"], own)
    drawn = _names(table, p, labels) if p.positive == "label" else _examples(table, p, labels, texts, at)
    reasons: dict[int, tuple[str, str]] = {}
    for i, (place, label, (positive, negatives)) in enumerate(zip(at.tolist(), own, drawn, strict=True)):
        if place < 0:
            reasons[i] = ("text of several labels", label)
        elif positive is None:
            reasons[i] = ("no other text of its label" if p.positive == "text" else "the text is its label's name", label)
        elif p.negatives and not negatives:
            reasons[i] = ("no text of another label", label)
    good = [i for i in range(len(table)) if i not in reasons]
    kept = table.take(pa.array(good, pa.int64()))
    found, others = [drawn[i][0] for i in good], [drawn[i][1] for i in good]
    queries = [columns.normalise(one) for one in columns.shown(kept)]
    told, empty = [p.instruction] * len(good), [""] * len(good)
    if p.positive == "label":
        passages = kept["class_id"].combine_chunks()
    else:
        assert texts is not None
        passages = texts.take(pa.array(found, row_id)).cast(text)
    made = {
        "query_id": columns.content_ids(queries, told), "query": pa.array(queries, text),
        "query_type": pa.array([f"same_{p.positive}" if p.positive == "label" else "same_class"] * len(good), text),
        "instruction": pa.array(told, text), "generator": pa.array(["labels"] * len(good), text),
        "passage_id": pa.array(found, row_id), "title": pa.array(empty, text), "passage": passages,
        "positive_ids": pa.array([[one] for one in found], ids),
        **({"negative_ids": pa.array(others, ids)} if p.negatives else {}),
    }  # fmt: skip
    for name, values in made.items():
        kept = columns.put(kept, name, values)
    return outcome_of(table, kept, reasons)


Drawn = tuple[bytes | None, list[bytes]]  # the positive and the negatives of a row


def _names(table: pa.Table, p: PairLabels, labels: LabelIndex) -> list[Drawn]:
    """The name of each row's label, and names of others that say something else; none where the text is that name."""
    name = dict(zip(labels.labels, columns.content_ids([""] * len(labels.labels), labels.labels).to_pylist(), strict=True))
    places = {label: i for i, label in enumerate(labels.labels)}
    drawn: list[Drawn] = []
    fields = (table[one].to_pylist() for one in ("passage_id", "class_id", "passage"))
    for key, label, said in zip(*fields, strict=True):
        own, known = places.get(label, len(places)), {label.casefold()}
        negatives: list[bytes] = []
        some = _some(len(places) - 1, p.negatives + _SPARE if p.negatives else 0, columns.row_seed(p.seed, key, "negative"))
        for other in (labels.labels[i + (i >= own)] for i in some):
            if len(negatives) < p.negatives and other.casefold() not in known:
                known.add(other.casefold())
                negatives.append(name[other])
        echo = columns.normalise(said).casefold() == label.casefold()
        drawn.append((None if echo else name.get(label), negatives))
    return drawn


def _examples(table: pa.Table, p: PairLabels, labels: LabelIndex, texts: Texts | None, at: Any) -> list[Drawn]:
    """For each row a text of its label that says something else, and texts of others that say neither."""
    assert texts is not None  # by `_check`
    keys, (begin, end) = table["passage_id"].to_pylist(), labels.spans(table["class_id"].to_pylist())
    near, far = [], []
    for key, place, a, b in zip(keys, at.tolist(), begin.tolist(), end.tolist(), strict=True):
        near.append(_others(a, b, place, 1 + _SPARE, columns.row_seed(p.seed, key, "positive")))
        wanted = p.negatives + _SPARE if p.negatives and place >= 0 else 0
        there = _some(len(labels) - (b - a), wanted, columns.row_seed(p.seed, key, "negative"))
        far.append([i if i < a else i + (b - a) for i in there])
    sizes = np.array([len(one) for one in near + far])
    places = np.array([i for one in near + far for i in one], np.int64)
    every = labels.ids(places)
    said = np.split(columns.id_matrix(texts.keys(every)), np.cumsum(sizes)[:-1]) if len(sizes) else []
    named = np.split(columns.id_matrix(every), np.cumsum(sizes)[:-1]) if len(sizes) else []
    mine = columns.id_matrix(texts.keys(table["passage_id"]))
    drawn: list[Drawn] = []
    for i in range(len(table)):
        known = {mine[i].tobytes()}
        found = _fresh(named[i], said[i], known, 1)
        if near[i] and not found:
            others = _others(int(begin[i]), int(end[i]), int(at[i]), _MORE, columns.row_seed(p.seed, keys[i], "more"))
            more = labels.ids(np.array(others, np.int64))
            found = _fresh(columns.id_matrix(more), columns.id_matrix(texts.keys(more)), known, 1)
        positive = next(iter(found), None)
        j = len(table) + i
        drawn.append((positive, _fresh(named[j], said[j], known, p.negatives)))
    return drawn


def _fresh(named: Any, said: Any, known: set[bytes], count: int) -> list[bytes]:
    """The first ``count`` ids whose text is not known; they become known."""
    found: list[bytes] = []
    for one, what in zip(named, said, strict=True):
        if len(found) < count and (key := what.tobytes()) not in known:
            known.add(key)
            found.append(one.tobytes())
    return found


def _others(a: int, b: int, place: int, count: int, seed: int) -> list[int]:
    """At most ``count`` places of a label's texts, which stand from a to b, but for a text's own; of no place none."""
    return [a + i + (a + i >= place) for i in _some(b - a - 1, count, seed)] if place >= 0 else []


def _some(of: int, count: int, seed: int) -> list[int]:
    """At most ``count`` different numbers below ``of``, in a drawn order."""
    return random.Random(seed).sample(range(of), min(of, count)) if of > 0 and count else []


def example() -> Example:
    """Six texts of three labels: one label has one text, one text has two labels."""
    said = ["iron rusts", "tin melts", "owls hunt", "bats hunt", "bats hunt", "ice"]
    own, texts = indexed(said)
    table = pa.table({
        "passage_id": pa.array(own, row_id), "title": pa.array([""] * 6, text), "passage": pa.array(said, text),
        "class_id": pa.array(["metal", "metal", "bird", "bird", "metal", "water"], text),
    })  # fmt: skip
    fold = index_labels(IndexLabels())
    fold.add(table, 0)
    return Example(table, PairLabels(), {"labels": fold.finish(), "texts": texts})
