"""Index evaluation texts, so that training rows which repeat them are found (C27): whole texts, and runs of words.

GPT-3 (arXiv:2005.14165, appendix C) looks for runs of 8 to 13 words without case and punctuation. A text that is shorter
than ``words`` counts as one run, from ``least_words`` on: below, its words stand in other texts by chance.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators import columns
from operators.content import matches
from operators.contract import Example, InputError, Params, operator, row_id, text
from operators.mapped import Mapped, mapped
from operators.ngrams import Hashed, hashed, lots, runs
from operators.spill import Spill

Array = np.ndarray[Any, Any]
_FILES = {
    "hi.bin": "<u8", "lo.bin": "<u8", "ends.bin": "<i8", "totals.bin": "<i4", "wholes.bin": "<u8", "wholes_rows.bin": "<i4",
    "runs.bin": "<u8", "runs_rows.bin": "<i4",
}  # fmt: skip
_NAMES, _META = "names.arrow", "evaluation.json"
_PAIRS = 1 << 22  # of a run and an evaluation text that are looked at together, some 40 bytes each
_SCHEMA = pa.schema([("source", text), ("source_id", text)])


class IndexEvaluation(Params):
    """What a run of words is, and which runs tell nothing."""

    words: int = Field(default=13, ge=2, description="words of a run")
    least_words: int = Field(default=8, ge=1, description="a shorter text is found as a whole alone")
    may_be_empty: bool = Field(default=False, description="without a text nothing is found; else that is a fault")
    common: int = Field(default=1000, ge=1, description="a run of more evaluation texts than this is boilerplate, and finds none")

    @model_validator(mode="after")
    def _whole_texts_are_shorter(self) -> Self:
        if self.least_words > self.words:
            raise ValueError("least_words is above words: no text is found by a run of its own length; give at most words")
        return self


class Found(NamedTuple):
    """M pairs of a text and an evaluation text, by text, then by evaluation text."""

    texts: Array  # (M,) places of the texts
    rows: Array  # (M,) rows of the evaluation
    shares: Array  # (M,) float64, of the evaluation text's runs that stand in the text
    whole: Array  # (M,) bool, whether they are equal


class Evaluation(Mapped):
    """Evaluation texts by hash, with the benchmark and the row that each comes from; sorted, memory-mapped."""

    files = (*_FILES, _NAMES, _META)

    def __init__(self, folder: Path, owner: object = None) -> None:
        """Map the files of ``folder``; ``owner`` keeps a temporary folder alive."""
        super().__init__(folder, owner)
        found = [mapped(folder / name, kind) for name, kind in _FILES.items()]
        self._hi, self._lo, self._ends, self._totals, self._wholes, self._wholes_rows, self._runs, self._runs_rows = found
        self._names = pa.ipc.open_file(pa.memory_map(str(folder / _NAMES))).read_all()
        said = json.loads((folder / _META).read_text(encoding="utf-8"))
        self._lengths: list[int] = said["lengths"]
        self.benchmarks: dict[str, int] = said["benchmarks"]  # name → its texts

    def __len__(self) -> int:
        """How many different texts there are."""
        return len(self._hi)

    def ids(self, rows: Array) -> pa.Array:
        """The `passage_id` of rows: binary(16)."""
        wide = np.stack([self._hi[rows], self._lo[rows]], axis=1).astype(">u8")
        return pa.Array.from_buffers(row_id, len(wide), [None, pa.py_buffer(wide)])

    def names(self, ids: pa.Array | pa.ChunkedArray) -> tuple[Array, pa.Table]:
        """Where texts come from: offsets (N+1,) into a table of `source`, the benchmark, and `source_id`; none if unknown."""
        rows = columns.places(self._hi, self._lo, columns.id_pairs(ids))
        ends = np.concatenate([[0], self._ends])
        known = rows >= 0
        starts, sizes = np.where(known, ends[rows], 0), np.where(known, ends[rows + 1] - ends[rows], 0)
        offsets, at = columns.ragged(starts, sizes)
        return offsets, self._names.take(pa.array(at)).combine_chunks()

    def find(self, texts: pa.Array | pa.ChunkedArray) -> Found:
        """Every evaluation text that one of ``texts`` (N,) equals, or holds a run of."""
        found = [Found(*(np.empty(0, kind) for kind in (np.int64, np.int64, np.float64, bool)))]
        for start, lot in lots(texts):
            one = self._find(hashed(lot))
            found.append(one._replace(texts=one.texts + start))
        return Found(*(np.concatenate(x) for x in zip(*found, strict=True)))

    def _find(self, said: Hashed) -> Found:
        told, at = matches(said.whole, self._wholes)
        equal = np.unique(told * len(self) + self._wholes_rows[at])
        key, counts = self._shared(said)
        every = np.sort(np.concatenate([key, equal[~np.isin(equal, key)]]))  # np.union1d took as long as all else
        shares = np.zeros(len(every))
        text_at, row = np.divmod(every, len(self))
        shares[np.searchsorted(every, key)] = counts
        shares /= np.maximum(self._totals[row], 1)
        return Found(text_at, row, shares, np.isin(every, equal))

    def _shared(self, said: Hashed) -> tuple[Array, Array]:
        """(text · rows + row, runs in common) of each text and evaluation text that share one."""
        pairs = [(np.empty(0, np.int64), np.empty(0, np.uint64))]
        for n, number, owner in runs(said, min(self._lengths, default=1), max(self._lengths, default=0)):
            if n in self._lengths:
                order = np.argsort(number)  # in order, a look-up touches pages one behind the other
                one = order[_among(number[order], self._runs)]
                pairs.append((owner[one], number[one]))
        text_at, number = (np.concatenate(x) for x in zip(*pairs, strict=True))
        order = np.lexsort((number, text_at))
        text_at, number = text_at[order], number[order]
        fresh = np.ones(len(order), bool)  # a run counts once, however often the text says it
        fresh[1:] = (text_at[1:] != text_at[:-1]) | (number[1:] != number[:-1])
        text_at, number = text_at[fresh], number[fresh]
        known = np.searchsorted(self._runs, number, "right") - np.searchsorted(self._runs, number)
        found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for start, end in _cuts(text_at, known):
            one, other = matches(number[start:end], self._runs)
            found.append(np.unique(text_at[start:end][one] * len(self) + self._runs_rows[other], return_counts=True))
        keys, counts = (np.concatenate(x) for x in zip(*found, strict=True))
        return keys, counts


def _cuts(texts: Array, sizes: Array) -> Iterator[tuple[int, int]]:
    """Ranges of whole texts with some `_PAIRS` pairs each: 2,048 rows of one boilerplate in 1,000 texts have 100 million."""
    starts = np.flatnonzero(np.diff(texts, prepend=-1))
    lot = (np.cumsum(sizes) - sizes)[starts] // _PAIRS
    edges = starts[np.flatnonzero(np.diff(lot, prepend=-1))].tolist()
    yield from zip(edges, [*edges[1:], len(texts)], strict=False)


def _among(sorted_values: Array, known: Array) -> Array:
    at = np.minimum(np.searchsorted(known, sorted_values), max(len(known) - 1, 0))
    return known[at] == sorted_values if len(known) else np.zeros(len(sorted_values), bool)


class EvaluationFold:
    """An evaluation under way: hashes and names wait on disk. In memory at the end: 40 bytes a text."""

    def __init__(self, p: IndexEvaluation) -> None:
        """Start with no text."""
        self._p = p
        self._names, self._wholes, self._runs = Spill("passage_id"), Spill("key"), Spill("key")
        self._lengths: set[int] = set()

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        self._names.add(table.select(["passage_id", *_SCHEMA.names]))
        titled = table.filter(pc.not_equal(table["title"], ""))
        self._add_wholes(titled["passage_id"], pc.binary_join_element_wise(titled["title"], titled["passage"], "\n"))
        self._add_wholes(table["passage_id"], table["passage"])  # a row may have a document without its title
        for start, lot in lots(table["passage"]):
            said = hashed(lot)
            for n, number, owner in runs(said, self._p.least_words, self._p.words):
                mine = (said.sizes[owner] == n) | (n == self._p.words)
                self._lengths |= {n} if mine.any() else set()
                self._take(self._runs, number[mine], table["passage_id"].take(pa.array(start + owner[mine])))

    def _add_wholes(self, ids: pa.ChunkedArray, texts: pa.ChunkedArray) -> None:
        for start, lot in lots(texts):
            said = hashed(lot)
            some = np.flatnonzero(said.sizes)
            self._take(self._wholes, said.whole[some], ids.take(pa.array(start + some)))

    def merge(self, later: "EvaluationFold") -> None:
        """Take in the fold of later parts."""
        for mine, theirs in ((self._names, later._names), (self._wholes, later._wholes), (self._runs, later._runs)):
            for table in theirs.tables():
                mine.add(table)
        self._lengths |= later._lengths

    def finish(self) -> Evaluation:
        """Sort, and write; raises `InputError` where no text has a word and one must."""
        temporary = tempfile.TemporaryDirectory(prefix="pithead-evaluation-")
        folder = Path(temporary.name)
        hi, lo, benchmarks = self._write_names(folder)
        totals = np.zeros(len(hi), np.int64)
        for name, spill, common in (("wholes", self._wholes, None), ("runs", self._runs, self._p.common)):
            with (folder / f"{name}.bin").open("wb") as numbers, (folder / f"{name}_rows.bin").open("wb") as rows:
                for number, row in _distinct(spill, hi, lo):
                    if common is not None:
                        totals += np.bincount(row, minlength=len(totals))
                        size = np.diff(np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1], [True]])))
                        number, row = (x[np.repeat(size <= common, size)] for x in (number, row))
                    numbers.write(number.astype("<u8").tobytes())
                    rows.write(row.astype("<i4").tobytes())
        if not (folder / "wholes.bin").stat().st_size and not (self._p.may_be_empty and not len(hi)):
            raise InputError("the evaluation set holds no text with a word; give another path, or its columns")
        (folder / "totals.bin").write_bytes(totals.astype("<i4").tobytes())
        said = {"benchmarks": benchmarks, "lengths": sorted(self._lengths)}
        (folder / _META).write_text(json.dumps(said, sort_keys=True, ensure_ascii=False), encoding="utf-8")
        return Evaluation(folder, temporary)

    def _take(self, spill: Spill, number: Array, ids: pa.ChunkedArray) -> None:
        """Spill hashes, by which they are cut, with the ids of their texts."""
        wide = np.stack([number, np.zeros(len(number), np.uint64)], axis=1).astype(">u8")
        key = pa.Array.from_buffers(row_id, len(wide), [None, pa.py_buffer(wide)])
        spill.add(pa.table({"key": key, "passage_id": ids}))

    def _write_names(self, folder: Path) -> tuple[Array, Array, dict[str, int]]:
        """Write each text's id and where it comes from, each place once: (ids' halves, texts of each benchmark)."""
        high, low, ends = ([np.empty(0, np.uint64)] for _ in range(3))
        total, benchmarks = 0, Counter[str]()
        with pa.ipc.new_file(str(folder / _NAMES), _SCHEMA) as file:
            for table in self._names.tables():
                every = ["passage_id", *_SCHEMA.names]
                table = table.group_by(every, use_threads=False).aggregate([]).sort_by([(c, "ascending") for c in every])
                pairs = columns.id_pairs(table["passage_id"])
                last = np.append(pairs[1:] != pairs[:-1], True)
                high.append(pairs["hi"][last])
                low.append(pairs["lo"][last])
                ends.append((total + 1 + np.flatnonzero(last)).astype(np.uint64))
                total += len(table)
                benchmarks.update(table["source"].to_pylist())
                file.write_table(table.select(_SCHEMA.names).cast(_SCHEMA).combine_chunks())
        hi, lo, end = (np.concatenate(x) for x in (high, low, ends))
        for name, values in (("hi.bin", hi), ("lo.bin", lo), ("ends.bin", end)):
            (folder / name).write_bytes(values.astype(_FILES[name]).tobytes())
        return hi, lo, dict(sorted(benchmarks.items()))


def _distinct(spill: Spill, hi: Array, lo: Array) -> Iterator[tuple[Array, Array]]:
    """(hashes, rows of their texts), sorted, each pair once, a cut at a time."""
    for table in spill.tables():
        number = columns.id_pairs(table["key"])["hi"]
        row = columns.places(hi, lo, columns.id_pairs(table["passage_id"]))
        order = np.lexsort((row, number))
        number, row = number[order], row[order]
        fresh = np.ones(len(order), bool)
        fresh[1:] = (number[1:] != number[:-1]) | (row[1:] != row[:-1])
        yield number[fresh], row[fresh]


@operator(
    "build", version="1",
    reads={"passage_id": row_id, "title": text, "passage": text, "source": text, "source_id": text},
)  # fmt: skip
def index_evaluation(p: IndexEvaluation) -> EvaluationFold:
    """Index evaluation texts, queries or documents, in the columns of passages; `source` is the benchmark's name."""
    return EvaluationFold(p)


def indexed(rows: list[tuple[str, str, str, str]], p: IndexEvaluation | None = None) -> Evaluation:
    """The evaluation of (source, source_id, title, passage): what an example needs."""
    fold = index_evaluation(p or IndexEvaluation())
    fold.add(table_of(rows), 0)
    made: Evaluation = fold.finish()
    return made


def table_of(rows: list[tuple[str, str, str, str]]) -> pa.Table:
    """(source, source_id, title, passage) as a table with ids, sorted by them."""
    told = list(zip(*rows, strict=True)) or [()] * 4
    table = pa.table([pa.array(c, text) for c in told], names=["source", "source_id", "title", "passage"])
    return table.append_column("passage_id", columns.content_ids(told[2], told[3])).sort_by("passage_id")


def example() -> Example:
    """Three queries of two benchmarks, one of them in both, and a document with a title."""
    rows = [
        ("nq", "1", "", "what is the oldest tree that still grows in the north of europe"), ("nq", "2", "", "who wrote it"),
        ("fever", "a", "", "who wrote it"), ("fever", "b", "Oak", "An oak bears acorns and stands alone in the field."),
    ]  # fmt: skip
    return Example(table_of(rows), IndexEvaluation(words=5, least_words=3))
