"""How the statistics of two versions of a set differ: lengths, scores, list lengths, shares of sources and languages (C51).

PSI is the population stability index, sum((a − b)·ln(a / b)) over ten bins of equal share in the older version (Siddiqi 2006,
section 6: below 0.1 no change, above 0.25 a large one); KS is the largest gap of the two distribution functions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Array = np.ndarray[Any, Any]
BINS, LEAST = 10, 1e-4  # a share below the second counts as so much: no logarithm of nothing
MOST = 1 << 18  # rows a version that are looked at, those of the smallest ids
NAMED = ("source", "lang", "licence", "query_type", "instruction", "generator")


def statistics(table: pa.Table) -> dict[str, Any]:
    """Numbers (N,) float64 or names (N,) of each column that a distribution tells something of."""
    found: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if name in NAMED:
            found[f"{name} share"] = column.cast(pa.string()).to_pylist()
        elif pa.types.is_string(kind) and not name.endswith("_id"):
            found[f"{name} length"] = pc.utf8_length(column).to_numpy()
        elif pa.types.is_floating(kind):
            found[name] = column.to_numpy()
        elif pa.types.is_list(kind):
            inner = pc.list_flatten(column)
            if name.endswith("_ids") or name == "candidate_ids":
                found[f"{name} count"] = pc.list_value_length(column).to_numpy()
            elif pa.types.is_string(kind.value_type):
                found[f"{name} length"] = pc.utf8_length(inner).to_numpy()
            elif pa.types.is_floating(kind.value_type) and name.endswith("scores"):
                found[name] = inner.to_numpy()
    return found


def compare(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """PSI, and of numbers KS and both means, of each statistic that both versions have."""
    found = {}
    for name in sorted(one.keys() & other.keys()):
        a, b = one[name], other[name]
        if not len(a) or not len(b):
            continue
        if isinstance(a, list):
            found[name] = {"psi": psi(*_shares(a, b))}
            continue
        a, b = a[np.isfinite(a)].astype(np.float64), b[np.isfinite(b)].astype(np.float64)
        if len(a) and len(b):
            means = {"before": round(float(a.mean()), 4), "after": round(float(b.mean()), 4)}
            found[name] = {"psi": psi(*_binned(a, b)), "ks": ks(a, b), **means}
    return found


def psi(a: Array, b: Array) -> float:
    """The population stability index of two rows of shares (K,)."""
    a, b = np.maximum(a, LEAST), np.maximum(b, LEAST)
    return round(float(((a - b) * np.log(a / b)).sum()), 4)


def ks(a: Array, b: Array) -> float:
    """The Kolmogorov-Smirnov distance of two samples."""
    every = np.concatenate([a, b])  # scipy's ks_2samp finds the same, but to import it takes longer than most diffs
    gaps = [np.searchsorted(np.sort(x), every, side="right") / len(x) for x in (a, b)]
    return round(float(np.abs(gaps[0] - gaps[1]).max()), 4)


def _binned(a: Array, b: Array) -> tuple[Array, Array]:
    cuts = np.unique(np.quantile(a, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(cuts, x, side="right"), minlength=len(cuts) + 1) / len(x) for x in (a, b)]
    return counts[0], counts[1]


def _shares(a: Sequence[Any], b: Sequence[Any]) -> tuple[Array, Array]:
    names = {name: i for i, name in enumerate(sorted({str(x) for x in (*a, *b)}))}
    counts = [np.bincount([names[str(x)] for x in side], minlength=len(names)) / len(side) for side in (a, b)]
    return counts[0], counts[1]
