"""Share a whole number out by weights, none above its limit: largest remainders (Hamilton) over what is not at its limit."""

import math
from collections.abc import Sequence
from fractions import Fraction


def apportion(total: int, weights: Sequence[float], limits: Sequence[int], shrink: bool = False) -> list[int]:
    """N quotas with sum min(``total``, what the limits of all with a weight allow); exact, in whatever order they are summed.

    A quota that its limit cuts leaves the rest to the others, by their weights. With ``shrink`` the total becomes the
    largest of which every share fits below its limit.
    """
    exact = [Fraction(w) for w in weights]
    whole = sum(exact)
    if not whole or not total:
        return [0] * len(exact)
    if shrink:
        total = min(total, min(math.floor(limit * whole / w) for w, limit in zip(exact, limits, strict=True) if w))
    quotas = [Fraction(0)] * len(exact)
    open_ones = [i for i, w in enumerate(exact) if w]
    left = Fraction(total)
    while open_ones:
        weight = sum(exact[i] for i in open_ones)
        full = [i for i in open_ones if left * exact[i] >= weight * limits[i]]
        for i in full:
            quotas[i] = Fraction(limits[i])
        if not full:
            for i in open_ones:
                quotas[i] = left * exact[i] / weight
            break
        left -= sum(limits[i] for i in full)
        reached = set(full)
        open_ones = [i for i in open_ones if i not in reached]
    return _rounded(quotas)


def _rounded(quotas: list[Fraction]) -> list[int]:
    """Whole numbers with the same sum, each the next below or above; of equal remainders the earlier gets its one."""
    floors = [math.floor(q) for q in quotas]
    spare = math.floor(sum(quotas)) - sum(floors)
    order = sorted(range(len(quotas)), key=lambda i: (floors[i] - quotas[i], i))
    for i in order[:spare]:
        floors[i] += 1
    return floors
