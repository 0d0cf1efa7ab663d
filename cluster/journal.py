"""The answers of models, kept in files below the store: ``ledger/<model>/<operator>/<part>/``.

A part's answers lie in a folder of their own, one file an attempt, so no two processes write one file.
On a disk each answer is a line that is written at once; on an object store, which cannot append,
lines gather for at most `EVERY` seconds or `LINES` lines, and that is what a kill there may cost.
"""

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cluster.parts import overlap
from cluster.store import Store
from operators.engines.llm import Answer
from operators.engines.models import ModelEntry

EVERY, LINES = 2.0, 512
FIELDS = ("text", "finish", "tokens_in", "tokens_out", "fault")


def model_key(entry: ModelEntry) -> str:
    """What decides a model's answers, as text."""
    return json.dumps(entry.identity(), sort_keys=True)


def model_home(entry: ModelEntry) -> str:
    """The folder, below the store, of all answers of a model."""
    return f"ledger/{hashlib.sha256(model_key(entry).encode()).hexdigest()[:16]}"


class FileJournal:
    """The answers of the parts that overlap one part, and a file for the new ones."""

    def __init__(self, store: Store, home: str, part: str, attempt: str) -> None:
        self._store, self._folder, self._attempt = store, f"{home}/{part}", attempt
        self._turn = threading.Lock()
        self._lines: list[str] = []
        self._files, self._told = 0, time.monotonic()
        self._append: Any = None
        self._known: dict[str, Answer] = {}
        for folder in sorted({part, *_neighbours(store, home, part, attempt.rsplit("-", 1)[0])}):
            for name in store.names(f"{home}/{folder}"):
                self._read(f"{home}/{folder}/{name}")
                self._files += folder == part and name.startswith(f"{attempt}-")  # another step's of this run

    def _read(self, file: str) -> None:
        for line in self._store.read(file).split(b"\n"):
            try:
                value = json.loads(line.decode("utf-8", "surrogatepass"))  # as it was written
                self._known.setdefault(value["key"], Answer(*(value[f] for f in FIELDS)))
            except (ValueError, KeyError, TypeError):
                continue  # the line that a kill cut off

    def get(self, key: str) -> Answer | None:
        """The answer that is kept, if there is one."""
        return self._known.get(key)

    def put(self, key: str, row: str, answer: Answer) -> None:
        """Keep an answer: written before this returns, where files can be appended to."""
        line = json.dumps({"key": key, "row": row, **{f: getattr(answer, f) for f in FIELDS}}, ensure_ascii=False) + "\n"
        with self._turn:
            self._known[key] = answer
            if self._store.local is not None:
                self._open().write(line.encode("utf-8", "surrogatepass"))
                return
            self._lines.append(line)
            if len(self._lines) >= LINES or time.monotonic() - self._told > EVERY:
                self._flush()

    def _open(self) -> Any:
        if self._append is None:
            assert self._store.local is not None
            path = self._store.local / self._folder / f"{self._attempt}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append = path.open("ab", buffering=0)  # a line is one write: it is there when the process dies
        return self._append

    def _flush(self) -> None:
        if self._lines:
            text = "".join(self._lines).encode("utf-8", "surrogatepass")
            self._store.write(f"{self._folder}/{self._attempt}-{self._files:06d}.jsonl", text)
            self._files += 1
        self._lines, self._told = [], time.monotonic()

    def close(self) -> None:
        """Write what is gathered."""
        with self._turn:
            self._flush()
            if self._append is not None:
                self._append.close()
                self._append = None


@dataclass(frozen=True)
class Kept:
    """What a run has kept since a step began, of about how many answers that the step asks for (0: not known)."""

    answers: int
    tokens_out: int
    of: int = 0


class Growth:
    """Counts what the attempts of a run keep below some homes from now on; only new bytes are read."""

    def __init__(self, store: Store, homes: Sequence[str], run: str) -> None:
        self._store, self._homes, self._run = store, homes, run
        self._seen = self._sizes()
        self._answers = self._tokens = 0

    def _sizes(self) -> dict[str, int]:
        found = {f"{home}/{name}": size for home in self._homes for name, size in self._store.sizes(home).items()}
        return {name: size for name, size in found.items() if name.rsplit("/", 1)[1].startswith(f"{self._run}-")}

    def look(self, of: int = 0) -> Kept:
        """List the files, read on in those that have grown."""
        for name, size in self._sizes().items():
            start = self._seen.get(name, 0)
            if size > start:
                *lines, torn = self._store.read(name, start).split(b"\n")
                self._seen[name] = start + sum(len(line) + 1 for line in lines)
                self._answers += len(lines)
                self._tokens += sum(map(_tokens, lines))
        return Kept(self._answers, self._tokens, of)


def _tokens(line: bytes) -> int:
    try:
        return int(json.loads(line)["tokens_out"])
    except (ValueError, KeyError, TypeError):
        return 0


@lru_cache(maxsize=256)
def _folders(uri: str, home: str, run: str) -> tuple[str, ...]:
    """The parts that have answers; looked up once a run, since a run's own parts never overlap."""
    return tuple(Store(uri).names(home))


def _neighbours(store: Store, home: str, part: str, run: str) -> list[str]:
    """Parts of another cut whose range of ids overlaps this one's."""
    return [name for name in _folders(store.uri, home, run) if name != part and overlap(name, part)]
