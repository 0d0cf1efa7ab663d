"""Compose batches that are of one kind, with no false negative in them (C35; Merrick arXiv:2407.18887, TAS-B arXiv:2104.06967).

In a batch no query text (case, white space and instruction aside) and no positive text stands twice, and no row's positive
or query is another's negative, nor its query another's positive (questions that are each other's duplicates), so in-batch
negatives are never false by content. The same holds of positives' and negatives' near-duplicates where
``classes`` are given, and of passages of one document where ``documents`` are. A negative may serve several rows of
a batch: keeping those apart too made the batches of 1105 queries of scifact (64 rows, four negatives, short) 12 %
smaller, and left out 8 % of the rows under drop. Rerun whole: batches are a property of the whole set.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators import columns
from operators.batches import PAIR, Batches, laid_out, refuse_repeats
from operators.centroids import Centroids
from operators.content import indexed
from operators.contract import ARTIFACTS, Columns, Example, InputError, Params, ids, operator, row_id, score, text
from operators.fill_batches import Array, Contents, contents, settle, tour
from operators.fit_classes import DuplicateClasses
from operators.index_documents import Documents
from operators.index_texts import Texts
from operators.mixtures import Stage, epoch_of, quotas, refuse_misspelt

ASKED, LENGTH = "_asked", "length"


class ComposeBatches(Params):
    """How large, within what, in which stages, and what becomes of rows that fill no batch.

    ``remainder``: ``drop`` leaves out the rows of batches that are not full; ``short`` keeps those batches,
    short; ``mix`` pools the leftovers of all strata of a source, fills batches of that one source from them,
    and leaves out what is left then. ``seed`` and the rows' ids alone decide who meets whom.
    """

    batch_size: int = Field(default=64, ge=1, description="rows that the loss sees at once, over all ranks")
    by: tuple[str, ...] = Field(
        default=("source", "cluster"), description="a batch has one value of each: text columns (lang, say), cluster, length"
    )
    lengths: tuple[int, ...] = Field(default=(), description="characters of a row's longest text at which by: length cuts")
    packing: Literal["random", "greedy"] = Field(
        default="random", description="greedy: batches run on into the nearest cluster (cde), along a walk over the centroids"
    )
    remainder: Literal["drop", "short", "mix"] = "drop"
    apart: tuple[str, ...] = Field(default=(), description="text columns, a label say: rows alike in one of them never meet")
    negatives: bool = True  # whether rows carry hard negatives
    stages: tuple[Stage, ...] = Field(default=(Stage(),), min_length=1, description="one after another")
    order: Literal["random", "rising", "falling"] = Field(default="random", description="of batches in an epoch, by difficulty")
    difficulty: str = Field(default="", description="a column of numbers; rows that are alike in it meet")
    ranks: int = Field(default=1, ge=1, description="processes that train at once; each has the same share of every batch")
    shard_rows: int | None = Field(default=None, ge=1, description="with ranks: rows of a file, as of write_training_set")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _acts(self) -> Self:
        if len(set(self.by)) < len(self.by):
            raise ValueError("by names a column twice")
        if bool(self.lengths) != (LENGTH in self.by):
            raise ValueError("by: [length] and lengths go together: the characters at which it cuts")
        if any(b <= a for a, b in zip(self.lengths, self.lengths[1:], strict=False)):
            raise ValueError("lengths do not rise")
        if self.packing == "greedy" and "cluster" not in self.by:
            raise ValueError("packing: greedy walks from cluster to cluster; put cluster into by")
        if self.packing == "greedy" and self.order != "random":
            raise ValueError("packing: greedy and order both say which rows meet; leave one of them out")
        if self.remainder == "mix" and ("source" not in self.by or len(self._within) < 2):
            raise ValueError("remainder: mix pools what is left of a source; by needs source and something more")
        if (self.order != "random") != bool(self.difficulty):
            raise ValueError("order and difficulty go together: the column whose numbers rise or fall")
        if any(stage.mixed for stage in self.stages) and not self.by:
            raise ValueError("mixed does nothing where by is empty: every batch is of anything")
        if (self.ranks > 1) != (self.shard_rows is not None):
            raise ValueError("ranks above 1 and shard_rows go together: the rows of a file of one rank")
        if self.batch_size % self.ranks:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of the {self.ranks} ranks; each has the same share")
        return self

    @property
    def _within(self) -> tuple[str, ...]:
        """What makes a stratum: all of ``by``, but greedy packing goes on from cluster to cluster."""
        return tuple(name for name in self.by if name != "cluster" or self.packing == "random")


class _Composer:
    """Collects ids and strata; composes at the end."""

    def __init__(self, p: ComposeBatches, texts: Texts, centroids: Centroids | None, kinds: dict[str, Any]) -> None:
        self.p, self.texts, self.centroids, self.kinds = p, texts, centroids, kinds
        self.tables: list[pa.Table] = []

    def add(self, table: pa.Table, turn: int) -> None:
        """Keep the ids of one part, codes of its text columns, and sixteen bytes of each query."""
        kept = table.select([c for c in _reads(self.p) if c != "query"])
        for name in (c for c in kept.column_names if kept.schema.field(c).type == text):
            kept = columns.put(kept, name, kept[name].cast(pa.dictionary(pa.int32(), text)))
        kept = kept.append_column(ASKED, _asked(table))
        if LENGTH in self.p.by:
            kept = kept.append_column(LENGTH, pa.array(_longest(table, self.p, self.texts)))
        self.tables.append(kept)

    def merge(self, later: "_Composer") -> None:
        """Keep the ids of later parts."""
        self.tables += later.tables

    def finish(self) -> Batches:
        """Fill the batches of every epoch, shuffle them, number their rows."""
        if not any(len(table) for table in self.tables):
            return Batches(np.empty(0, PAIR), np.empty(0, np.int64), np.empty(0, np.int64))
        table = pa.concat_tables(self.tables).unify_dictionaries()
        self.tables = []
        keys = columns.id_pairs(table["query_id"])
        refuse_repeats(keys, "compose_batches", "query", "group_positives, or drop_duplicates with key query_id,")
        names = ["positive_ids", *(["negative_ids"] if self.p.negatives else [])]
        alone = [_coded(table[name]) for name in self.p.apart]
        known = contents(alone, table[ASKED], [columns.flat(table[n]) for n in names], self.texts, **self.kinds)
        table = table.drop_columns(names)
        batches: list[Array] = []
        when: list[tuple[int, int]] = []
        for stage, epoch, rows in self._epochs(table):
            batches += self._epoch(table, known, rows, stage, epoch)
            when += [(stage, epoch)] * (len(batches) - len(when))
        return laid_out(batches, when, keys, self.p.ranks, self.p.shard_rows or 1)

    def _epochs(self, table: pa.Table) -> Iterator[tuple[int, int, tuple[Array, Array]]]:
        """Stage, epoch, and its rows (S,) with how often each stood in the stage before."""
        for number, stage in enumerate(self.p.stages):
            part = np.ones(len(table), bool)
            for name, values in stage.only.items():
                refuse_misspelt(values, pc.unique(table[name].cast(text)).to_pylist(), f"only.{name}")
                part &= pc.is_in(table[name].cast(text), pa.array(values, text)).to_numpy()
            draw = columns.draws(table["query_id"], columns.row_seed(self.p.seed, "mixture", number))
            order = np.lexsort((*_halves(table), draw))
            order = order[part[order]]
            value = _coded(table[stage.share])[order] if stage.share else np.zeros(len(order), np.int64)
            of = {str(table[stage.share][int(order[at])].as_py()) if stage.share else "": code
                  for code, at in zip(*np.unique(value, return_index=True), strict=True)}  # fmt: skip
            parts = {name: order[value == code] for name, code in of.items()}
            wanted = quotas(stage, {name: len(rows) for name, rows in parts.items()})
            for epoch in range(stage.epochs):
                drawn = [epoch_of(parts[name], quota, epoch) for name, quota in wanted.items()]
                rows, before = zip((np.empty(0, np.int64),) * 2, *drawn, strict=True)
                yield number, epoch, (np.concatenate(rows), np.concatenate(before))

    def _epoch(self, table: pa.Table, known: Contents, slots: tuple[Array, Array], stage: int, epoch: int) -> list[Array]:
        """The batches of one epoch, as rows."""
        p, (rows, before) = self.p, slots
        seed = columns.row_seed(p.seed, "meet", stage, epoch)
        draw = columns.mix(columns.draws(table["query_id"], seed)[rows] ^ columns.mix(before))
        hi, lo = (half[rows] for half in _halves(table))
        mixed = np.zeros(len(rows), bool)  # those of the least draw, as many as were asked for
        mixed[np.lexsort((before, lo, hi, columns.mix(draw)))[: round(p.stages[stage].mixed * len(rows))]] = True
        first = np.where(mixed, 0.0, self._first(table)[rows])
        order = np.lexsort((before, lo, hi, draw, first))
        strata = np.where(mixed, -1, _strata(table, p._within, p.lengths)[rows])
        full, loose = settle(order, rows, strata, known, p.batch_size)
        if p.remainder == "short":
            full += loose
        elif p.remainder == "mix":
            left = np.concatenate([np.empty(0, np.int64), *loose])
            sources = np.where(mixed, -1, _strata(table, ("source",), ())[rows])
            full += settle(order[np.isin(order, left)], rows, sources, known, p.batch_size)[0]
        lead = np.array([int(one[0]) for one in full], np.int64)
        batches = [rows[full[i]] for i in np.argsort(columns.mix(draw)[lead], kind="stable")]
        if p.difficulty:
            hard = _hardness(table, p)
            batches.sort(key=lambda one: float(hard[one].mean()))
        return batches

    def _first(self, table: pa.Table) -> Array:
        """By what rows are sorted before the draw, (N,): the walk over the clusters, or difficulty."""
        if self.p.difficulty:
            return _hardness(table, self.p)
        if self.p.packing == "random":
            return np.zeros(len(table))
        assert self.centroids is not None
        count = len(self.centroids.matrix)
        cluster = table["cluster"].to_numpy()
        if len(cluster) and cluster.max() >= count:
            raise InputError(f"compose_batches: there is a cluster {cluster.max()}, but {count} centroids; give those of its fit")
        when = tour(self.centroids.matrix, columns.row_seed(self.p.seed, "tour") % count)
        first: Array = when.astype(np.float64)[cluster]
        return first


def _asked(table: pa.Table) -> pa.Array:
    """(N,) binary(16), equal where two queries are, case and white space aside, and to a passage's key where it says the same."""
    parts = columns.slices(table.select(["query"]))
    return pa.concat_arrays([
        pa.array([], row_id), *(columns.content_ids([q.casefold() for q in part["query"].to_pylist()]) for part in parts),
    ])  # fmt: skip


def _longest(table: pa.Table, p: ComposeBatches, texts: Texts) -> Array:
    """Characters of each row's longest text: (N,) int32."""
    longest: Array = pc.utf8_length(table["query"]).to_numpy().astype(np.int32)
    for name in ("positive_ids", *(["negative_ids"] if p.negatives else [])):
        offsets, values = columns.flat(table[name])
        np.maximum.at(longest, np.repeat(np.arange(len(table)), np.diff(offsets)), texts.lengths(values))
    return longest


def _halves(table: pa.Table) -> tuple[Array, Array]:
    pairs = columns.id_pairs(table["query_id"])
    return pairs["lo"], pairs["hi"]


def _coded(column: pa.ChunkedArray) -> Array:
    """(N,) int64, equal where the values are."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    code: Array = column.combine_chunks().indices.to_numpy().astype(np.int64)
    return code


def _strata(table: pa.Table, by: tuple[str, ...], lengths: tuple[int, ...]) -> Array:
    """(N,) int64, equal where rows are alike in all of ``by``."""
    found = np.zeros(len(table), np.int64)
    for name in by:
        code = np.searchsorted(lengths, table[LENGTH].to_numpy(), "right") if name == LENGTH else _coded(table[name])
        found = np.unique(found * (int(code.max(initial=0)) + 1) + code, return_inverse=True)[1]
    return found


def _hardness(table: pa.Table, p: ComposeBatches) -> Array:
    """(N,) float64, rising in the order that was asked for; none comes last."""
    number = table[p.difficulty].to_numpy().astype(np.float64)
    return np.where(np.isnan(number), np.inf, number if p.order == "rising" else -number)


def _reads(p: ComposeBatches) -> Columns:
    told = [*p.by, *(name for stage in p.stages for name in stage.columns), *p.apart]
    kinds: dict[str, pa.DataType] = {"query_id": row_id, "query": text, "positive_ids": ids}
    kinds |= {c: pa.int32() if c == "cluster" else text for c in told if c != LENGTH}
    return kinds | ({"negative_ids": ids} if p.negatives else {}) | ({p.difficulty: score} if p.difficulty else {})


def _check(p: ComposeBatches, using: Mapping[str, Any]) -> list[str]:
    given = "centroids" in using.get(ARTIFACTS, ())
    if p.packing == "greedy" and not given:
        return ["compose_batches: packing: greedy needs using: {centroids: STEP}, the fit_clusters of the clusters"]
    if p.packing == "random" and given:
        return ["compose_batches: centroids do nothing where packing is random; leave them out, or say packing: greedy"]
    return []


def measure_batches(made: Batches, p: ComposeBatches) -> dict[str, int]:
    """How many batches, how many of them are short, and how many rows stand in them, each as often as it does."""
    short = int((np.bincount(made.batch, minlength=1) < p.batch_size).sum()) if len(made) else 0
    return {"batches": made.count, "short batches": short, "rows in batches": len(made)}


@operator("build", version="5", reads=_reads, check=_check, measure=measure_batches)
def compose_batches(
    p: ComposeBatches, *, texts: Texts, centroids: Centroids | None = None, classes: DuplicateClasses | None = None,
    documents: Documents | None = None,
) -> _Composer:  # fmt: skip
    """N rows, of which ids, codes and a hash of the query are held.

    With a positive and four negatives a row that is some 330 bytes a row, and 1,000 at the end (600k rows: 10 s to compose).
    """
    return _Composer(p, texts, centroids, {"classes": classes, "documents": documents})


def example() -> Example:
    """Five rows of two clusters; two rows share a positive."""
    (w, x, y, z), texts = indexed(list("wxyz"))
    table = pa.table({
        "query_id": columns.content_ids(list("abcde")), "query": pa.array(list("abcde"), text),
        "positive_ids": pa.array([[w], [w], [x], [y], [z]], ids),
        "negative_ids": pa.array([[x], [y], [w], [w], [w]], ids), "source": pa.array(["s"] * 5, text),
        "cluster": pa.array([0, 0, 1, 1, 1], pa.int32()),
    })  # fmt: skip
    return Example(table, ComposeBatches(batch_size=2, remainder="short"), {"texts": texts})
