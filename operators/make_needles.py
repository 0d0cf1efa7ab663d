"""Make long documents that hide one sentence, and the query that asks for it: needles and passkeys of LongEmbed.

LongEmbed (arXiv:2404.12096): a fact, or a person's pass key, stands at a random place of filler text of
256 to 32,768 tokens. A document of n tokens is made of 3/4 n words here.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from operators import columns, python_docs
from operators.choose_paragraph import BUCKETS
from operators.contract import InputError, Item, Outcome, Params, ids, operator, row_id, text
from operators.list_attributes import permuted

_DULL = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
_FIRST = (
    "Ada", "Bela", "Caro", "Dora", "Emil", "Femi", "Gita", "Hugo", "Iris", "Jona", "Kemal", "Lena", "Milo", "Nadia",
    "Otto", "Petra", "Quinn", "Rosa", "Sami", "Tilda",
)  # fmt: skip
_LAST = (
    "Abbas", "Berg", "Costa", "Dahl", "Evans", "Fischer", "Garcia", "Haas", "Ito", "Jansen", "Kaya", "Lopez", "Meyer",
    "Novak", "Okafor", "Petrov", "Rossi", "Sato", "Toth", "Vega",
)  # fmt: skip
_PLACES = (
    "Aarhus", "Bergen", "Cadiz", "Dresden", "Espoo", "Fes", "Ghent", "Haifa", "Izmir", "Jena", "Kyoto", "Leeds",
    "Malmo", "Nantes", "Oslo", "Porto", "Quito", "Riga", "Split", "Turin",
)  # fmt: skip
_THINGS = (
    "lighthouse", "bakery", "clock tower", "ferry", "orchard", "tram depot", "puppet theatre", "salt mine",
    "observatory", "glass works",
)  # fmt: skip
_DEEDS = ("restored", "painted", "bought", "surveyed", "photographed", "insured")
_MOST = len(_DEEDS) * len(_THINGS) * len(_PLACES)  # facts with a question of their own; names and initials give more
Kind = Literal["needle", "passkey"]


class MakeNeedles(Params):
    """How many of which lengths. Filler is the text of ``path``; without it the docstrings of Python's library."""

    kinds: tuple[Kind, ...] = Field(default=("needle", "passkey"), min_length=1)
    lengths: tuple[int, ...] = Field(default=BUCKETS, min_length=1, description="tokens, near enough")
    per_length: int = Field(default=50, ge=1, description="documents of each kind and length")
    path: str = Field(default="", description="a text file to take filler from")
    source: str = "needles"
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def every_query_is_its_own(self) -> Self:
        """Refuse more documents than there are questions, which would have two answers."""
        if len(set(self.lengths)) < len(self.lengths) or len(set(self.kinds)) < len(self.kinds):
            raise ValueError("lengths and kinds are listed once each")
        if len(self.lengths) * self.per_length > _MOST:
            raise ValueError(
                f"lengths × per_length is above {_MOST}: questions would come twice; make several sets, each with a seed"
            )
        return self


_TEXTS = ("query", "query_type", "instruction", "generator", "source", "source_id", "licence", "title", "passage")
_WRITES = {
    "query_id": row_id, **dict.fromkeys(_TEXTS, text), "passage_id": row_id, "positive_ids": ids,
    "length_bucket": pa.int32(), "depth": pa.float32(),
}  # fmt: skip


def _items(p: MakeNeedles) -> list[Item]:
    if not p.path:
        return [Item("needles", python_docs.digest())]
    return [Item(p.path, hashlib.sha256(_read(p.path).encode()).hexdigest())]


@operator("source", version="1", key="query_id", items=_items, writes=_WRITES)
def make_needles(item: Item, p: MakeNeedles) -> Iterator[Outcome]:
    """kinds × lengths × per_length rows; `depth` is the place of the needle, 0 the start and 1 the end."""
    for kind in p.kinds:
        for length in p.lengths:
            first = p.lengths.index(length) * p.per_length
            made = [_one(kind, length, first + n, p) for n in range(p.per_length)]
            table = pa.table({name: pa.array([row[name] for row in made], t) for name, t in _WRITES.items()})
            yield Outcome(table, seen=len(made))


def _one(kind: Kind, length: int, number: int, p: MakeNeedles) -> dict[str, object]:
    draw = Random(columns.row_seed(p.seed, kind, length, number))
    needle, query = _fact(kind, number, draw, p.seed)
    wanted = max(length * 3 // 4 - len(needle.split()), 0)
    words = (_DULL.split() * (wanted // len(_DULL.split()) + 1))[:wanted] if kind == "passkey" else _filler(p.path, wanted, draw)
    ends = [0, *(i + 1 for i, word in enumerate(words) if word[-1] in ".!?"), len(words)]
    cut = draw.random() * len(words)
    at = min(ends, key=lambda e: (abs(e - cut), e))
    passage = " ".join([*words[:at], *needle.split(), *words[at:]])
    own, asked = columns.content_id("", passage), columns.content_id(query, "")
    return {
        "query_id": asked, "query": query, "query_type": kind, "instruction": "", "generator": "make_needles", "source": p.source,
        "source_id": f"{kind}-{length}-{number}", "licence": "", "title": "", "passage": passage, "passage_id": own,
        "positive_ids": [own], "length_bucket": length, "depth": at / max(len(words), 1),
    }  # fmt: skip


def _fact(kind: Kind, number: int, draw: Random, seed: int) -> tuple[str, str]:
    """The sentence that is hidden, and a question that no other sentence answers."""
    rest, last = divmod(permuted(number, 26 * len(_FIRST) * len(_LAST), columns.row_seed(seed, "who")), len(_LAST))
    initial, first = divmod(rest, len(_FIRST))
    who = f"{_FIRST[first]} {chr(65 + initial)}. {_LAST[last]}"
    if kind == "passkey":
        key = draw.randrange(10_000, 100_000)
        return f"{who} has the pass key {key}. Remember it: {key} is the pass key.", f"What is the pass key of {who}?"
    rest, place = divmod(permuted(number, _MOST, columns.row_seed(seed, "what")), len(_PLACES))
    deed, thing = divmod(rest, len(_THINGS))
    what = f"{_THINGS[thing]} of {_PLACES[place]}"
    told = f"In {draw.randrange(1890, 2020)}, {who} {_DEEDS[deed]} the {what}."
    return told, f"Who {_DEEDS[deed]} the {what}, and in which year?"


def _filler(path: str, count: int, draw: Random) -> list[str]:
    """So many words of the filler from a drawn place on, over its end to its start."""
    given = _words(path)
    start = draw.randrange(len(given))
    out = list(given[start : start + count])
    while len(out) < count:
        out += given[: count - len(out)]
    return out


@lru_cache(maxsize=2)
def _words(path: str) -> tuple[str, ...]:
    found = tuple(_read(path).split() if path else (w for *_, body in python_docs.docs() for w in body.split()))
    if not found:
        raise InputError(f"make_needles: {path} holds no text; name a file with some")
    return found


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"make_needles: {path} cannot be read as UTF-8 text; name a text file, or leave path out") from error


def example() -> MakeNeedles:
    """Two documents of each kind and of two lengths."""
    return MakeNeedles(lengths=(256, 512), per_length=2)
