"""Keep the rows that were chosen under a budget; the others are counted rejects."""

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.choose_rows import ChooseRows, Chosen, choose_rows
from operators.contract import Columns, Example, Outcome, Params, operator, reject, row_id


class KeepChosen(Params):
    """Whose id is looked up."""

    key: str = Field(default="passage_id", min_length=1, description="as of `choose_rows`")


def _reads(p: KeepChosen) -> Columns:
    return {p.key: row_id}


@operator("map", version="1", reads=_reads, rows="fewer")
def keep_chosen(table: pa.Table, p: KeepChosen, *, chosen: Chosen) -> Outcome:
    """N rows: those whose id was chosen."""
    return reject(table, ~chosen.has(table[p.key]), "not chosen under the budget")


def example() -> Example:
    """Four rows, two of them chosen."""
    table = pa.table({"passage_id": columns.content_ids([""] * 4, list("abcd"))}).sort_by("passage_id")
    fold = choose_rows(ChooseRows(budget=2))
    fold.add(table, 0)
    return Example(table, KeepChosen(), {"chosen": fold.finish()})
