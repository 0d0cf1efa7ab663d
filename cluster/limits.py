"""How many rows of a step may be rejected."""

from collections.abc import Mapping

LEAST = 20  # rows below which no share is judged


def over_limit(name: str, rows_in: int, rejected: Mapping[str, int], max_rejected: float) -> str:
    """Why the step has failed, in one sentence; empty where it has not."""
    lost = sum(rejected.values())
    if rows_in < LEAST or lost <= max_rejected * rows_in:
        return ""
    most = ", ".join(f"{v} {k}" for k, v in sorted(rejected.items(), key=lambda x: -x[1])[:4])
    return (
        f"{name}: {lost} of {rows_in} rows were rejected ({most}), more than max_rejected {max_rejected:g} allows;"
        f" look with `pithead show FLOW {name} --rejects`, or set max_rejected in the step"
    )
