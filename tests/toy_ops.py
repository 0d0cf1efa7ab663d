"""Small operators of every shape, for tests of the engines and the store; plain, without models."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from operators.columns import content_ids, lists, put, repeat
from operators.contract import ROW, Item, Outcome, Params, ids, operator, reject, row_id, score, scores, text


class Count(Params):
    path: str
    rows: int = 100
    bad_every: int = 0
    files: int = 3


def _items(p: Count) -> list[Item]:
    return [Item(str(i), f"{i}-{p.rows}") for i in range(p.files)]


@operator("source", version="1", key="doc_id", items=_items,
          writes={"doc_id": row_id, "source": text, "source_id": text, "text": text})  # fmt: skip
def count_docs(item: Item, p: Count) -> Iterator[Outcome]:
    """Rows of one 'file': numbers as words."""
    numbers = range(int(item.name), p.rows, p.files)
    texts = [f"doc number {i} of words" for i in numbers]
    table = pa.table({
        "doc_id": content_ids(texts), "source": pa.array(["toy"] * len(texts), text),
        "source_id": pa.array([str(i) for i in numbers], text), "text": pa.array(texts, text),
    })  # fmt: skip
    yield Outcome(table, seen=len(table))


class Lines(Params):
    path: str


def _files(p: Lines) -> list[Item]:
    return [Item(str(f), f.read_text()) for f in sorted(Path(p.path).rglob("*.txt"))]


@operator("source", version="1", key="doc_id", items=_files, writes={"doc_id": row_id, "text": text})
def read_lines(item: Item, p: Lines) -> Iterator[Outcome]:
    """A row a line. A file is what it says, wherever it lies and whatever it is called."""
    said = Path(item.name).read_text().splitlines()
    yield Outcome(pa.table({"doc_id": content_ids(said), "text": pa.array(said, text)}), seen=len(said))


class Shout(Params):
    times: int = 1
    reject_ending: str = ""
    kill_on: str = ""  # a text that takes the process down
    kill_flag: str = ""  # only once: the file is made first
    exit_on: str = ""  # a text at which the operator says sys.exit()
    sleep: float = 0


@operator("map", version="1", reads={"text": text}, writes={"shout": text}, bad_rows="reject")
def shout(table: pa.Table, p: Shout) -> pa.Table | Outcome:
    """Upper case, `times` times a row."""
    if p.kill_on and p.kill_on in table["text"].to_pylist() and not (p.kill_flag and Path(p.kill_flag).exists()):
        if p.kill_flag:
            Path(p.kill_flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if p.exit_on and p.exit_on in table["text"].to_pylist():
        sys.exit(3)
    time.sleep(p.sleep)
    values = table["text"].to_pylist()
    if any("explode" in v for v in values):
        raise ValueError("it exploded")
    split = reject(table, [bool(p.reject_ending) and v.endswith(p.reject_ending) for v in values], "ends badly", values)
    wide = repeat(split.table, p.times)
    loud = [f"{v.upper()} {i % p.times}" for i, v in enumerate(wide["text"].to_pylist())]
    return Outcome(put(wide, "shout", pa.array(loud, text)), split.rejects)


class Total:
    def __init__(self, letters: int) -> None:
        self.letters = letters

    def add(self, table: pa.Table, turn: int) -> None:
        self.letters += sum(map(len, table["text"].to_pylist()))

    def merge(self, later: "Total") -> None:
        self.letters += later.letters

    def finish(self) -> "Total":
        return self

    def save(self, folder: Path) -> None:
        (folder / "letters.txt").write_text(str(self.letters))

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(int((folder / "letters.txt").read_text()))


@operator("build", version="1", reads={"text": text})
def count_letters(p: Params) -> Total:
    return Total(0)


@operator("map", version="1", reads={"text": text}, writes={"share": score}, rows="same")
def letter_share(table: pa.Table, p: Params, *, total: Total) -> pa.Table:
    share = [len(v) / total.letters for v in table["text"].to_pylist()]
    return put(table, "share", pa.array(share, score))


@operator("map", version="1", reads={"candidate_ids": ids}, writes={"positive_ids": ids}, rows="same")
def first_is_right(table: pa.Table, p: Params) -> pa.Table:
    return put(table, "positive_ids", pa.array([row[:1] for row in table["candidate_ids"].to_pylist()], ids))


@operator("map", version="1", reads={}, writes={"stamp": text}, rows="same")
def stamp(table: pa.Table, p: Params) -> pa.Table:
    """The same word on every row: it reads nothing."""
    return put(table, "stamp", pa.array(["seen"] * len(table), text))


class First(Params):
    key: str = "doc_id"


@operator("group", version="1", reads=lambda p: {p.key: row_id}, key=lambda p: p.key)
def first_of_key(table: pa.Table, p: First) -> Outcome:
    keys = table[p.key].to_pylist()
    return reject(table, [i > 0 and keys[i] == keys[i - 1] for i in range(len(keys))], "duplicate")


@operator("cross", version="1", reads={"doc_id": row_id, "text": text}, against={"doc_id": row_id, "text": text},
          writes={"candidate_ids": ids, "dense_scores": scores}, merge=lambda partials, p: _best(partials))  # fmt: skip
def longest(left: pa.Table, right: pa.Table, p: Params) -> pa.Table:
    """The two longest texts of the right, for every row of the left."""
    sizes = np.array([len(v) for v in right["text"].to_pylist()], np.float32)
    found = sorted(zip(-sizes, right["doc_id"].to_pylist(), strict=True))[:2]
    return _rows(left[ROW], [found] * len(left))


def _rows(rows: pa.ChunkedArray, found: list) -> pa.Table:
    offsets = np.cumsum([0, *map(len, found)])
    flat = [x for row in found for x in row]
    return pa.table({
        ROW: rows, "candidate_ids": lists(offsets, pa.array([i for _, i in flat], row_id)),
        "dense_scores": lists(offsets, pa.array([-s for s, _ in flat], score)),
    })  # fmt: skip


def _best(partials: list[pa.Table]) -> pa.Table:
    by_row: dict[int, list] = {}
    for t in partials:
        for row, found, sizes in zip(*(t[c].to_pylist() for c in t.column_names), strict=True):
            by_row.setdefault(row, []).extend((-s, i) for s, i in zip(sizes, found, strict=True))
    rows = sorted(by_row)
    return _rows(pa.chunked_array([pa.array(rows, pa.int32())]), [sorted(by_row[r])[:2] for r in rows])
