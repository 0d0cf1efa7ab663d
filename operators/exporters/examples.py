"""The rows of a published set as a trainer takes them: positives chosen, negatives counted, what is unfit dropped by name."""

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators import columns
from operators.columns import flat, lists, put, ragged
from operators.content import codes, in_row, parents
from operators.contract import InputError, text
from operators.exporters.options import Export

NEEDS = ("query_id", "query", "positives", "positive_ids")
_KINDS = ("ids", "s", "scores")  # of positive_ids, positives, positive_scores


class Examples:
    """A set's rows, read anew by every call of `tables`; memory is that of one batch.

    ``explode`` gives the first positives of all rows, then the second ones and so on: rows of one query, which a batch
    would take for each other's negatives, stand as far apart as the set allows.
    """

    def __init__(self, batches: Callable[[], Iterator[pa.Table]], schema: pa.Schema, p: Export) -> None:
        """``batches`` reads the set from its start."""
        self._batches, self._p, self.names = batches, p, schema.names
        self.dropped = Counter[str]()  # by the last whole pass
        self.rows_in = self.rows_out = 0
        self._check()
        self.count = self._counted()

    def _check(self) -> None:
        if missing := [name for name in NEEDS if name not in self.names]:
            raise InputError(f"the set has no column {missing[0]}; export takes a training set, as write_training_set makes it")
        wanted = self._p.negatives
        if "negatives" not in self.names and (self._p.least or (isinstance(wanted, int) and wanted)):
            mend = "this trainer needs them: mine some, or take another" if self._p.least else "leave --set negatives out"
            raise InputError(f"the set has no negatives; {mend}")
        beside = ["positive_scores"] + ["negative_scores"] * ("negatives" in self.names and wanted != 0)
        if self._p.scored and (lost := [name for name in beside if name not in self.names]):
            raise InputError(f"the set has no {lost[0]}, which this export needs; score the candidates and publish with"
                             " scores: true, or choose another loss")  # fmt: skip

    def _counted(self) -> int | None:
        """Negatives in every row; None where rows keep what they have."""
        wanted = self._p.negatives
        if "negatives" not in self.names:
            return 0
        if wanted != "most":
            return None if wanted == "all" else int(wanted)
        sizes = Counter[int]()
        for table in self._batches():
            sizes.update(pc.list_value_length(table["negative_ids"]).to_pylist())
        found = min(sizes, key=lambda n: (-sizes[n], -n), default=0)
        return max(found, self._p.least)

    def tables(self) -> Iterator[pa.Table]:
        """The rows in tables of a few thousand, with list columns; ids as 16 bytes."""
        self.dropped, self.rows_in, self.rows_out = Counter(), 0, 0
        turn, last = 0, 1
        while turn < last:
            for table in self._batches():
                lengths = pc.max(pc.list_value_length(table["positive_ids"])).as_py() or 0
                last = max(last, lengths if self._p.positives == "explode" else 1)
                made = self._made(table, turn)
                self.rows_in += len(table) if not turn else 0
                self.rows_out += len(made)
                yield made
            turn += 1

    def _made(self, table: pa.Table, turn: int) -> pa.Table:
        """One batch with the positives of this turn; the reasons of what is dropped are counted in the first one."""
        if turn:  # few rows have many positives, and each turn would look at all again
            table = table.filter(pc.greater(pc.list_value_length(table["positive_ids"]), turn))
        keep = np.ones(len(table), bool)
        for reason, bad in self._faults(table):
            if not turn and (new := int((bad & keep).sum())):
                self.dropped[reason] += new
            keep &= ~bad
        table = table.filter(pa.array(keep))
        if self._p.positives != "all":
            table = _cut(table, "positive", turn, 1)
        if self.count is not None and "negatives" in self.names:
            table = _cut(table, "negative", 0, self.count)
        return table

    def _faults(self, table: pa.Table) -> Iterator[tuple[str, np.ndarray]]:  # type: ignore[type-arg]
        yield "no positive", pc.list_value_length(table["positive_ids"]).to_numpy() == 0
        takes = "negatives" in self.names and self.count != 0
        if takes:
            least = max(self._p.least, self.count or 0)
            yield f"fewer than {least} negatives" if least > 1 else "no negative", (
                pc.list_value_length(table["negative_ids"]).to_numpy() < least
            )
            yield "a negative is its query, a positive of it or there twice", _overlap(table)
        yield "an empty text", _empty(table, ["positives", *(["negatives"] if takes else [])])
        for side in ("positive", "negative") if self._p.scored else ():
            if side == "positive" or takes:
                yield f"{side} without a score", _unscored(table, side)

    def told(self) -> bool:
        """Whether any row has an instruction."""
        return "instruction" in self.names and any(pc.any(pc.not_equal(t["instruction"], "")).as_py() for t in self._batches())


def _cut(table: pa.Table, side: str, start: int, count: int) -> pa.Table:
    """The lists of one side from ``start`` on, at most ``count`` long."""
    for name in (f"{side}{kind}" if kind == "s" else f"{side}_{kind}" for kind in _KINDS):
        if name in table.column_names:
            offsets, values = flat(table[name])
            sizes = np.clip(np.diff(offsets) - start, 0, count)
            ends, places = ragged(offsets[:-1] + start, sizes)
            table = put(table, name, lists(ends, values.take(pa.array(places))))
    return table


def _overlap(table: pa.Table) -> np.ndarray:  # type: ignore[type-arg]
    """Whether a negative of a row is a positive of it or there twice, by id or by what it says, or says its query: (N,) bool."""
    (offsets, ids), (of_offsets, of_ids) = flat(table["negative_ids"]), flat(table["positive_ids"])
    found = _meets(parents(offsets), ids, parents(of_offsets), of_ids, len(table))
    (offsets, said), (of_offsets, of_said) = flat(table["negatives"]), flat(table["positives"])
    known = pa.concat_arrays([_content(of_said), _content(columns.one_array(table["query"]))])
    of_rows = np.append(parents(of_offsets), np.arange(len(table)))
    found |= _meets(parents(offsets), _content(said), of_rows, known, len(table))
    return found


def _meets(rows: np.ndarray, ids: pa.Array, of_rows: np.ndarray, of_ids: pa.Array, count: int) -> np.ndarray:  # type: ignore[type-arg]
    """Whether an id (M,) of a row is there twice, or among the others of that row: (``count``,) bool."""
    number, of_number = codes([ids, of_ids])
    both = rows * (int(max(number.max(initial=0), of_number.max(initial=0))) + 1) + number
    _, first = np.unique(both, return_index=True)
    bad = np.ones(len(both), bool)
    bad[first] = False
    bad |= in_row(rows, number, of_rows, of_number)
    found: np.ndarray = np.bincount(rows[bad], minlength=count) > 0  # type: ignore[type-arg]
    return found


def _content(said: pa.Array) -> pa.Array:
    """Equal ids where texts are, case and white space aside."""
    return columns.content_ids([one.casefold() for one in said.to_pylist()])


def _empty(table: pa.Table, names: list[str]) -> np.ndarray:  # type: ignore[type-arg]
    """Whether the query of a row or a text of these lists says nothing: (N,) bool."""
    found: np.ndarray = _blank(columns.one_array(table["query"]))  # type: ignore[type-arg]
    for name in names:
        offsets, said = flat(table[name])
        found = found | (np.bincount(parents(offsets)[_blank(said)], minlength=len(table)) > 0)
    return found


def _blank(said: pa.Array) -> np.ndarray:  # type: ignore[type-arg]
    return pc.equal(pc.utf8_trim_whitespace(said), "").to_numpy(zero_copy_only=False).astype(bool)  # type: ignore[no-any-return]


def _unscored(table: pa.Table, side: str) -> np.ndarray:  # type: ignore[type-arg]
    """Whether a row has a text without a finite score: (N,) bool."""
    offsets, values = flat(table[f"{side}_scores"])
    ends, _ = flat(table[f"{side}_ids"])
    bad = ~np.isfinite(values.to_numpy(zero_copy_only=False).astype(np.float64))
    unfit: np.ndarray = np.bincount(parents(offsets)[bad], minlength=len(table)) > 0  # type: ignore[type-arg]
    unfit |= np.diff(offsets) != np.diff(ends)
    return unfit


def hex_lists(column: pa.ChunkedArray) -> pa.Array:
    """A list column of ids as people and trainers read them: 32 hex digits each."""
    offsets, values = flat(column)
    return lists(offsets, columns.hexed(values))


def text_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A text column, empty where the set does not have it."""
    empty = pa.chunked_array([pa.array([""] * len(table), text)])
    return pc.fill_null(table[name], "") if name in table.column_names else empty
