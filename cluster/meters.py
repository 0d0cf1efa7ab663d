"""What Prometheus is told where Ray runs: parts, rows, rejects, retries and seconds of each step, by Ray's own exporter.

Ray serves them at every node's metrics port, as ``ray_pithead_parts_total{step="..."}`` and so on; names of steps are all that
leaves the run.
"""

from typing import Any

from cluster.work import Report

COUNTS = {
    "pithead_parts": "Parts that ended, by how", "pithead_rows": "Rows that came out of a step",
    "pithead_rejected": "Rows that were rejected", "pithead_retries": "Attempts before the one that made a part",
    "pithead_work_seconds": "Seconds that workers were at a step's parts",
}  # fmt: skip


class Meters:
    """Counters of this process; made when the first part ends, for Ray must run."""

    def __init__(self) -> None:
        self._counters: dict[str, Any] = {}

    def tell(self, step: str, report: Report) -> None:
        """Count a part."""
        if not self._counters:
            from ray.util.metrics import Counter

            tags = {"pithead_parts": ("step", "status")}
            self._counters = {n: Counter(n, description=d, tag_keys=tags.get(n, ("step",))) for n, d in COUNTS.items()}
        record, counted = report.record, self._counters
        counted["pithead_parts"].inc(1, tags={"step": step, "status": report.status})
        told = {
            "pithead_rows": record.get("rows", 0), "pithead_rejected": sum(record.get("rejected", {}).values()),
            "pithead_retries": record.get("retries", 0), "pithead_work_seconds": record.get("seconds", 0),
        }  # fmt: skip
        for name, value in told.items():
            if value > 0:
                counted[name].inc(value, tags={"step": step})
