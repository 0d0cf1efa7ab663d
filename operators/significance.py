"""What a difference of two arms is worth: intervals and tests over queries, several seeds pooled (C50).

Paired bootstrap and paired permutation as in Smucker, Allan and Carterette, CIKM 2007; Holm's step-down correction (1979).
Queries are the unit: seeds of a training are no independent samples of queries, so a query's seeds count as their mean, and
how much they differ is told beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
DRAWS = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """Of paired numbers: mean gain, its interval, how likely one as large is by chance, the least that could be seen."""

    gain: float
    low: float
    high: float
    p: float
    detectable: float


def difference(ours: Array, theirs: Array, seed: int = 0, draws: int = DRAWS, level: float = LEVEL) -> Difference:
    """Compare two arms on the same queries: (Q,) each, a query's mean over seeds."""
    paired = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    low, high = interval(paired, seed, draws, level)
    return Difference(float(paired.mean()), low, high, permutation_p(paired, seed, draws), detectable(paired, level))


def interval(values: Array, seed: int = 0, draws: int = DRAWS, level: float = LEVEL) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of (Q,) values."""
    from scipy.stats import bootstrap

    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    random = np.random.default_rng(seed)
    told = bootstrap((values,), np.mean, n_resamples=draws, confidence_level=level, method="percentile", rng=random, batch=1000)
    return float(told.confidence_interval.low), float(told.confidence_interval.high)


def permutation_p(paired: Array, seed: int = 0, draws: int = DRAWS) -> float:
    """How likely the mean of (Q,) differences is as far from 0 where each sign is a coin's: two-sided; exact for few queries."""
    from scipy.stats import permutation_test

    if len(paired) < 2 or not np.any(paired):
        return 1.0  # of one query both signs are as far from 0
    random = np.random.default_rng(seed)
    told = permutation_test(
        (paired,), _mean, permutation_type="samples", vectorized=True, n_resamples=draws, rng=random, batch=1000
    )
    return float(told.pvalue)


def _mean(values: Array, axis: int = -1) -> Any:
    return values.mean(axis=axis)


def detectable(paired: Array, level: float = LEVEL, power: float = 0.8) -> float:
    """The least true mean difference that (Q,) such queries show with ``power``: (z₁₋α⸝₂ + z_power) · sd / √Q."""
    from scipy.stats import norm

    if len(paired) < 2:
        return math.inf
    z = norm.ppf(1 - (1 - level) / 2) + norm.ppf(power)
    return float(z * paired.std(ddof=1) / math.sqrt(len(paired)))


def holm(p: Sequence[float]) -> list[float]:
    """The p of several tests that are looked at together, corrected: none is significant by being the best of many."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0) if len(p) else scaled
    return [float(x) for x in corrected]
