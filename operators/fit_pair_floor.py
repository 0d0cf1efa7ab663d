"""Fit the cosine below which a pair is no better than chance: a floor for one encoder, of random and of true pairs (C20).

Conan (arXiv:2408.15710) drops pairs below 0.4; of another encoder 0.4 keeps every random pair, or drops half of the true
ones. Where random pairs lie has to be measured (Telecom, arXiv:2406.12336). The artifact names its encoder.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators import columns, topk
from operators.content import Array
from operators.contract import Example, InputError, Params, operator, row_id, text
from operators.engines.encoder import Encoder
from operators.json_artifact import JsonArtifact
from operators.score_pairs import cosines, name_of

PERCENTILES = tuple(range(101))


class FitPairFloor(Params):
    """What decides, and how many pairs are looked at.

    ``random`` takes a percentile of the random pairs, whatever the given pairs are; ``equal_error`` the cosine at which
    as large a share of random pairs lies above as of the given ones below, which wants pairs that are good. With half of
    vaswani's pairs shuffled (MiniLM), equal error lets 35 % of these pass and loses 1 % of the good ones, the 95th percentile
    5 % and 28 %, the 99th 1 % and 61 %.
    """

    rule: Literal["random", "equal_error"] = "random"
    percentile: float | None = Field(default=None, gt=0, lt=100, description="of the random pairs; 95 where rule is random")
    pairs: int = Field(default=2000, ge=2, description="given pairs that are encoded, by the hash of their ids")
    partners: int = Field(default=10, ge=1, description="other pairs' passages that each query of them is scored with")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _acts(self) -> Self:
        if self.rule == "equal_error" and self.percentile is not None:
            raise ValueError("percentile does nothing with rule equal_error; leave one of them out")
        return self


@dataclass(frozen=True)
class PairFloor(JsonArtifact):
    """The floor, why it lies there, and both distributions as their percentiles 0 to 100."""

    file: ClassVar[str] = "pair_floor.json"
    encoder: str
    threshold: float
    reason: str
    random_above: float  # share of the random pairs that pass
    given_below: float  # share of the given pairs that do not
    auc: float  # how often a given pair scores above a random one
    random: list[float]
    given: list[float]
    random_pairs: int
    given_pairs: int


class _Pairs:
    """The pairs with the smallest hashes: ``pairs`` are held, and a slice."""

    def __init__(self, p: FitPairFloor, encoder: Encoder) -> None:
        self.p, self.encoder = p, encoder
        self.held: list[pa.Table] = []

    def add(self, table: pa.Table, turn: int) -> None:
        """Take in one part."""
        seed = columns.row_seed(self.p.seed, "pair floor")
        draws = columns.mix(columns.draws(table["query_id"], seed) + columns.draws(table["passage_id"], seed ^ 1))
        table = table.select(list(READS)).append_column("draw", pa.array(draws))
        for part in columns.slices(table):
            self.held = [self._first([*self.held, part])]

    def merge(self, later: "_Pairs") -> None:
        """Take in the pairs of later parts."""
        self.held = [self._first([*self.held, *later.held])] if self.held or later.held else []

    def _first(self, tables: list[pa.Table]) -> pa.Table:
        """The ``pairs`` first by their draw; of a pair that is there twice, the first."""
        table = pa.concat_tables(tables)
        table = table.take(pc.sort_indices(table, sort_keys=[("draw", "ascending")]))  # stable
        draws = table["draw"].to_numpy()
        fresh = np.ones(len(draws), bool)
        fresh[1:] = draws[1:] != draws[:-1]
        return table.filter(pa.array(fresh)).slice(0, self.p.pairs).combine_chunks()

    def finish(self) -> PairFloor:
        """Encode what is held, and score the pairs and the queries with other pairs' passages."""
        if (held := sum(map(len, self.held))) < 2:
            raise InputError(f"fit_pair_floor: there is no floor of {held} pairs; give two at least, better a thousand")
        table = self.held[0]
        queries, passages = cosines(self.encoder, table["query"].to_pylist(), columns.shown(table))
        given = topk.dots(queries, passages).astype(np.float32)
        one, other = _partners(table, self.p)
        random = topk.dots(queries[one], passages[other]).astype(np.float32)
        given, random = (np.sort(x[np.isfinite(x)]) for x in (given, random))
        if not len(random):
            raise InputError("fit_pair_floor: no pair has a query and a passage of its own; give other pairs")
        threshold, reason = _chosen(given, random, self.p)
        below, above = float((given < threshold).mean()), float((random >= threshold).mean())
        auc = float((np.searchsorted(random, given) + np.searchsorted(random, given, "right")).mean() / (2 * len(random)))
        reason += f": {above:.1%} of the random pairs pass, {below:.1%} of the given do not"
        return PairFloor(
            name_of(self.encoder.entry), float(threshold), reason, above, below, auc,
            _percentiles(random), _percentiles(given), len(random), len(given),
        )  # fmt: skip


def _partners(table: pa.Table, p: FitPairFloor) -> tuple[Array, Array]:
    """(query of, passage of): each pair's query with the passages of others, none of which is given as its own."""
    count = len(table)
    asked = columns.id_pairs(table["query_id"])
    told = columns.id_pairs(columns.content_ids([""] * count, [one.casefold() for one in table["passage"].to_pylist()]))
    asked, told = (np.unique(x, return_inverse=True)[1].astype(np.int64) for x in (asked, told))
    shifts = 1 + np.random.default_rng(p.seed).permutation(count - 1)[: p.partners]  # the pairs stand in a drawn order
    one = np.repeat(np.arange(count), len(shifts))
    other = (one + np.tile(shifts, count)) % count
    free = ~np.isin(asked[one] * count + told[other], asked * count + told)
    return one[free], other[free]


def _percentiles(scored: Array) -> list[float]:
    return [round(float(v), 6) for v in np.percentile(scored, PERCENTILES)]


def _chosen(given: Array, random: Array, p: FitPairFloor) -> tuple[Any, str]:
    """The floor (float32) and its reason; both sides sorted."""
    if p.rule == "equal_error":
        every = np.unique(np.concatenate([given, random]))
        above = 1 - np.searchsorted(random, every) / len(random)
        below = np.searchsorted(given, every) / len(given)
        return every[min(int(np.argmax(above <= below)), len(every) - 1)], "equal error"
    percentile = 95.0 if p.percentile is None else p.percentile
    if len(random) < (least := int(np.ceil(round(100 / (100 - percentile), 6)))):
        raise InputError(
            f"fit_pair_floor: percentile {percentile:g} of {len(random)} random pairs is only their highest; "
            f"give pairs for {least}, or a lower percentile"
        )
    return np.percentile(random, percentile).astype(np.float32), f"percentile {percentile:g} of the random pairs"


READS = {"query_id": row_id, "query": text, "passage_id": row_id, "title": text, "passage": text}


def measure_floor(made: PairFloor, p: FitPairFloor) -> dict[str, int]:
    """How many pairs were scored."""
    return {"given pairs": made.given_pairs, "random pairs": made.random_pairs}


@operator("build", version="1", holds=True, reads=READS, measure=measure_floor)
def fit_pair_floor(p: FitPairFloor, *, encoder: Encoder) -> _Pairs:
    """One pass; ``pairs`` queries and passages are held and encoded, not all."""
    return _Pairs(p, encoder)


def example() -> Example:
    """Four pairs with the packaged encoder."""
    from operators.engines import load_model, packaged

    asked = ["what rusts", "what hunts at night", "what needs yeast", "what falls"]
    told = ["Iron rusts in rain.", "Owls hunt mice at night.", "Bread needs yeast.", "Rain falls from clouds."]
    blank = [""] * 4
    table = pa.table({
        "query_id": columns.content_ids(asked, blank), "query": pa.array(asked, text),
        "passage_id": columns.content_ids(blank, told), "title": pa.array(blank, text), "passage": pa.array(told, text),
    })  # fmt: skip
    encoder = load_model("encoder", packaged("encoder"))
    return Example(table.sort_by("query_id"), FitPairFloor(percentile=50, partners=3), {"encoder": encoder})
