"""Train a student encoder on the rows of a training set; what it makes is an encoder, to be judged on real queries (C50).

Batches are those that the set was composed in, or drawn anew. Losses and their sources: `operators.engines.student`.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns
from operators.content import codes, floats, indexed, parents
from operators.contract import Columns, Example, InputError, Params, ids, operator, row_id, scores, text
from operators.engines.encoder import Encoder
from operators.engines.student import Row, Settings, Student, fresh, tokens_of, train
from operators.engines.train_cross import Said
from operators.index_texts import Texts

Array = np.ndarray[Any, Any]
_PLACES = {"batch": pa.int64(), "position": pa.int64(), "stage": pa.int32()}
_RATES = {"static": 1e-2}  # by back end


class TrainStudent(Params):
    """With which loss, on how much of a row, and for how long.

    Memory is that of ``max_rows`` rows and of the texts that they name.
    """

    loss: Literal["infonce", "listwise"] = Field(default="infonce", description="listwise: a row's scores are its teacher's")
    negatives: int = Field(default=0, ge=0, le=255, description="of each row, the first so many")
    masks: bool = Field(default=False, description="what a row's masked_ids name is no negative of it")
    contrastive: float | None = Field(default=None, ge=0, description="of listwise: the weight of InfoNCE beside it; 0.1")
    scale: float = Field(default=20.0, gt=0, description="of cosines: one by the student's temperature")
    teacher_temperature: float | None = Field(
        default=None, gt=0, description="of listwise; 0.3, of scores between their 1st and 99th percentile in all rows"
    )
    batches: Literal["set", "random"] = Field(default="set", description="set: as composed, stage by stage, in a drawn order")
    batch_size: int | None = Field(default=None, ge=2, description="of random; 64")
    max_rows: int = Field(default=100_000, ge=1, description="the first by position, or of random batches by id")
    epochs: int = Field(default=1, ge=1)
    learning_rate: float | None = Field(default=None, gt=0, description="at its height; 2e-5, of a static encoder 0.01")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps in which the rate rises; then it falls to 0")
    max_tokens: int = Field(default=128, ge=8, description="of a text in training; what is longer is cut")
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="of the products; weights are float32")
    seed: int = Field(default=0, ge=0, description="draws the order of batches, and random batches")

    @model_validator(mode="after")
    def _every_option_acts(self) -> Self:
        if self.loss != "listwise" and (self.contrastive is not None or self.teacher_temperature is not None):
            raise ValueError("contrastive and teacher_temperature belong to loss listwise: leave them out")
        if self.loss == "listwise" and not self.negatives:
            raise ValueError("loss listwise needs negatives: the list is a positive and so many negatives")
        if self.batches == "set" and self.batch_size is not None:
            raise ValueError("batch_size does nothing where batches are the set's: leave it out, or say batches: random")
        if self.masks and self.loss == "listwise" and self.contrastive == 0:
            raise ValueError("masks do nothing where contrastive is 0: no row meets another's passages")
        return self


def _reads(p: TrainStudent) -> Columns:
    negative = {"negative_ids": ids} if p.negatives else {}
    told = {"positive_scores": scores, "negative_scores": scores} if p.loss == "listwise" else {}
    masked = {"masked_ids": ids} if p.masks else {}
    return {"query_id": row_id, "query": text, "positive_ids": ids, **negative, **told, **masked,
            **(_PLACES if p.batches == "set" else {})}  # fmt: skip


class _Training:
    """Rows under way, until the last one is there."""

    def __init__(self, p: TrainStudent, encoder: Encoder, texts: Texts) -> None:
        self.p, self._entry, self._texts = p, encoder.entry, texts
        self.tables: list[pa.Table] = []

    def add(self, table: pa.Table, turn: int) -> None:
        """Keep what is read of one part."""
        self.tables.append(table.select([*_reads(self.p)]))

    def merge(self, later: "_Training") -> None:
        """Keep the rows of later parts."""
        self.tables += later.tables

    def finish(self) -> Student:
        """Train; without a row there is nothing to learn."""
        p, table = self.p, _in_order(self.p, self.tables)
        if not len(table):
            raise InputError(f"train_student: no row has a positive{' and a scored negative' * (p.loss == 'listwise')}")
        encoder = fresh(self._entry)
        listwise = p.loss == "listwise"
        settings = Settings(
            contrastive=(0.1 if p.contrastive is None else p.contrastive) if listwise else 1.0, listwise=float(listwise),
            scale=p.scale, temperature=p.teacher_temperature or 0.3, warmup=p.warmup, half=p.dtype == "bfloat16",
            rate=p.learning_rate or _RATES.get(self._entry.backend, 2e-5),
        )  # fmt: skip
        queries = tokens_of(encoder, table["query"].to_pylist(), "query", p.max_tokens)
        rows, wanted = _rows(table, p, queries)
        passages = tokens_of(encoder, self._texts.take(wanted).to_pylist(), "passage", p.max_tokens)
        return train(encoder, rows, passages, list(_steps(table, p)), settings, Said("train_student"))


def _in_order(p: TrainStudent, tables: Sequence[pa.Table]) -> pa.Table:
    """The rows that teach, in an order that no cut changes: by place in the set, or by id."""
    table = pa.concat_tables(tables) if tables else pa.table({c: pa.array([], t) for c, t in _reads(p).items()})
    good = np.diff(columns.flat(table["positive_ids"])[0]) > 0
    if p.loss == "listwise":
        for name, most in (("positive_scores", 1), ("negative_scores", p.negatives)):
            offsets, values = _firsts(table[name], most)
            good &= np.bincount(parents(offsets)[np.isfinite(floats(values))], minlength=len(table)) > 0
    table = table.filter(pa.array(good))
    by = ["position", "query_id"] if p.batches == "set" else ["query_id", "query"]
    return table.sort_by([(c, "ascending") for c in by]).slice(0, p.max_rows).combine_chunks()


def _rows(table: pa.Table, p: TrainStudent, queries: Sequence[Sequence[int]]) -> tuple[list[Row], pa.Array]:
    """A `Row` of each, and the ids of the passages that they count by."""
    lists = [_firsts(table["positive_ids"], 1)]
    lists += [_firsts(table["negative_ids"], p.negatives)] if p.negatives else []
    lists += [columns.flat(table["masked_ids"])] if p.masks else []
    every = pa.concat_arrays([values for _, values in lists])
    at = [_by_row(offsets, number) for (offsets, _), number in zip(lists, codes([v for _, v in lists]), strict=True)]
    wanted = every.unique().take(pa.array(np.argsort(columns.id_pairs(every.unique()))))  # in the order that codes count in
    negatives, masked = at[1] if p.negatives else [()] * len(table), at[-1] if p.masks else [()] * len(table)
    told = _scores(table, p) if p.loss == "listwise" else [()] * len(table)
    rows = []
    for query, [positive], others, mask, scored in zip(queries, at[0], negatives, masked, told, strict=True):
        kept = [i for i, one in enumerate(scored) if one == one] if len(scored) else range(1 + len(others))
        passages = [positive, *others]
        rows.append(Row(query, [passages[i] for i in kept], [float(scored[i]) for i in kept if len(scored)], mask))
    return rows, wanted


def _firsts(column: pa.ChunkedArray, most: int) -> tuple[Array, pa.Array]:
    """The first ``most`` values of each list."""
    offsets, values = columns.flat(column)
    ends, at = columns.ragged(offsets[:-1], np.minimum(np.diff(offsets), most))
    return ends, values.take(pa.array(at))


def _by_row(offsets: Array, values: Array) -> list[list[Any]]:
    return [values[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def _scores(table: pa.Table, p: TrainStudent) -> list[list[float]]:
    """The teacher's scores of a row's positive and negatives, spread between the 1st and 99th percentile of all; NaN: none."""
    first, others = (_firsts(table[c], n) for c, n in (("positive_scores", 1), ("negative_scores", p.negatives)))
    every = np.concatenate([floats(values) for _, values in (first, others)])
    low, high = np.nanpercentile(every, [1, 99])
    spread = [np.clip((floats(values) - low) / max(high - low, 1e-9), 0, 1) for _, values in (first, others)]
    return [[*a, *b] for a, b in zip(_by_row(first[0], spread[0]), _by_row(others[0], spread[1]), strict=True)]


def _steps(table: pa.Table, p: TrainStudent) -> list[Array]:
    """The rows of every step. A set's batches stay what they are: their order within a stage is drawn."""
    random = np.random.default_rng(p.seed)
    if p.batches == "random":
        size, steps = p.batch_size or 64, []
        for _ in range(p.epochs):
            order = random.permutation(len(table))
            steps += [order[i : i + size] for i in range(0, len(order), size)]
        return steps
    batch, stage = table["batch"].to_numpy(), table["stage"].to_numpy()
    edges = np.flatnonzero(np.diff(batch, prepend=batch[0] - 1 if len(batch) else 0))
    whole = np.split(np.arange(len(batch)), edges[1:])
    of = np.array([stage[rows[0]] for rows in whole])
    return [whole[i] for _ in range(p.epochs) for one in np.unique(of) for i in random.permutation(np.flatnonzero(of == one))]


def _from_an_encoder(p: TrainStudent, using: Mapping[str, Any]) -> list[str]:
    if "encoder" not in using or using["encoder"].backend in ("sentence-transformers", "static"):
        return []
    return [f"train_student trains encoders of sentence-transformers and static ones; backend {using['encoder'].backend} is none"]


@operator("build", version="1", reads=_reads, check=_from_an_encoder)
def train_student(p: TrainStudent, *, encoder: Encoder, texts: Texts) -> _Training:
    """One pass over rows of a training set; an `Encoder` comes out, the given one taught."""
    return _Training(p, encoder, texts)


def example() -> Example:
    """Four queries in two batches over five passages; the student is the static encoder."""
    from operators.engines import load_model, packaged

    words = ["iron rusts in rain", "owls hunt at night", "bread needs yeast", "rain falls from clouds", "bats hunt at night"]
    key, texts = indexed(words)
    asked = ["why does iron rust", "when do owls hunt", "what makes bread rise", "where does rain fall from"]
    rows = {
        "query_id": columns.content_ids(asked), "query": pa.array(asked, text),
        "positive_ids": pa.array([[key[0]], [key[1]], [key[2]], [key[3]]], ids),
        "negative_ids": pa.array([[key[3]], [key[4], key[2]], [key[0]], []], ids),
        "positive_scores": pa.array([[0.9], [0.8], [0.9], [0.7]], scores),
        "negative_scores": pa.array([[0.4], [0.7, None], [0.1], []], scores),
        "masked_ids": pa.array([[], [], [], [key[0]]], ids), "batch": pa.array([0, 0, 1, 1], pa.int64()),
        "position": pa.array([0, 1, 2, 3], pa.int64()), "stage": pa.array([0, 0, 0, 0], pa.int32()),
    }  # fmt: skip
    used = {"encoder": load_model("encoder", packaged("encoder", "static")), "texts": texts}
    return Example(pa.table(rows), TrainStudent(negatives=2, masks=True), used)
