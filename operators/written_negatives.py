"""Gather the passages that an LLM wrote against a query, one row a query, each with its declared flaw.

E5-mistral's hard negatives (arXiv:2401.00368), QZhou's failure modes (arXiv:2508.21632), Jina's negations
(arXiv:2307.11224). The teacher then scores them as it scores retrieved candidates.
"""

import pyarrow as pa
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Outcome, Params, ids, operator, outcome_of, row_id, text, texts

COPY, AGAIN, MERGED = "copies the positive", "written before for this query", "gathered into its query"


class WrittenNegatives(Params):
    """Which column declares what is wrong with a passage."""

    failure_mode: str = Field(default="failure_mode", min_length=1, description="its column; gathered as failure_modes")


def _reads(p: WrittenNegatives) -> Columns:
    return {"query_id": row_id, "positive_ids": ids, "passage_id": row_id, "passage": text, p.failure_mode: text}


@operator("group", version="1", key="query_id", rows="fewer", reads=_reads, writes={"candidate_ids": ids, "failure_modes": texts})
def written_negatives(table: pa.Table, p: WrittenNegatives) -> Outcome:
    """Rows of written passages → one row a query with ``candidate_ids``, in the order of their ids."""
    queries, modes = table["query_id"].to_pylist(), table[p.failure_mode].to_pylist()
    own, positives = table["passage_id"].to_pylist(), table["positive_ids"].to_pylist()
    said = table["passage"].to_pylist()
    reasons: dict[int, tuple[str, str]] = {}
    groups: dict[bytes, dict[bytes, str]] = {}
    first: dict[bytes, int] = {}
    for i in sorted(range(len(table)), key=lambda i: (queries[i], own[i], modes[i])):
        found = groups.get(queries[i], {})
        if own[i] in positives[i]:
            reasons[i] = (COPY, said[i])
        elif own[i] in found:
            reasons[i] = (AGAIN, said[i])
        else:
            groups.setdefault(queries[i], {})[own[i]] = modes[i]
            if first.setdefault(queries[i], i) != i:
                reasons[i] = (MERGED, own[i].hex())
    kept = table.take(pa.array(list(first.values()), pa.int64()))
    kept = kept.drop_columns([c for c in ("passage_id", "passage", "title", p.failure_mode) if c in kept.column_names])
    kept = columns.put(kept, "candidate_ids", pa.array([list(groups[q]) for q in first], ids))
    kept = columns.put(kept, "failure_modes", pa.array([list(groups[q].values()) for q in first], texts))
    return outcome_of(table, kept, reasons)


def example() -> Example:
    """Two queries: two negatives, of which one comes twice, and one that copies its positive."""
    said = ["Iron never rusts.", "Copper rusts in rain.", "Iron never rusts.", "Owls hunt."]
    keys = columns.content_ids([""] * 4, said)
    owner = ["why does iron rust"] * 3 + ["what do owls do"]
    rows = {
        "query_id": columns.content_ids(owner, [""] * 4), "query": pa.array(owner, text), "passage_id": keys,
        "passage": pa.array(said, text), "failure_mode": pa.array(["negation", "wrong entity", "negation", "negation"], text),
        "positive_ids": pa.array([[b"p" * 16]] * 3 + [[keys[3].as_py()]], ids),
    }  # fmt: skip
    return Example(pa.table(rows).sort_by("query_id"), WrittenNegatives())
