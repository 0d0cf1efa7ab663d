"""Keep of each source what `fit_source_caps` found may stay."""

import pyarrow as pa

from operators import fit_source_caps
from operators.contract import Example, Outcome, Params, operator, reject, row_id, text
from operators.fit_source_caps import SourceCaps


class CapSources(Params):
    """Nothing to choose: the caps say it all."""


@operator("map", version="1", rows="fewer", reads={"pair_id": row_id, "source": text})
def cap_sources(table: pa.Table, p: CapSources, *, caps: SourceCaps) -> Outcome:
    """The rows within the cap of their source; which stay is a hash of their ``pair_id``."""
    return reject(table, caps.above(table), "above the cap of its source", table["source"].to_pylist())


def example() -> Example:
    """Five pairs; of one source two of three stay."""
    shown = fit_source_caps.example()
    fold = fit_source_caps.fit_source_caps(shown.params)
    fold.add(shown.table, 0)
    return Example(shown.table, CapSources(), {"caps": fold.finish()})
