"""Drop pairs below the floor that was fitted for the encoder which scored them, and for no other (C20)."""

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, InputError, Outcome, Params, operator, score, text
from operators.filter_scores import Limit, within
from operators.fit_pair_floor import PairFloor, fit_pair_floor
from operators.fit_pair_floor import example as fitted
from operators.score_pairs import ScorePairs, by_of, score_pairs


class DropBelowFloor(Params):
    """Which cosine is compared; the floor says the rest."""

    column: str = Field(default="similarity", min_length=1, description="as `score_pairs` wrote it, with COLUMN_by beside it")


def _reads(p: DropBelowFloor) -> Columns:
    return {p.column: score, by_of(p.column): text}


@operator("map", version="1", reads=_reads, rows="fewer")
def drop_below_floor(table: pa.Table, p: DropBelowFloor, *, floor: PairFloor) -> Outcome:
    """Keep the pairs at or above the floor; raises `InputError` where another encoder scored a pair."""
    other = [one for one in pc.unique(table[by_of(p.column)]).to_pylist() if one != floor.encoder]
    if other:
        raise InputError(
            f"drop_below_floor: {p.column} was scored by {other[0]!r}, the floor was fitted for {floor.encoder!r}; "
            "name one encoder in score_pairs and fit_pair_floor"
        )
    return within(table, [Limit(f"{p.column} below the floor {floor.threshold:.4g}", p.column, "at_least", floor.threshold)])


def example() -> Example:
    """Four pairs, each against a floor of its own encoder; one is no pair."""
    case = fitted()
    fold = fit_pair_floor(case.params, **case.used)
    fold.add(case.table, 0)
    told = case.table["passage"].to_pylist()
    mixed = columns.put(case.table, "passage", pa.array([told[1], *told[1:]], text))
    return Example(score_pairs(mixed, ScorePairs(), **case.used), DropBelowFloor(), {"floor": fold.finish()})
