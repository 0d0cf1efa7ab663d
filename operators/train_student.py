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
_LISTS = {"positive_ids": "positive_scores", "negative_ids": "negative_scores"}
_RATES = {"static": 3e-2}  # by back end


class TrainStudent(Params):
    """With which loss, on how much of a row, and for how long.

    Memory is that of ``max_rows`` rows and of the texts that they name.
    """

    loss: Literal["infonce", "listwise"] = Field(default="infonce", description="listwise: a row's scores are its teacher's")
    negatives: int = Field(default=0, ge=0, le=255, description="of each row, the first so many")
    masks: bool = Field(default=False, description="what a row's masked_ids name is no negative of it")
    candidates: str = Field(
        default="", description="of listwise: a score column of candidate_ids; the first ``negatives`` of these are the list"
    )
    contrastive: float | None = Field(default=None, ge=0, description="of listwise: the weight of InfoNCE beside it; 0.1")
    scale: float = Field(default=20.0, gt=0, description="of cosines: one by the student's temperature")
    teacher_temperature: float | None = Field(
        default=None, gt=0, description="of listwise; 0.3, of scores between their 1st and 99th percentile in all rows"
    )
    batches: Literal["set", "random"] = Field(default="set", description="set: as composed, stage by stage, in a drawn order")
    batch_size: int | None = Field(default=None, ge=2, description="of random; 64")
    max_rows: int = Field(default=100_000, ge=1, description="the first by position, or of random batches by id")
    epochs: int = Field(default=1, ge=1)
    learning_rate: float | None = Field(default=None, gt=0, description="at its height; 2e-5, of a static encoder 0.03")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps in which the rate rises; then it falls to 0")
    max_tokens: int = Field(default=128, ge=8, description="of a text in training; what is longer is cut")
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="of the products; weights are float32")
    seed: int = Field(default=0, ge=0, description="draws the order of batches, and random batches")

    @model_validator(mode="after")
    def _every_option_acts(self) -> Self:
        if self.loss != "listwise" and (self.moved("contrastive", "teacher_temperature") or self.candidates):
            raise ValueError("candidates, contrastive and teacher_temperature belong to loss listwise: leave them out")
        if self.loss == "listwise" and self.negatives < (2 if self.candidates else 1):
            raise ValueError("loss listwise needs negatives: the list is a positive and so many negatives, or so many candidates")
        if self.batches == "set" and self.batch_size is not None:
            raise ValueError("batch_size does nothing where batches are the set's: leave it out, or say batches: random")
        if self.masks and self.loss == "listwise" and self.contrastive == 0:
            raise ValueError("masks do nothing where contrastive is 0: no row meets another's passages")
        return self


def _reads(p: TrainStudent) -> Columns:
    negative = {"negative_ids": ids} if p.negatives and not p.candidates else {}
    told = dict.fromkeys(_told(p).values(), scores) | ({"candidate_ids": ids} if p.candidates else {})
    masked = {"masked_ids": ids} if p.masks else {}
    return {"query_id": row_id, "query": text, "positive_ids": ids, **negative, **told, **masked,
            **(_PLACES if p.batches == "set" else {})}  # fmt: skip


def _told(p: TrainStudent) -> dict[str, str]:
    """The lists that a teacher scored, and the columns of its scores."""
    if p.loss != "listwise":
        return {}
    return {"candidate_ids": p.candidates} if p.candidates else _LISTS


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
    for of, name in _told(p).items():
        offsets, values = _firsts(table[name], _most(p, of))
        good &= np.bincount(parents(offsets)[np.isfinite(floats(values))], minlength=len(table)) > bool(p.candidates)
    table = table.filter(pa.array(good))
    by = ["position", "query_id"] if p.batches == "set" else ["query_id", "query"]
    return table.sort_by([(c, "ascending") for c in by]).slice(0, p.max_rows).combine_chunks()


def _most(p: TrainStudent, name: str) -> int:
    """How many of a list are looked at."""
    return 1 if name == "positive_ids" else p.negatives


def _rows(table: pa.Table, p: TrainStudent, queries: Sequence[Sequence[int]]) -> tuple[list[Row], pa.Array]:
    """A `Row` of each, and the ids of the passages that they count by."""
    names = [n for n in ("positive_ids", "negative_ids", "candidate_ids") if n in _reads(p)]
    lists = {name: _firsts(table[name], _most(p, name)) for name in names}
    lists |= {"masked_ids": columns.flat(table["masked_ids"])} if p.masks else {}
    every = pa.concat_arrays([values for _, values in lists.values()])
    number = codes([values for _, values in lists.values()])
    at = {name: _by_row(lists[name][0], one) for name, one in zip(lists, number, strict=True)}
    wanted = every.unique()
    pairs = columns.id_pairs(wanted)
    wanted = wanted.take(pa.array(np.lexsort((pairs["lo"], pairs["hi"]))))  # the order that codes count in
    none: list[list[Any]] = [[]] * len(table)
    scored = _scores(table, p) if p.loss == "listwise" else none
    rows = []
    for i, query in enumerate(queries):
        [positive], others, masked = at["positive_ids"][i], at.get("negative_ids", none)[i], at.get("masked_ids", none)[i]
        given = at["candidate_ids"][i] if p.candidates else [positive, *others]
        listed = {one: score for one, score in zip(given, scored[i], strict=False) if score == score}
        # what a teacher scored as a candidate is no negative: how good it is the list tells
        masked = [*masked, *(one for one in listed if one != positive)] if p.candidates else masked
        rows.append(Row(query, positive, others, masked, [*listed], [*listed.values()]))
    return rows, wanted


def _firsts(column: pa.ChunkedArray, most: int) -> tuple[Array, pa.Array]:
    """The first ``most`` values of each list."""
    offsets, values = columns.flat(column)
    ends, at = columns.ragged(offsets[:-1], np.minimum(np.diff(offsets), most))
    return ends, values.take(pa.array(at))


def _by_row(offsets: Array, values: Array) -> list[list[Any]]:
    return [values[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def _scores(table: pa.Table, p: TrainStudent) -> list[list[float]]:
    """The teacher's scores of a row's list, spread between the 1st and the 99th percentile of all; NaN where there is none."""
    found = [_firsts(table[name], _most(p, of)) for of, name in _told(p).items()]
    low, high = np.nanpercentile(np.concatenate([floats(values) for _, values in found]), [1, 99])
    spread = [np.clip((floats(values) - low) / max(high - low, 1e-9), 0, 1) for _, values in found]
    by_row = [_by_row(ends, one) for (ends, _), one in zip(found, spread, strict=True)]
    return [[v for one in row for v in one] for row in zip(*by_row, strict=True)]


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
