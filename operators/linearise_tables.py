"""Write the rows of Markdown tables so that each is read alone: ``River: Volga; Length: 3,530``, as `read_structures` has it.

A passage that is cut out of a table else has no header. HTML's tables are Markdown's once `extract_html` or the reader had them.
"""

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from operators import columns
from operators.contract import Columns, Example, Params, operator, row_id, text
from operators.headings import in_fence
from operators.read_structures import structure_of

# A header line, the rule below it, rows; a line of a table has a bar. No part can begin in two ways: else a long line is slow.
_TABLE = re.compile(
    r"^(?P<head>[^\n|]*\|[^\n]*)\n(?P<rule>[ \t]*(?:\|[ \t]*)?:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*(?:\|[ \t]*)?)(?=\n|\Z)"
    r"(?P<rows>(?:\n[^\n|]*\|[^\n]*)*)",
    re.MULTILINE,
)
_BAR = re.compile(r"(?<!\\)\|")


class LineariseTables(Params):
    """Which column, and the ids that are hashes of it."""

    column: str = Field(default="text", min_length=1)
    identify: dict[str, list[str]] = Field(default={"doc_id": ["title", "text"]}, description="id column: what it is the hash of")


def _reads(p: LineariseTables) -> Columns:
    hashed = [c for of in p.identify.values() for c in of if c]
    return {**dict.fromkeys(p.identify, row_id), **dict.fromkeys([p.column, *hashed], text)}


def _writes(p: LineariseTables) -> Columns:
    return {**dict.fromkeys(p.identify, row_id), p.column: text, "table_rows": pa.int32()}


def _measure(table: pa.Table, p: LineariseTables) -> Mapping[str, int]:
    return {"table rows": int(pc.sum(table["table_rows"]).as_py() or 0)}


@operator("map", version="1", reads=_reads, writes=_writes, rows="same", measure=_measure)
def linearise_tables(table: pa.Table, p: LineariseTables) -> pa.Table:
    """Each row of a table becomes a line ``header: cell; header: cell.``, but in a code fence; ``table_rows`` counts them."""
    said = table[p.column].to_pylist()
    counts = np.zeros(len(said), np.int32)
    for i in np.flatnonzero(pc.match_substring(table[p.column], "|").to_numpy()).tolist():
        said[i], counts[i] = linearised(said[i])
    wide = columns.put(columns.put(table, p.column, pa.array(said, text)), "table_rows", pa.array(counts))
    return columns.renewed(wide, p.identify, counts > 0)


def linearised(body: str) -> tuple[str, int]:
    """The text with its tables' rows as lines, and how many there are."""
    hidden, count = in_fence(body), 0

    def told(match: re.Match[str]) -> str:
        nonlocal count
        head = _cells(match["head"])
        if hidden(match.start()) or len(head) != len(_cells(match["rule"])) or len(head) < 2:
            return match[0]
        lines = [_line(head, _cells(row)) for row in match["rows"].split("\n")[1:]]
        count += len(lines)
        return "\n\n".join(line for line in lines if line) if lines else match[0]

    return _TABLE.sub(told, body), count


def _line(head: list[str], cells: list[str]) -> str:
    named: dict[str, list[str]] = {}
    for name, cell in zip([*head, *[""] * (len(cells) - len(head))], cells, strict=False):
        if cell:
            named.setdefault(name, []).append(cell)
    said = structure_of({name: value for name, value in named.items() if name})
    loose = ", ".join(named.get("", []))  # the first column often has no name
    return ". ".join(filter(None, [loose, said])) + "." if loose or said else ""


def _cells(line: str) -> list[str]:
    return [cell.replace("\\|", "|").strip() for cell in _BAR.split(line.strip().removeprefix("|").removesuffix("|"))]


def example() -> Example:
    """Three texts: with a table, with a bar that is none, with a table in a code fence."""
    grid = "| River | Length |\n|---|---|\n| Volga | 3,530 |\n| Danube | |"
    said = [f"Rivers:\n\n{grid}\n\nThat is all.", "either a | or b", f"```\n{grid}\n```"]
    table = pa.table({"title": pa.array([""] * 3, text), "text": pa.array(said, text)})
    return Example(table.append_column("doc_id", columns.content_ids([""] * 3, said)), LineariseTables())
