"""Which passages a query may find: those alike in a column, none of its own documents."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from operators import columns
from operators.content import codes, in_row, matches, parents
from operators.contract import ARTIFACTS, InputError
from operators.index_documents import Documents

Array = np.ndarray[Any, Any]


def split(table: pa.Table, alike: Sequence[str]) -> dict[tuple[str, ...], tuple[Array, pa.Table]]:
    """The rows of each value of ``alike``: where they stand (M,), and themselves; without columns all are alike."""
    if not alike:
        return {(): (np.arange(len(table)), table)}
    values = list(zip(*(table[name].to_pylist() for name in alike), strict=True))
    code = {value: i for i, value in enumerate(dict.fromkeys(values))}
    number = np.array([code[value] for value in values], np.int64)
    where = {value: np.flatnonzero(number == i) for value, i in code.items()}
    return {value: (at, table.take(pa.array(at))) for value, at in where.items()}


def whole(p: Any, using: Mapping[str, Any]) -> Sequence[str]:
    """Why ``other_documents`` could not act, before anything runs: a search stands behind the embedding of a corpus."""
    fault = _half(p.other_documents, "documents" in using.get(ARTIFACTS, ())) if ARTIFACTS in using else ""
    return [fault] if fault else []


def _half(asked: bool, there: bool) -> str:
    if asked == there:
        return ""
    lacks = "using: {documents: STEP} of index_documents" if asked else "with: {other_documents: true}"
    return f"the search leaves a query's own documents out by both or neither: this step lacks {lacks}"


def barred(left: pa.Table, names: pa.Array, documents: Documents | None, asked: bool) -> tuple[Array, Array]:
    """(rows of the left, places among the passages ``names``) of each query's own documents, but for its positives; by row.

    Raises `InputError` where one of the option and the artifact is missing.
    """
    if fault := _half(asked, documents is not None):
        raise InputError(fault)
    if documents is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    owners, positives = columns.flat(left["positive_ids"])
    rows = parents(owners)
    (told_at, told), (asked_at, wanted) = documents.of(names), documents.of(positives)
    number, of_number = codes([told, wanted])
    order = np.argsort(number, kind="stable")
    one, at = matches(of_number, number[order])
    place, query = parents(told_at)[order][at], np.repeat(rows, np.diff(asked_at))[one]
    name_code, positive_code = codes([names, positives])
    free = in_row(query, name_code[place], rows, positive_code)
    both = np.sort(query[~free] * len(names) + place[~free])
    both = both[np.diff(both, prepend=-1) > 0]  # of 2 million 0.4 s; np.unique 2.2 of numbers, 3.1 of pairs
    return both // max(len(names), 1), both % max(len(names), 1)
